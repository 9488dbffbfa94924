"""The workflow: measure, choose, train, denoise. The only room that knows which methods there are."""
