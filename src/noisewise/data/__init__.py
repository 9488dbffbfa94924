"""Training data: images, patches, copies of one scene and their alignment, the background of images."""
