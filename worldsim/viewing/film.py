"""Films of what is played: sharp pixels, the prompt and the controls in a strip below."""

import math
from pathlib import Path

import numpy as np
import pygame

from worldsim.screen import SIDE
from worldsim.video import VideoWriter
from worldsim.viewing.brush import GROUND, INK, SOFT, Brush
from worldsim.viewing.hud import controls_width, draw_controls
from worldsim.viewing.scene import View
from worldsim.viewing.stage import Moment, Stage

PIXELS = ("sharp", "whole", "smooth")
STRIP = 84  # height of the strip, at a width of 512


class Film:
    """Record moments to an MP4 file that is whole whenever it exists.

    Args:
        path: File to write.
        stage: What is filmed; another stage may take over, its frames are then fitted in.
        fps: Frames per second.
        strip: Whether to draw prompt, step, return and controls below the frames.
        numbered: Whether a number is added to the name if a file is there at the end.
    """

    def __init__(
        self, path: Path, stage: Stage, fps: float, strip: bool = True, numbered: bool = False
    ) -> None:
        h, w = stage.moment.frame.shape[:2]
        factor = max(1, SIDE // max(h, w))
        self.fps, self.frames = fps, 0
        self._size = w * factor, h * factor
        self._strip = round(STRIP * max(0.5, w * factor / SIDE)) if strip else 0
        size = h * factor + self._strip, w * factor
        self._video = VideoWriter(path, fps, size, numbered=numbered)

    @property
    def path(self) -> Path:
        """The file, which has its number once it is closed."""
        return self._video.path

    @property
    def seconds(self) -> float:
        """Length so far."""
        return self.frames / self.fps

    def write(self, stage: Stage, view: View | None = None) -> None:
        """Add the present moment of a stage, with its neighbours if there is a view of them."""
        w, h = self._size
        canvas = pygame.Surface((w, h + self._strip))
        canvas.fill(GROUND)
        frames = [shot.moment.frame for shot in view.shots] if view else [stage.moment.frame]
        rects = places(len(frames), (w, h), frames[0].shape)
        for frame, (x, y, *size) in zip(frames, rects, strict=True):
            canvas.blit(fit(frame, size), (x, y))
        if self._strip:
            _draw_strip(Brush(canvas, self._strip / STRIP), h, stage, stage.moment)
        pixels = np.frombuffer(pygame.image.tobytes(canvas, "RGB"), np.uint8)
        self._video.write(pixels.reshape(h + self._strip, w, 3))
        self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        self._video.close()


def places(
    count: int, size: tuple[int, int], shape: tuple[int, ...], gap: int = 2
) -> list[tuple[int, int, int, int]]:
    """Divide a surface among panes.

    Args:
        count: Of the panes.
        size: `(width, height)` of the surface.
        shape: `(h, w, ...)` of the frames that they show.
        gap: Pixels between them.

    Returns:
        Left, top, width and height of each.
    """
    w, h = size
    columns, rows = grid(count, size, shape)
    wide, high = (w - gap * (columns - 1)) // columns, (h - gap * (rows - 1)) // rows
    places = [divmod(i, columns) for i in range(count)]
    return [(column * (wide + gap), row * (high + gap), wide, high) for row, column in places]


def grid(count: int, size: tuple[float, float], shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the columns and rows in which panes show frames of a shape the largest."""

    def scale(columns: int) -> float:
        return min(size[0] / columns / shape[1], size[1] / math.ceil(count / columns) / shape[0])

    columns = max(range(count, 0, -1), key=scale)
    return columns, math.ceil(count / columns)


def fit(frame: np.ndarray, size: tuple[int, int], pixels: str = "sharp") -> pygame.Surface:
    """Enlarge a frame as far as it fits, on dark ground.

    Args:
        frame: `(h, w, 3)` uint8.
        size: `(width, height)` of the result.
        pixels: One of `PIXELS`: sharp, sharp and all of one size, or smooth.
    """
    image = pygame.image.frombuffer(np.ascontiguousarray(frame), frame.shape[1::-1], "RGB")
    factor = min(size[0] / frame.shape[1], size[1] / frame.shape[0])
    if pixels == "whole" and factor > 1:
        factor = int(factor)
    inner = round(factor * frame.shape[1]), round(factor * frame.shape[0])
    scale = pygame.transform.smoothscale if pixels == "smooth" else pygame.transform.scale
    image = scale(image, inner)
    if inner == tuple(size):
        return image
    canvas = pygame.Surface(size)
    canvas.fill(GROUND)
    canvas.blit(image, image.get_rect(center=(size[0] // 2, size[1] // 2)))
    return canvas


def _draw_strip(brush: Brush, top: float, stage: Stage, moment: Moment) -> None:
    """Write the prompt at the left, the numbers below it, and the controls at the right."""
    w, h = brush.surface.get_size()
    space, bindings = stage.env.action_space, stage.bindings
    wide = controls_width(brush, space, bindings)
    draw_controls(brush, w - wide - brush.px(8), h - brush.px(4), space, bindings, moment, False)
    x, room = brush.px(14), w - wide - brush.px(40)
    lines = brush.wrap(moment.prompt or stage.title, room, 2, 13)
    for i, line in enumerate(lines):
        brush.text(line, x, top + brush.px(10 + 18 * i), 13, INK)
    kind = stage.kind
    numbers = f"{kind} · step {moment.step} · return {moment.total:.1f}"
    brush.text(brush.wrap(numbers, room, 1, 12)[0], x, h - brush.px(26), 12, SOFT)
