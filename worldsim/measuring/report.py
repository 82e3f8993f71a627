"""What an evaluation found, and how it is shown: JSON, pictures, one HTML page without a server.

A plot is a handful of lines and words in page coordinates; the same list is written as SVG into
the page and drawn as a PNG, so no plotting library is needed.
"""

import base64
import html
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from worldsim.files import own_folder, renewed
from worldsim.images import write_image

WIDTH, HEIGHT = 560, 340
COLOURS = ("#3465c0", "#d9822b", "#3a9d5d", "#b03a5b", "#7a5cc0", "#777777")
STYLE = """
body {font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1200px; margin: 2em auto;
  padding: 0 1em}
table {border-collapse: collapse; margin: .5em 0 1.5em} td, th {padding: .15em .9em;
  border-bottom: 1px solid #ddd; text-align: right} td:first-child, th:first-child
  {text-align: left} th {color: #555; font-weight: 600} figure {display: inline-block;
  margin: 0 1em 1em 0; vertical-align: top} figcaption, .note {color: #666; font-size: 13px}
img {image-rendering: pixelated; max-width: 100%} h2 {margin-top: 1.6em}
"""


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


@dataclass(frozen=True)
class Strip:
    """A picture with a sentence: real frames above imagined ones."""

    title: str
    image: np.ndarray


@dataclass
class Report:
    """Figures, plots and film strips of one evaluation.

    Attributes:
        about: Where the figures come from: world, data, hardware, settings, the command.
        figures: Sections of measures by name; a section holds numbers or tables of numbers.
        notes: How each section was measured, one sentence or two.
        plots: Line plots by file name, which begins with the section's name and a hyphen.
        strips: Film strips by file name, likewise.
        card: Table for the world's model card, Markdown; see `worldsim.measuring.card`.
    """

    about: dict[str, Any]
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    plots: dict[str, Plot] = field(default_factory=dict)
    strips: dict[str, Strip] = field(default_factory=dict)
    card: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return figures and circumstances as plain data; numbers that are not finite are null."""
        return _plain({"about": self.about, "figures": self.figures, "notes": self.notes})

    def save(self, folder: str | Path) -> Path:
        """Write `report.json`, `index.html`, `card.md` and all pictures; whole or not at all.

        They take the place of those of an earlier report; what else lies in the folder stays.

        Raises:
            FileExistsError: If the folder holds something else than a report.
        """
        folder = Path(folder)
        with renewed(folder) as new:
            check_folder(folder)
            (new / "report.json").write_text(json.dumps(self.to_json(), indent=2))
            if self.card:
                (new / "card.md").write_text(self.card)
            for name, plot in self.plots.items():
                write_image(new / f"{name}.png", draw_plot(plot))
            for name, strip in self.strips.items():
                write_image(new / f"{name}.png", strip.image)
            (new / "index.html").write_text(_page(self, new))
            for other in _others(folder):
                copy = shutil.copytree if other.is_dir() else shutil.copy2
                copy(other, new / other.name)
        return folder

    def __str__(self) -> str:
        """Return all figures as text."""
        lines = [f"{name}: {value}" for name, value in self.about.items()]
        for name, section in self.figures.items():
            lines += ["", name]
            for rows in _tables(section):
                widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
                for row in rows:
                    cells = [row[0].ljust(widths[0])]
                    cells += [cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)]
                    lines.append(f"  {'  '.join(cells)}".rstrip())
            if self.notes.get(name):
                lines.append(f"  ({self.notes[name]})")
        return "\n".join(lines)


def _others(folder: Path) -> list[Path]:
    """Return what lies in a report's folder, such as the probe, and was not written by `save`."""
    if not (folder / "report.json").exists():
        return []
    sections = json.loads((folder / "report.json").read_text())["figures"]
    ours = ("report.json", "index.html", "card.md")
    return [
        path for path in folder.iterdir()
        if path.name not in ours
        and not (path.suffix == ".png" and path.stem.partition("-")[0] in sections)
    ]  # fmt: skip


def check_folder(folder: str | Path) -> Path:
    """Refuse a folder that a report must not replace.

    Raises:
        FileExistsError: If it holds something else than a report.
    """
    folder = own_folder(folder)
    if not folder.exists() or (folder / "report.json").exists():
        return folder
    if not folder.is_dir() or any(folder.iterdir()):
        raise FileExistsError(
            f"a report is saved in a new folder or in place of a report, got {folder}; "
            "choose another `out`"
        )
    return folder


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def _tables(section: dict[str, Any]) -> list[list[list[str]]]:
    """Lay a section out as tables of text: plain figures first, then one table per group."""
    tables = []
    single = [[key, _show(value)] for key, value in section.items() if not isinstance(value, dict)]
    if single:
        tables.append(single)
    groups = {key: value for key, value in section.items() if isinstance(value, dict)}
    nested = {k: v for k, v in groups.items() if v and all(isinstance(x, dict) for x in v.values())}
    flat = {k: v for k, v in groups.items() if k not in nested}
    if flat:
        tables.append(_grid("", flat))
    return tables + [_grid(name, rows) for name, rows in nested.items()]


def _grid(corner: str, rows: dict[str, dict[str, Any]]) -> list[list[str]]:
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    body = [[str(name), *(_show(row.get(c, "")) for c in columns)] for name, row in rows.items()]
    return [[corner, *map(str, columns)], *body]


def _show(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return (
            f"{value:.0f}"
            if abs(value) >= 1000
            else f"{value:.3g}"
            if abs(value) < 1
            else f"{value:.2f}"
        )
    return str(value)


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


def _page(report: Report, folder: Path) -> str:
    """Write the page; pictures are part of it."""
    title = html.escape(f"{report.about.get('world', 'a world')}: what was measured")
    parts = [f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"]
    parts += [
        f"<h1>{title}</h1>",
        _html_table([[k, _show(v)] for k, v in report.about.items()], head=False),
    ]
    for name, section in report.figures.items():
        parts.append(f"<h2>{html.escape(name)}</h2>")
        if report.notes.get(name):
            parts.append(f"<p class=note>{html.escape(report.notes[name])}</p>")
        parts += [
            _html_table(rows, head=rows[0][0] == "" or len(rows[0]) > 2)
            for rows in _tables(section)
        ]
        parts += _pictures(report, folder, name)
    return "\n".join(parts)


def _pictures(report: Report, folder: Path, section: str) -> list[str]:
    """Write a section's plots and film strips: those whose names begin with its name."""
    parts = [
        f"<figure>{plot_svg(plot)}</figure>"
        for name, plot in report.plots.items()
        if name.startswith(f"{section}-")
    ]
    for name, strip in report.strips.items():
        if name.startswith(f"{section}-"):
            data = base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
            parts.append(
                f"<figure><img src='data:image/png;base64,{data}'>"
                f"<figcaption>{html.escape(strip.title)}</figcaption></figure>"
            )
    return parts


def _html_table(rows: list[list[str]], head: bool) -> str:
    out = []
    for i, row in enumerate(rows):
        tag = "th" if head and i == 0 else "td"
        out.append(
            "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"
        )
    return f"<table>{''.join(out)}</table>"
