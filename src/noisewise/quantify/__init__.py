"""Measurements on images with error bars: what is measured, on which files, and the table."""
