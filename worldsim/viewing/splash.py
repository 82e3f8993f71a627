"""The picture that one looks at while a world loads: a landscape that comes out of noise."""

from functools import cache

import numpy as np
import pygame

from worldsim.viewing.brush import INK, SOFT, Brush
from worldsim.viewing.hud import unit_of

SIDE = 96  # pixels of the picture, before it is enlarged
DUSK = ((22, 24, 58), (92, 58, 118), (226, 122, 96), (255, 206, 130))  # from the zenith down
HALF = 0.6  # seconds until half of the noise is gone


def draw_splash(surface: pygame.Surface, title: str, seconds: float) -> None:
    """Draw the picture as it is after so many seconds of waiting."""
    signal = 1 - 0.5 ** (seconds / HALF)
    noise = np.random.default_rng(int(12 * seconds)).normal(128, 74, (SIDE, SIDE, 3))
    frame = np.clip(signal * _landscape() + (1 - signal) * noise, 0, 255).astype(np.uint8)
    w, h = surface.get_size()
    side = max(w, h)
    image = pygame.image.frombuffer(frame.tobytes(), (SIDE, SIDE), "RGB")
    image = pygame.transform.smoothscale(image, (side, side))
    surface.blit(image, ((w - side) // 2, (h - side) // 2))
    brush = Brush(surface, unit_of(surface))
    brush.shade((8, 9, 12, 70))
    wide = max(brush.width(title, 34), brush.width("waking up…  Esc quits", 13)) + brush.px(64)
    top = h / 2 - brush.px(52)
    brush.panel(((w - wide) / 2, top, wide, brush.px(104)), radius=16)
    brush.text(title, w / 2, top + brush.px(16), 34, INK, align=0.5)
    brush.text("waking up…  Esc quits", w / 2, top + brush.px(70), 13, SOFT, align=0.5)


@cache
def _landscape() -> np.ndarray:
    """Paint `(SIDE, SIDE, 3)`: dusk, a sun, hills and a road to the horizon."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    horizon, steps = 0.56, np.linspace(0, 1, len(DUSK))
    sky = np.stack([np.interp(y / horizon, steps, tone) for tone in np.transpose(DUSK)], -1)
    glow = np.exp(-(((x - 0.62) ** 2 + (y - 0.5) ** 2) / 0.012))[..., None]
    picture = sky + glow * (255, 214, 150) * 0.5
    picture[(x - 0.62) ** 2 + (y - 0.5) ** 2 < 0.0035] = (255, 236, 190)
    for height, waves, tone in ((0.09, 5, (70, 52, 96)), (0.05, 9, (46, 40, 74))):
        ridge = horizon - height * (0.55 + 0.45 * np.sin(waves * x + height * 70))
        picture[(y > ridge) & (y <= horizon)] = tone
    ground = y > horizon
    depth = np.clip((y - horizon) / (1 - horizon), 1e-3, 1)
    land = np.stack([58 - 30 * depth, 48 - 18 * depth, 62 - 26 * depth], -1)
    picture[ground] = land[ground]
    centre = 0.62 - 0.12 * depth
    off = np.abs(x - centre) / (0.012 + 0.4 * depth)
    picture[ground & (off < 1)] = (40, 40, 52)
    picture[ground & (off > 0.93) & (off < 1)] = (214, 204, 198)
    dashes = (1 / (depth + 0.06) % 2.0) < 1.0
    picture[ground & (off < 0.03) & dashes] = (232, 214, 160)
    return picture
