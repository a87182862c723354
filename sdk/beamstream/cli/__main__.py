"""`python -m beamstream.cli`: the same as `stream`."""

from beamstream.cli import main

main()
