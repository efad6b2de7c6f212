"""The command ``must-adapt``, up to where it needs more than Python.

``must_mm`` brings torch and MMPretrain with it, which takes seconds; what the
command can say without them it says from here, at once.
"""

__version__ = '0.1.0'  # of must_mm
