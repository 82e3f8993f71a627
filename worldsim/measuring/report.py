"""What an evaluation found, and how it is shown: JSON, pictures, one HTML page without a server."""

import base64
import html
import json
import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from worldsim.files import own_folder, renewed
from worldsim.images import write_image
from worldsim.measuring.plots import Plot, draw_plot, plot_svg

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
