"""Producer services: what a `Source` yields goes to the broker."""
