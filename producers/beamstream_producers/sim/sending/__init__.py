"""What leaves the detector: the messages of a series, what waits, the sockets, and the thread that sends."""
