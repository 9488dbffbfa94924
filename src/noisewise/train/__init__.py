"""Training: the loop, and the model file."""
