"""Plots, as SVG for a page and as pixels.

A plot is a handful of lines and words in page coordinates; the same list is written as SVG into
the page and drawn as a PNG, so no plotting library is needed.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np

WIDTH, HEIGHT = 560, 340
COLOURS = ("#3465c0", "#d9822b", "#3a9d5d", "#b03a5b", "#7a5cc0", "#777777")


@dataclass(frozen=True)
class Plot:
    """Lines over a common axis.

    Attributes:
        title: Above the plot.
        x: Label of the horizontal axis.
        y: Label of the vertical axis.
        series: `(xs, ys)` of each line, by name.
    """

    title: str
    x: str
    y: str
    series: dict[str, tuple[list[float], list[float]]]


def _marks(plot: Plot) -> tuple[list, list]:
    """Turn a plot into lines `(points, colour, width)` and words `(x, y, text, anchor, colour)`."""
    left, right, top, bottom = 62, WIDTH - 16, 52, HEIGHT - 82
    points = [(x, y) for xs, ys in plot.series.values() for x, y in zip(xs, ys, strict=True)]
    xs, ys = zip(
        *[p for p in points if all(map(math.isfinite, p))] or [(0, 0), (1, 1)], strict=True
    )
    x_low, x_high = min(xs), max(xs)
    y_ticks = _ticks(min(ys), max(ys))
    x_ticks = [x for x in _ticks(x_low, x_high, (1, 2, 5, 10)) if x_low <= x <= x_high]

    def at(x: float, y: float) -> tuple[float, float]:
        u = (x - x_low) / ((x_high - x_low) or 1)
        v = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return left + u * (right - left), bottom - v * (bottom - top)

    lines, words = [], [(WIDTH / 2, 22, plot.title, "middle", "#222222")]
    for tick in y_ticks:
        y = at(x_low, tick)[1]
        lines.append(([(left, y), (right, y)], "#e4e4e4", 1))
        words.append((left - 8, y + 4, f"{tick:g}", "end", "#666666"))
    for tick in x_ticks:
        words.append((at(tick, y_ticks[0])[0], bottom + 18, f"{tick:g}", "middle", "#666666"))
    words.append((right, bottom + 34, plot.x, "end", "#666666"))
    words.append((left, top - 10, plot.y, "start", "#666666"))
    place, row = left, 0
    for (name, (xs, ys)), colour in zip(plot.series.items(), cycle(COLOURS), strict=False):
        path = [
            at(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y)
        ]
        if len(path) == 1:  # a dash, where there is no line to draw
            path = [(path[0][0] - 5, path[0][1]), (path[0][0] + 5, path[0][1])]
        lines.append((path, colour, 2))
        if place > left and place + 23 + 6.6 * len(name) > right:
            place, row = left, row + 1
        y = HEIGHT - 32 + 18 * row
        lines.append(([(place, y), (place + 18, y)], colour, 3))
        words.append((place + 23, y + 4, name, "start", "#444444"))
        place += 40 + 6.6 * len(name)
    return lines, words


def _ticks(low: float, high: float, steps: Sequence[float] = (1, 2, 2.5, 5, 10)) -> list[float]:
    """Return some round numbers that enclose `[low, high]`."""
    if low == high:
        low, high = min(low, 0.0), max(high, 0.0) or 1.0
    span = high - low
    step = 10 ** math.floor(math.log10(span / 4))
    step *= next(m for m in steps if span / (step * m) <= 8)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def plot_svg(plot: Plot) -> str:
    """Return a plot as an SVG element."""
    lines, words = _marks(plot)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">']
    for path, colour, width in lines:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        )
    for x, y, text, anchor, colour in words:
        parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="12" '
            f'font-family="sans-serif">{html.escape(text)}</text>'
        )
    return "\n".join([*parts, "</svg>"])


def draw_plot(plot: Plot, scale: int = 2) -> np.ndarray:
    """Draw a plot as pixels `(h, w, 3)` uint8."""
    import cv2

    image = np.full((HEIGHT * scale, WIDTH * scale, 3), 255, np.uint8)
    lines, words = _marks(plot)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.4 * scale
    for path, colour, width in lines:
        points = (scale * np.array(path).reshape(-1, 1, 2)).round().astype(np.int32)
        cv2.polylines(image, [points], False, _rgb(colour), width * scale // 2 or 1, cv2.LINE_AA)
    for x, y, text, anchor, colour in words:
        text = text.encode("ascii", "replace").decode()
        width = cv2.getTextSize(text, font, size, 1)[0][0]
        x = scale * x - {"start": 0, "middle": width / 2, "end": width}[anchor]
        cv2.putText(image, text, (int(x), int(scale * y)), font, size, _rgb(colour), 1, cv2.LINE_AA)
    return image


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
