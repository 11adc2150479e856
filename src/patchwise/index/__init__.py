"""Which images are alike: found once, kept, and used by methods that pair them."""
