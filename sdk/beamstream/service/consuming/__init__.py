"""Consumer services: a `Handler` is given the frames of streams or files, in one process or in several."""
