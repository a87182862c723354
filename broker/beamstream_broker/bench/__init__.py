"""`stream bench`: what this machine can do, beside what its parts could do at most, measured in one run.

Its processes import single modules from here, so this one imports none.
"""
