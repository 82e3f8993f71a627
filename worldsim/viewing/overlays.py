"""What lies over the picture for a while: help, messages, the line for a prompt, notices."""

from collections.abc import Sequence

import pygame

from worldsim.viewing.brush import AMBER, GROUND, INK, SOFT, Brush, Color
from worldsim.viewing.hud import unit_of


def draw_help(surface: pygame.Surface, title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Draw a table of keys in two columns in the middle of a window."""
    w, h = surface.get_size()
    half = (len(rows) + 1) // 2
    columns = [rows[:half], rows[half:]]
    unit = min(unit_of(surface), (h - 16) / (23 * half + 70))
    while True:  # a narrow window takes smaller letters
        brush = Brush(surface, unit)
        keys = [max((brush.width(key, 13) for key, _ in part), default=0) for part in columns]
        texts = [max((brush.width(text, 13) for _, text in part), default=0) for part in columns]
        wide = sum(keys) + sum(texts) + brush.px(2 * 16 + 72)
        if wide <= w - 8 or unit < 0.4:
            break
        unit *= 0.95
    high = brush.px(23 * half + 66)
    x, y = (w - wide) / 2, (h - high) / 2
    brush.shade((8, 9, 12, 120))
    brush.panel((x, y, wide, high), (14, 16, 21, 236), 14)
    x += brush.px(22)
    brush.text(title, x, y + brush.px(14), 17)
    for part, key_width, text_width in zip(columns, keys, texts, strict=True):
        for i, (key, text) in enumerate(part):
            line = y + brush.px(48 + 23 * i)
            brush.text(key, x + key_width, line, 13, AMBER, align=1)
            brush.text(text, x + key_width + brush.px(16), line, 13)
        x += key_width + text_width + brush.px(44)


def draw_message(
    surface: pygame.Surface, title: str, lines: Sequence[str], way_out: str, color: Color = INK
) -> None:
    """Fill a window with a message: loading, or an error and the way out."""
    w, h = surface.get_size()
    brush = Brush(surface, unit_of(surface))
    text = [row for line in lines for row in brush.wrap(line, w - brush.px(80), 8)][:12]
    surface.fill(GROUND)
    y = h / 2 - brush.px(50 + 10 * len(text))
    brush.text(title, w / 2, y, 22, color, align=0.5)
    for i, line in enumerate(text):
        brush.text(line, w / 2, y + brush.px(44 + 20 * i), 14, SOFT, align=0.5)
    brush.text(way_out, w / 2, y + brush.px(66 + 20 * len(text)), 14, AMBER, align=0.5)


def draw_entry(
    surface: pygame.Surface, text: str, suggestions: Sequence[str], chosen: int | None
) -> None:
    """Draw the prompt being typed, with suggestions above it."""
    w, h = surface.get_size()
    brush = Brush(surface, unit_of(surface))
    edge, row, high = brush.px(12), brush.px(25), brush.px(42)
    x, y, wide = edge + brush.px(16), h - edge - high, w - 2 * edge
    top = y - row * len(suggestions) - brush.px(18)
    if suggestions:
        brush.panel((edge, top, wide, y - top - brush.px(6)), (14, 16, 21, 222))
    for i, suggestion in enumerate(suggestions):
        at = top + brush.px(6) + i * row
        if i == chosen:
            brush.block((edge + brush.px(6), at, wide - brush.px(12), row), (255, 255, 255, 34))
        line = brush.wrap(suggestion, wide - brush.px(32), 1, 13)[0]
        brush.text(line, x, at + brush.px(4), 13, INK if i == chosen else SOFT)
    brush.panel((edge, y, wide, high), (14, 16, 21, 242))
    shown = text
    while shown and brush.width(shown, 15) > wide - brush.px(40):
        shown = shown[1:]
    after = x + brush.text(shown, x, y + brush.px(11), 15) + 1
    if not text:
        hint = "a prompt: Enter changes the scene, Shift+Enter begins a new one"
        line = brush.wrap(hint, wide - brush.px(48), 1)[0]
        brush.text(line, x + brush.px(8), y + brush.px(12), 14, (104, 112, 124))
    pygame.draw.rect(surface, AMBER, (after, y + brush.px(10), max(2, brush.px(2)), brush.px(22)))


def draw_notice(surface: pygame.Surface, text: str) -> None:
    """Draw a passing message above the lower panels."""
    w, h = surface.get_size()
    brush = Brush(surface, unit_of(surface))
    lines = brush.wrap(text, w - brush.px(60), 4)
    for i, line in enumerate(lines):
        brush.pill(line, w / 2, h - brush.px(134 + 34 * (len(lines) - 1 - i)))
