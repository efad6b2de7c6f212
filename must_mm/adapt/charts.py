"""Geometry of the report's line charts; the template draws them."""

import math
from dataclasses import dataclass

WIDTH, HEIGHT = 320, 180
LEFT, RIGHT, TOP, BOTTOM = 58, 68, 12, 40  # margins with room for numbers
POINTS = 200  # more than the width shows
TICKS = 5  # gaps between ticks, at most


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, in the chart's units, and its number."""

    at: float
    value: float


@dataclass(frozen=True)
class LineChart:
    """One curve in a box of ``WIDTH`` by ``HEIGHT``.

    Attributes:
        line: The curve, (x, y) from the upper left corner.
        x_ticks: Steps.
        y_ticks: Values.
        first: The first (step, value) drawn.
        last: The last one.
        averaged: How many logged values at most make one point.
    """

    line: list[tuple[float, float]]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    first: tuple[int, float]
    last: tuple[int, float]
    averaged: int


def line_chart(
    curve: list[tuple[int, float]],
    bounds: tuple[float, float] | None = None,
) -> LineChart | None:
    """Lay out a curve.

    Args:
        curve: (step, value); values that are not finite are left out.
        bounds: Lowest and highest value of the axis; by default the curve's.

    Returns:
        ``None`` if there is nothing to draw.
    """
    curve = sorted(point for point in curve if math.isfinite(point[1]))
    if not curve:
        return None
    averaged = math.ceil(len(curve) / POINTS)
    points = thin(curve, averaged)
    steps, values = zip(*points, strict=True)
    x_ticks = [
        tick
        for tick in nice_ticks(steps[0], steps[-1], smallest=1)
        if steps[0] <= tick <= steps[-1]
    ] or [steps[0]]
    y_ticks = nice_ticks(*(bounds or (min(values), max(values))))

    def x(step: float) -> float:
        # the ends of the steps, the outermost ticks of the values
        share = (step - steps[0]) / ((steps[-1] - steps[0]) or 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        share = (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    return LineChart(
        line=[(x(step), y(value)) for step, value in points],
        x_ticks=[Tick(x(t), t) for t in x_ticks],
        y_ticks=[Tick(y(t), t) for t in y_ticks],
        first=points[0],
        last=points[-1],
        averaged=averaged,
    )


def thin(curve: list[tuple[int, float]], size: int) -> list[tuple[int, float]]:
    """Average every ``size`` values, at the last of their steps."""
    groups = (curve[i : i + size] for i in range(0, len(curve), size))
    return [(g[-1][0], sum(v for _, v in g) / len(g)) for g in groups]


def nice_ticks(low: float, high: float, smallest: float = 0) -> list[float]:
    """Round numbers, evenly spaced, the outermost enclosing both ends.

    Args:
        low: The lower end.
        high: The upper end, not below the lower.
        smallest: The least distance of two ticks.
    """
    # a flat curve gets an axis around it
    span = (high - low) or abs(high) or 1
    rough = max(span / TICKS, smallest)
    power = 10 ** math.floor(math.log10(rough))
    gap = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    first = math.floor(low / gap)
    last = max(math.ceil(high / gap), first + 1)
    return [index * gap for index in range(first, last + 1)]
