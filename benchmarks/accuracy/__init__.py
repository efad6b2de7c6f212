"""Accuracy: tasks x settings x start seeds x draws, last epoch."""
