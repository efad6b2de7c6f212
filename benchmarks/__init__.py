"""Speed of the parts, side by side with plain ways to do the same."""

# first: it keeps the warnings of others to itself
import must_mm  # noqa: F401
