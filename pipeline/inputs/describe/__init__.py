"""A manifest drafted from a folder of images."""
