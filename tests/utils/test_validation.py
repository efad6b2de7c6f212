"""Values in their range pass, others are refused by their key's name."""

from pathlib import Path

import pytest

from must_mm.utils.validation import (
    check_choice,
    check_integer,
    check_number,
    check_strings,
    check_type,
)

NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize(
    'interval, inside, outside',
    [
        ('(0, 1)', [1e-9, 0.5], [0, 1, 0.0, 1.0, -0.1, 2]),
        ('[0, 1]', [0, 1, 0.5], [-1e-9, 1.1]),
        ('[0, inf)', [0, 1e30], [-1, INF]),
        ('(-inf, inf)', [-3, 0.0], [INF, -INF]),
    ],
)
def test_number(interval, inside, outside):
    for value in inside:
        check_number('a.b', value, interval)
    for value in [*outside, NAN, True, None, '0.5', [0.5], 0.5j]:
        with pytest.raises(ValueError, match=r'^a\.b must lie in') as caught:
            check_number('a.b', value, interval)
        assert interval in str(caught.value) and repr(value) in str(
            caught.value
        )


def test_integer():
    for value, at_least in ((1, 1), (0, 0), (2**70, 2)):
        check_integer('a.b', value, at_least)
    for value in (0, -1, 1.0, True, None, '1', NAN, [1]):
        with pytest.raises(ValueError, match=r'^a\.b must be a positive int'):
            check_integer('a.b', value)
    with pytest.raises(ValueError, match='integer of at least 2, got 1'):
        check_integer('a.b', 1, at_least=2)


def test_type():
    check_type('a.b', None, str, type(None))
    check_type('a.b', Path('x'), str, Path)
    with pytest.raises(TypeError, match=r'a\.b must be str or None, got 3'):
        check_type('a.b', 3, str, type(None))


def test_strings():
    check_strings('a.b', ['x', 'y'])
    check_strings('a.b', ())
    for value in ('xy', None, [1], {'x'}, 3):
        with pytest.raises(TypeError, match=r'a\.b must be a list of strings'):
            check_strings('a.b', value)


def test_choice():
    check_choice('a.b', 'x', 'x', 'y')
    for value in ('', 'z', None, 3, ['x']):
        with pytest.raises(ValueError, match=r"a\.b must be 'x' or 'y', got"):
            check_choice('a.b', value, 'x', 'y')
