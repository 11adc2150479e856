"""Features of images: from a model or from the disk, one batch after the other."""
