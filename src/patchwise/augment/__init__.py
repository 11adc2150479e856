"""Random views of images: parameters are sampled, then applied."""
