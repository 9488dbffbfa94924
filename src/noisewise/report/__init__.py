"""The proof of a result: what was done, what was checked, and whether to believe it; as one HTML page and as JSON."""
