"""The geometry of the line charts."""

import math

import pytest

from must_mm.adapt.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    POINTS,
    RIGHT,
    TICKS,
    TOP,
    WIDTH,
    line_chart,
    nice_ticks,
    thin,
)


@pytest.mark.parametrize(
    ('low', 'high'),
    [(0, 1), (2.31, 2.34), (-3, 12_345), (0.3, 0.3), (0, 0), (9, 540)],
)
def test_ticks_are_few_and_enclose(low, high):
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low and high <= ticks[-1]
    assert 2 <= len(ticks) <= TICKS + 2  # one more at either end
    # one digit that counts: 1, 2 or 5
    gap = ticks[1] - ticks[0]
    assert f'{gap:.0e}'[0] in '125'
    assert gap == pytest.approx(float(f'{gap:.0e}'))


def test_steps_have_whole_ticks():
    ticks = nice_ticks(3, 5, smallest=1)
    assert ticks == [3, 4, 5]
    assert all(tick == int(tick) for tick in nice_ticks(7, 31, smallest=1))


def test_the_curve_spans_the_axes():
    chart = line_chart([(10, 0.0), (20, 0.5), (30, 1.0)], bounds=(0, 1))
    (x0, y0), (x1, y1), (x2, y2) = chart.line
    assert (x0, y0) == pytest.approx((LEFT, HEIGHT - BOTTOM))
    assert (x2, y2) == pytest.approx((WIDTH - RIGHT, TOP))
    assert (x1, y1) == pytest.approx(((x0 + x2) / 2, (y0 + y2) / 2))
    assert [tick.value for tick in chart.x_ticks] == [10, 15, 20, 25, 30]
    # the tick of a value is where the curve has it
    middle = next(t for t in chart.x_ticks if t.value == 20)
    assert middle.at == pytest.approx(x1)


def test_nothing_to_draw():
    assert line_chart([]) is None
    assert line_chart([(1, math.nan), (2, math.inf)]) is None


@pytest.mark.parametrize('curve', [[(7, 2.0)], [(7, 2.0), (8, 2.0)]])
def test_flat_and_single(curve):
    chart = line_chart(curve)
    assert len(chart.line) == len(curve)
    assert chart.x_ticks[0].value == 7
    for x, y in chart.line:
        assert LEFT <= x <= WIDTH - RIGHT
        assert TOP <= y <= HEIGHT - BOTTOM


def test_long_curves_are_averaged_and_unordered_ones_sorted():
    curve = [(step, float(step % 7)) for step in range(1, 7 * POINTS + 1)]
    chart = line_chart(curve[::-1])
    assert len(chart.line) == POINTS
    assert chart.averaged == 7
    assert chart.last[0] == curve[-1][0]
    # seven in a row have one mean, 0 + ... + 6 over 7
    assert {value for _, value in thin(curve, 7)} == {3.0}


def test_a_remainder_is_averaged_by_its_own_number():
    assert thin([(1, 2.0), (2, 4.0), (3, 5.0)], 2) == [(2, 3.0), (3, 5.0)]
