"""Fit noise models: counted pairs, variance lines, maximum likelihood."""
