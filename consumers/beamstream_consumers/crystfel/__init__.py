"""CrystFEL: frames for indexamajig over ZeroMQ, lists and geometries for files."""
