"""Arithmetic on measured values: percentiles, and a straight line through points."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Nearest rank; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(percent / 100 * len(ordered)))], 2)


def median(values: Sequence[float]) -> float:
    """The middle one, or the mean of the two in the middle. Raises ValueError of nothing."""
    if not values:
        raise ValueError("no values")
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Of the line of least squares, in y per x; None where there is no such line (fewer than two different x)."""
    if not points:
        return None
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    if spread == 0:
        return None
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread


def rounded(value: float | None, digits: int = 2) -> float | None:
    """The same, None left alone."""
    return None if value is None else round(value, digits)
