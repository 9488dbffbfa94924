"""The workflow: measure the noise, choose a method, train, denoise. Methods are named only here."""
