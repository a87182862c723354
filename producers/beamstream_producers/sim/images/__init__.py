"""What is on the images: geometry, photons, and frames made beforehand."""
