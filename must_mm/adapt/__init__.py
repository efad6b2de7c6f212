"""A folder of photos and a list of class names: ``must-adapt``."""
