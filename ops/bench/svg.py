"""A line plot as SVG: axes, grid, lines with dots, a legend; for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 760, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 190, 40, 48
#: Okabe and Ito's colours, which people with a colour deficiency tell apart; the eighth, black, is not seen on dark pages.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a00")
_INK = "#808080"
_LEGEND_STEP = 20
_TICKS = 5


def line_plot(
    title: str, x: str, y: str, series: Mapping[str, Sequence[tuple[float, float]]], *, log_x: bool = False
) -> str:
    """The plot's SVG text. y begins at 0, so that a flat line looks flat. With `log_x` every x must be above 0.

    Raises:
        ValueError: there is no point.
    """
    points = [point for line in series.values() for point in line]
    if not points:
        raise ValueError(f"the plot {title!r} has no point")
    across = _Across([at for at, _ in points], log_x)
    top = _nice(max(value for _, value in points) or 1.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" '
        f'fill="{_INK}" role="img" aria-label="{escape(title, quote=True)}">',
        f'<text x="{_LEFT}" y="22" font-size="14" font-weight="bold">{escape(title)}</text>',
        *_grid(across, top),
        f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x)}</text>',
        f'<text transform="translate(14 {(_TOP + HEIGHT - _BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(y)}</text>',
    ]
    for index, (name, line) in enumerate(series.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        places = [(across.place(at), _height(value, top)) for at, value in line]
        path = " ".join(f"{left:.1f},{down:.1f}" for left, down in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(places) <= 60:
            parts += [f'<circle cx="{left:.1f}" cy="{down:.1f}" r="3" fill="{colour}"/>' for left, down in places]
        down = _TOP + 8 + index * _LEGEND_STEP
        left = WIDTH - _RIGHT + 16
        parts.append(f'<rect x="{left}" y="{down - 8}" width="14" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{left + 20}" y="{down}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


class _Across:
    """Where an x lies."""

    def __init__(self, values: Sequence[float], log: bool) -> None:
        self.log = log
        self.low, self.high = min(values), max(values)

    def place(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(at)
        share = 0.5 if high == low else (at - low) / (high - low)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def ticks(self) -> list[float]:
        if self.low == self.high:
            return [self.low]
        if self.log:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            return [float(10**power) for power in powers] or [self.low, self.high]
        return [self.low + (self.high - self.low) * index / _TICKS for index in range(_TICKS + 1)]


def _grid(across: _Across, top: float) -> list[str]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for index in range(_TICKS + 1):
        value = top * index / _TICKS
        down = _height(value, top)
        parts.append(
            f'<line x1="{_LEFT}" y1="{down:.1f}" x2="{right}" y2="{down:.1f}" stroke="{_INK}" stroke-opacity="0.3"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{down + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    for tick in across.ticks():
        left = across.place(tick)
        parts.append(f'<line x1="{left:.1f}" y1="{bottom}" x2="{left:.1f}" y2="{bottom + 4}" stroke="{_INK}"/>')
        parts.append(f'<text x="{left:.1f}" y="{bottom + 18}" text-anchor="middle">{_short(tick)}</text>')
    return parts


def _height(value: float, top: float) -> float:
    return HEIGHT - _BOTTOM - value / top * (HEIGHT - _TOP - _BOTTOM)


def _nice(value: float) -> float:
    """The next 1, 2, 2.5 or 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9))


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
