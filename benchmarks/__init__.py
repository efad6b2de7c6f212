"""Speed of the parts, side by side with plain ways to do the same."""
