"""Hooks, loops, optimizer constructors and wrappers."""
