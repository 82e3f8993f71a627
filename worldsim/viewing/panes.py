"""The panes of a view, laid out over a window, and how far two of them differ."""

import numpy as np
import pygame

from worldsim.measuring.metrics import psnr, squared_error
from worldsim.viewing.brush import GROUND, Brush
from worldsim.viewing.film import fit, places
from worldsim.viewing.hud import draw_label, unit_of
from worldsim.viewing.scene import View

GAIN = 3  # how much differences are exaggerated


def draw_panes(
    surface: pygame.Surface, view: View, pixels: str, difference: bool, labels: bool
) -> None:
    """Draw every pane of a view.

    Args:
        surface: The window.
        view: What there is to see.
        pixels: How frames are enlarged, one of `film.PIXELS`.
        difference: Whether a comparison gets a third pane with what differs.
        labels: Whether to write on several panes what they show.
    """
    frames = [shot.moment.frame for shot in view.shots]
    texts = [_label(shot.label, shot.moment.ended) for shot in view.shots]
    near = comparison(view)
    if near is not None:
        texts[1] += " · the same" if near > 90 else f" · PSNR {near:.1f} dB"
    if near is not None and difference:
        frames.append(difference_frame(*frames[:2]))
        texts.append(f"difference × {GAIN}")
    surface.fill(GROUND)
    brush = Brush(surface, unit_of(surface))
    gap = brush.px(3) if len(frames) > 1 else 0
    rects = places(len(frames), surface.get_size(), frames[0].shape, gap)
    for i, (frame, rect) in enumerate(zip(frames, rects, strict=True)):
        surface.blit(fit(frame, rect[2:], pixels), rect[:2])
        if labels and len(frames) > 1:
            draw_label(brush, rect, texts[i], i == view.focus)


def count_panes(view: View, difference: bool) -> int:
    """Return how many panes `draw_panes` draws."""
    return len(view.shots) + (difference and comparison(view) is not None)


def comparison(view: View) -> float | None:
    """Return the PSNR in dB of the first two panes, where they should show the same."""
    if not view.compared:
        return None
    one, other = (shot.moment.frame for shot in view.shots[:2])
    return float(psnr(squared_error(one, other))) if one.shape == other.shape else None


def difference_frame(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return how far two frames differ, exaggerated, `(h, w, 3)` uint8."""
    apart = GAIN * np.abs(one.astype(np.int16) - other)
    return np.minimum(apart, 255).astype(np.uint8)


def _label(label: str, ended: str) -> str:
    return f"{label} · {ended}" if ended else label
