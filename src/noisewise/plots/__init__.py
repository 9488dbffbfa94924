"""All plots; matplotlib is imported here and nowhere else."""
