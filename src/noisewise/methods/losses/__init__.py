"""Training losses as functions that methods compose."""
