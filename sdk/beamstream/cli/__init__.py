"""The command line, `stream`: the root, what every command shares, and the commands about streams and groups.

Producers, consumers and further commands are found by entry points, see `plugins`. Exit status: 0 done, 1 failed,
2 misused, 130 interrupted.
"""

from .root import main

__all__ = ["main"]
