"""What is done with frames: write, bin, monitor."""
