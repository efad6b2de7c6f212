"""A first result on real images, without any download."""
