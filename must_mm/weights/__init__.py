"""Weights to start from, conversion both ways, publishing."""
