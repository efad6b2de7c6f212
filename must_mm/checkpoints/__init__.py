"""Checkpoints: plain data only, whole files, what a run resumes from."""
