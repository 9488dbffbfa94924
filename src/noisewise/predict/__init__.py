"""Prediction: tiles, receptive field, memory, and the application of a network to an image of any size."""
