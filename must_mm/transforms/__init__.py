"""Loading, crops, views, RandAugment, the mask generator."""
