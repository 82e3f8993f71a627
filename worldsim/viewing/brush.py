"""Text, panes of glass and gauges, drawn on any `pygame.Surface`.

No display is needed, so films are captioned with the same brush as the window. A brush's `unit` is
the size of a design pixel: what is drawn grows with the window. Shapes and lines of text are
painted once and kept.
"""

from functools import lru_cache

import numpy as np
import pygame

Color = tuple[int, ...]  # RGB or RGBA
Rect = tuple[float, float, float, float]  # left, top, width, height

GROUND = (13, 15, 19)
INK = (238, 241, 245)
SOFT = (164, 174, 187)
VIOLET = (160, 145, 255)
GREEN = (92, 214, 140)
RED = (255, 96, 92)
AMBER = (255, 196, 92)
GLASS = (14, 16, 21, 178)
HAZE = (255, 255, 255, 32)
FONTS = ("segoeui", "helveticaneue", "dejavusans", "notosans", "liberationsans", "arial")
FINE = 3  # shapes are painted this many times larger and scaled down, which smooths their edges
POINTS = {"right": 0, "up": 90, "left": 180, "down": 270}  # degrees


class Brush:
    """Draw on a surface.

    Args:
        surface: To draw on.
        unit: Pixels to a design pixel.
    """

    def __init__(self, surface: pygame.Surface, unit: float = 1.0) -> None:
        self.surface, self.unit = surface, unit

    def px(self, size: float) -> int:
        """Turn design pixels into pixels."""
        return round(size * self.unit)

    def width(self, text: str, size: float = 14) -> int:
        """Return the width of a line of text."""
        return _font(max(6, self.px(size))).size(text)[0]

    def text(
        self, text: str, x: float, y: float, size: float = 14, color: Color = INK, align: float = 0
    ) -> int:
        """Write a line with its top at `y` and return its width.

        Args:
            text: One line.
            x: Where it starts (`align` 0), has its middle (0.5) or ends (1).
            y: Its top.
            size: Height of the letters, in design pixels.
            color: Of the letters.
            align: Share of the line that stands to the left of `x`.
        """
        image = _text(text, max(6, self.px(size)), color)
        self.surface.blit(image, (round(x - align * image.get_width()), round(y)))
        return image.get_width()

    def wrap(self, text: str, width: float, lines: int, size: float = 14) -> list[str]:
        """Break text into lines of at most `width` pixels; an ellipsis marks what did not fit."""
        rows, row = [], ""
        for word in text.split():
            if row and self.width(f"{row} {word}", size) > width:
                rows.append(row)
                row = word
            else:
                row = f"{row} {word}" if row else word
        rows.append(row)
        short = len(rows) > lines
        rows = rows[:lines]
        for i, row in enumerate(rows):
            end = "…" if short and i == lines - 1 else ""
            while row and self.width(row + end, size) > width:
                row, end = row[:-1].rstrip(), "…"
            rows[i] = row + end
        return rows

    def panel(self, rect: Rect, color: Color = GLASS, radius: float = 10) -> None:
        """Draw a pane of dark glass with round corners."""
        x, y, w, h = map(round, rect)
        self.surface.blit(_pane(w, h, self.px(radius), color, True), (x, y))

    def block(self, rect: Rect, color: Color, radius: float = 6) -> None:
        """Draw a rounded rectangle without an edge."""
        x, y, w, h = map(round, rect)
        self.surface.blit(_pane(w, h, self.px(radius), color, False), (x, y))

    def shade(self, color: Color) -> None:
        """Darken the whole surface."""
        shade = pygame.Surface(self.surface.get_size(), pygame.SRCALPHA)
        shade.fill(color)
        self.surface.blit(shade, (0, 0))

    def pill(
        self, text: str, centre: float, y: float, color: Color = INK, size: float = 14
    ) -> None:
        """Write a short message on a pane of its own, centred."""
        w, h = self.width(text, size) + self.px(28), self.px(size + 16)
        self.panel((centre - w / 2, y, w, h), radius=(size + 16) / 2)
        self.text(text, centre, y + self.px(6), size, color, align=0.5)

    def bar(self, rect: Rect, share: float, color: Color) -> None:
        """Draw a level in [0, 1], from the left if the bar is wider than high, else from below."""
        x, y, w, h = map(round, rect)
        share = float(np.clip(np.nan_to_num(share), 0, 1))
        radius = min(w, h) / 2 / self.unit
        self.block(rect, HAZE, radius)
        if share > 0.02 and w > h:
            self.block((x, y, max(h, round(share * w)), h), color, radius)
        elif share > 0.02:
            level = max(w, round(share * h))
            self.block((x, y + h - level, w, level), color, radius)

    def wheel(self, x: float, y: float, radius: float, turn: float) -> None:
        """Draw a steering wheel around `(x, y)`; `turn` is -1 for full left, 1 for full right."""
        turn = round(float(np.clip(np.nan_to_num(turn), -1, 1)) * 32) / 32
        image = _wheel(2 * self.px(radius), turn)
        self.surface.blit(image, image.get_rect(center=(round(x), round(y))))

    def sparkline(self, rect: Rect, values: tuple[float, ...], color: Color = GREEN) -> None:
        """Draw the course of `values` and their zero line."""
        x, y, w, h = rect
        low, high = min(0.0, 0.0, *values), max(0.0, 0.0, *values)
        scale = h / ((high - low) or 1.0)
        zero = y + high * scale
        pygame.draw.line(self.surface, (72, 78, 88), (x, zero), (x + w - 1, zero))
        if len(values) > 1:
            step = (w - 1) / (len(values) - 1)
            points = [(x + i * step, zero - value * scale) for i, value in enumerate(values)]
            pygame.draw.aalines(self.surface, color, False, points)

    def key(self, label: str, rect: Rect, held: bool) -> None:
        """Draw a key; `left`, `right`, `up` and `down` are drawn as arrows."""
        x, y, w, h = rect
        ink = GROUND if held else SOFT
        self.block(rect, (255, 255, 255, 215) if held else HAZE)
        if label in POINTS:
            image = _arrow(max(6, round(h / 2)), POINTS[label], ink)
            self.surface.blit(image, image.get_rect(center=(round(x + w / 2), round(y + h / 2))))
        else:
            self.text(label, x + w / 2, y + h / 2 - self.px(8), 12, ink, align=0.5)


def _font(size: int) -> pygame.font.Font:
    try:
        _load_font(size).get_height()
    except pygame.error:  # an env's `close` shut pygame down, and its fonts with it
        _load_font.cache_clear()
    return _load_font(size)


@lru_cache(maxsize=64)
def _load_font(size: int) -> pygame.font.Font:
    pygame.font.init()
    return pygame.font.Font(pygame.font.match_font(FONTS) or pygame.font.get_default_font(), size)


@lru_cache(maxsize=512)
def _text(text: str, size: int, color: Color) -> pygame.Surface:
    return _font(size).render(text, True, color)


@lru_cache(maxsize=256)
def _pane(w: int, h: int, radius: int, color: Color, edge: bool) -> pygame.Surface:
    image = pygame.Surface((FINE * w, FINE * h), pygame.SRCALPHA)
    pygame.draw.rect(image, color, image.get_rect(), border_radius=FINE * radius)
    if edge:
        line = (255, 255, 255, 26)
        pygame.draw.rect(image, line, image.get_rect(), FINE, border_radius=FINE * radius)
    return pygame.transform.smoothscale(image, (w, h))


@lru_cache(maxsize=128)
def _wheel(size: int, turn: float) -> pygame.Surface:
    fine = FINE * size
    image = pygame.Surface((fine, fine), pygame.SRCALPHA)
    centre = pygame.Vector2(fine / 2)
    width = max(3, fine // 11)
    for angle in (0, 90, 180):
        spoke = pygame.Vector2(fine / 2 - width, 0).rotate(angle + 110 * turn)
        pygame.draw.line(image, INK, centre, centre + spoke, width)
    pygame.draw.circle(image, INK, centre, fine / 2 - FINE, width)
    pygame.draw.circle(image, INK, centre, 0.13 * fine)
    return pygame.transform.smoothscale(image, (size, size))


@lru_cache(maxsize=32)
def _arrow(size: int, angle: float, color: Color) -> pygame.Surface:
    image = pygame.Surface((FINE * size, FINE * size), pygame.SRCALPHA)
    centre = pygame.Vector2(image.get_rect().center)
    tips = [pygame.Vector2(1.3 * size, 0).rotate(turn - angle) for turn in (0, 130, 230)]
    pygame.draw.polygon(image, color, [centre + tip for tip in tips])
    return pygame.transform.smoothscale(image, (size, size))
