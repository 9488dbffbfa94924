"""All figures; matplotlib is imported here and nowhere else."""
