"""Pictures to begin from, laid over the window: one is chosen by arrows or by the mouse."""

import math
from collections.abc import Sequence
from functools import cached_property

import pygame

from worldsim.viewing.brush import AMBER, INK, SOFT, Brush
from worldsim.viewing.hud import unit_of
from worldsim.viewing.starts import Start

ENTER = (pygame.K_RETURN, pygame.K_KP_ENTER)


class Gallery:
    """Thumbnails of starts, one of which is chosen.

    Args:
        starts: What there is to choose from.
    """

    def __init__(self, starts: Sequence[Start]) -> None:
        self.starts, self.chosen = starts, 0
        self._rects: list[pygame.Rect] = []

    @cached_property
    def _images(self) -> list[pygame.Surface]:
        return [
            pygame.image.frombuffer(start.frame.tobytes(), start.frame.shape[1::-1], "RGB")
            for start in self.starts
        ]

    @property
    def columns(self) -> int:
        """Thumbnails in a row."""
        return math.ceil(math.sqrt(len(self.starts) * 1.3))

    def handle(self, event: pygame.event.Event) -> bool:
        """Act on an event; return whether the chosen picture is taken."""
        if event.type == pygame.KEYDOWN:
            self._move(event.key)
            return event.key in ENTER
        if event.type in (pygame.MOUSEMOTION, pygame.MOUSEBUTTONDOWN):
            hit = next((i for i, r in enumerate(self._rects) if r.collidepoint(event.pos)), None)
            self.chosen = self.chosen if hit is None else hit
            return getattr(event, "button", 0) == 1 and hit is not None  # a wheel has others
        return False

    def _move(self, key: int) -> None:
        step = {pygame.K_LEFT: -1, pygame.K_RIGHT: 1}.get(key, 0)
        step += {pygame.K_UP: -self.columns, pygame.K_DOWN: self.columns}.get(key, 0)
        if 0 <= self.chosen + step < len(self.starts):
            self.chosen += step

    def draw(self, surface: pygame.Surface) -> None:
        """Draw all thumbnails and what is known of the chosen one."""
        w, h = surface.get_size()
        brush = Brush(surface, unit_of(surface))
        brush.shade((8, 9, 12, 214))
        edge, gap, columns = brush.px(24), brush.px(8), self.columns
        head, foot = brush.px(58), brush.px(78)
        rows = math.ceil(len(self.starts) / columns)
        fh, fw = self.starts[0].frame.shape[:2]
        wide = (w - 2 * edge + gap) / columns - gap
        scale = min(wide / fw, ((h - head - foot + gap) / rows - gap) / fh)
        size = max(1, round(scale * fw)), max(1, round(scale * fh))
        left = (w - columns * (size[0] + gap) + gap) // 2
        brush.text("Begin from", left, brush.px(18), 20)
        hint = "arrows and Enter, or a click      Esc  back"
        brush.text(hint, w - left, brush.px(24), 12, SOFT, align=1)
        self._rects = []
        for i, image in enumerate(self._images):
            row, column = divmod(i, columns)
            rect = pygame.Rect(left + column * (size[0] + gap), head + row * (size[1] + gap), *size)
            self._rects.append(rect)
            surface.blit(pygame.transform.scale(image, size), rect)
            if i == self.chosen:
                border = max(2, brush.px(3))
                pygame.draw.rect(surface, AMBER, rect.inflate(2 * border, 2 * border), border, 4)
        caption = self.starts[self.chosen].caption
        below = self._rects[-1].bottom + brush.px(16)
        for i, line in enumerate(brush.wrap(caption, w - 2 * left, 3, 13)):
            brush.text(line, left, below + brush.px(19 * i), 13, INK)
