"""Ways frames come in: detectors, files, simulators."""
