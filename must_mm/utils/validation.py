"""Checks of config values, with errors that name their key."""

from collections.abc import Sequence
from functools import lru_cache
from numbers import Real


@lru_cache
def bounds(interval: str) -> tuple[float, float]:
    """Read the bounds of an interval such as ``'(0, 1]'``."""
    low, high = interval[1:-1].split(',')
    return float(low), float(high)


def check_number(key: str, value: object, interval: str) -> None:
    """Raise unless a value is a number in an interval.

    Args:
        key: Config key, named in the error.
        value: What the config has; NaN lies in no interval, and ``True`` is
            no number.
        interval: Its bounds, such as ``'(0, 1]'`` or ``'[0, inf)'``.

    Raises:
        ValueError: If it does not lie in the interval.
    """
    low, high = bounds(interval)
    if (
        isinstance(value, bool)
        or not isinstance(value, Real)
        or not (low <= value if interval[0] == '[' else low < value)
        or not (value <= high if interval[-1] == ']' else value < high)
    ):
        raise ValueError(f'{key} must lie in {interval}, got {value!r}')


def check_integer(key: str, value: object, at_least: int = 1) -> None:
    """Raise unless a value is an integer, large enough.

    Raises:
        ValueError: If it is not an integer of at least ``at_least``.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        value, small = repr(value), True
    else:
        small = value < at_least
    if small:
        kind = (
            'a positive integer'
            if at_least == 1
            else f'an integer of at least {at_least}'
        )
        raise ValueError(f'{key} must be {kind}, got {value}')


def check_type(key: str, value: object, *kinds: type) -> None:
    """Raise unless a value has one of the types.

    Args:
        key: Config key, named in the error.
        value: What the config has.
        kinds: What it may be.

    Raises:
        TypeError: If it is none of them.
    """
    if not isinstance(value, kinds):
        names = ' or '.join(
            'None' if kind is type(None) else kind.__name__ for kind in kinds
        )
        raise TypeError(f'{key} must be {names}, got {value!r}')


def check_strings(key: str, value: object) -> None:
    """Raise unless a value is a list of strings; one string is none.

    Raises:
        TypeError: If it is anything else.
    """
    if (
        isinstance(value, str)
        or not isinstance(value, Sequence)
        or not all(isinstance(entry, str) for entry in value)
    ):
        raise TypeError(f'{key} must be a list of strings, got {value!r}')


def check_choice(key: str, value: object, *choices: str) -> None:
    """Raise unless a value is one of the choices.

    Raises:
        ValueError: If it is none of them.
    """
    if value not in choices:
        names = ' or '.join(map(repr, choices))
        raise ValueError(f'{key} must be {names}, got {value!r}')
