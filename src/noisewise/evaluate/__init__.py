"""Evaluation: metrics, resolution, calibration of standard deviations, consistency with the noise model."""
