"""The napari plugin: denoise layers, check their noise, measure them. A view: what it does is done elsewhere."""
