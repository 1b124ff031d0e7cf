"""Numbers as people read them, in tables and in reports."""

from __future__ import annotations

import math

__all__ = ["difference", "duration", "number", "scientific", "seconds", "whole"]


def difference(value: float, error: float) -> str:
    """A value with its standard error, to two digits of the latter; by itself where there is none.

    Example:
        >>> from genflow.studies.reporting.numbers import difference
        >>> difference(1.23456, 0.0234), difference(212.3, 14.2), difference(0.5, 0.0)
        ('1.235 ± 0.023', '212 ± 14', '0.500 ± 0.000')
        >>> difference(0.5, float("nan"))
        '0.500'
    """
    if math.isnan(error):
        return f"{value:.3f}"
    if not 0 < error < math.inf:
        return f"{value:.3f} ± {error:.3f}"
    digits = min(6, max(0, 1 - math.floor(math.log10(error))))
    if abs(value) >= 1e7:
        return f"{value:.3g} ± {error:.1g}"
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def duration(seconds: float) -> str:
    """A time for people: `8 s`, `2:05`, `1:02:03`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def number(value: float | None, digits: int = 3) -> str:
    """A number of a table: empty where there is none."""
    if value is None or value != value:
        return ""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.{digits}f}"
    return f"{value:.1e}"


def scientific(value: float, digits: int = 1) -> str:
    """A number over many orders of magnitude: `1.2e-03`."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}e}"


def whole(value: float) -> str:
    """A count."""
    return "–" if value is None or not math.isfinite(value) else f"{value:,.0f}".replace(",", "\u202f")


def seconds(value: float) -> str:
    """A time for people: `3.1 ms`, `1.24 s`."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{1000 * value:.3g} ms" if value < 0.9995 else f"{value:.3g} s"
