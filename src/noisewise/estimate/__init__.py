"""A noise model from a single image: variance, autocorrelation, quantization and artifacts."""
