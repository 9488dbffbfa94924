"""Every figure of noisewise; matplotlib is imported here and nowhere else."""
