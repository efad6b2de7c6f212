"""Checks of config values, distributed helpers, paths, scalars, versions."""
