"""What users do, from the first command to the last: slow, run by `make test-all`."""
