"""From a command line to MMEngine's runner; the batch rule."""
