"""Films of what is played: sharp pixels, the prompt and the controls in a strip below."""

from pathlib import Path

import numpy as np
import pygame

from worldsim.brush import GROUND, INK, SOFT, Brush
from worldsim.hud import controls_width, draw_controls
from worldsim.stage import Moment, Stage
from worldsim.video import VideoWriter

SIDE = 512  # pixels that the longer side of a frame is enlarged to, by a whole factor
PIXELS = ("sharp", "whole", "smooth")
STRIP = 84  # height of the strip, at a width of 512


class Film:
    """Record moments to an MP4 file that is whole whenever it exists.

    Args:
        path: File to write.
        stage: What is filmed; another stage may take over, its frames are then fitted in.
        fps: Frames per second.
        strip: Whether to draw prompt, step, return and controls below the frames.
    """

    def __init__(self, path: Path, stage: Stage, fps: float, strip: bool = True) -> None:
        h, w = stage.moment.frame.shape[:2]
        factor = max(1, SIDE // max(h, w))
        self.path, self.fps, self.frames = Path(path), fps, 0
        self._size = w * factor, h * factor
        self._strip = round(STRIP * max(0.5, w * factor / SIDE)) if strip else 0
        self._video = VideoWriter(path, fps, (h * factor + self._strip, w * factor))

    @property
    def seconds(self) -> float:
        """Length so far."""
        return self.frames / self.fps

    def write(self, stage: Stage) -> None:
        """Add the present moment of a stage."""
        w, h = self._size
        canvas = pygame.Surface((w, h + self._strip))
        canvas.fill(GROUND)
        canvas.blit(fit(stage.moment.frame, (w, h)), (0, 0))
        if self._strip:
            _draw_strip(Brush(canvas, self._strip / STRIP), h, stage, stage.moment)
        pixels = np.frombuffer(pygame.image.tobytes(canvas, "RGB"), np.uint8)
        self._video.write(pixels.reshape(h + self._strip, w, 3))
        self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        self._video.close()


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
    kind = "imagined" if stage.imagined else "real"
    numbers = f"{kind} · step {moment.step} · return {moment.total:.1f}"
    brush.text(brush.wrap(numbers, room, 1, 12)[0], x, h - brush.px(26), 12, SOFT)
