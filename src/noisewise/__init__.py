"""noisewise removes noise from microscopy images: one noisy file in, its denoised twin out."""

__version__ = "0.1.0"
