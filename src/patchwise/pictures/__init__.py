"""What a model sees, as small images with their words: computed here, rendered elsewhere."""
