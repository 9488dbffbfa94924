"""Networks: plain modules that know nothing of noise, files or methods."""
