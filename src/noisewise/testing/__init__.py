"""Reference results: models with an exact posterior, and classical denoisers."""
