"""A noise model from a recording of a fixed scene, from dark frames, or from images and their denoised images."""
