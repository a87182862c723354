"""Analysis of single frames: a `Processor`, or a function, whose results become derived streams."""
