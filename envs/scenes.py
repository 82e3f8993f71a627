"""What a driving scene can be, and what colours it has."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Biome:
    """Ground, road and plants of a landscape; colours are RGB in daylight."""

    ground: Colour
    patches: Colour
    road: Colour
    prop: str
    prop_colours: tuple[Colour, ...]
    density: float


BIOMES = {
    "green countryside": Biome(
        (92, 150, 62), (112, 170, 74), (84, 84, 88), "tree", ((34, 92, 36), (52, 116, 44)), 1.0
    ),
    "desert": Biome(
        (208, 172, 112), (222, 188, 130), (112, 104, 96), "cactus", ((58, 120, 62),), 0.5
    ),
    "snowy forest": Biome(
        (226, 232, 240), (208, 218, 232), (92, 98, 108), "pine",
        ((36, 70, 62), (150, 170, 178)), 1.3,
    ),
    "autumn forest": Biome(
        (150, 118, 58), (170, 126, 54), (82, 80, 80), "tree",
        ((206, 96, 28), (190, 52, 30), (214, 160, 40)), 1.3,
    ),
    "city": Biome(
        (104, 108, 106), (116, 118, 114), (66, 68, 74), "building",
        ((128, 116, 110), (98, 108, 128), (152, 138, 118), (90, 84, 90)), 0.9,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Light:
    """Colours of the sky at its top and at the horizon, of an overcast sky, and of the light."""

    zenith: Colour
    horizon: Colour
    overcast: Colour
    ambient: tuple[float, float, float]


TIMES = {
    "day": Light((96, 158, 232), (196, 222, 244), (186, 188, 192), (1.0, 1.0, 1.0)),
    "sunset": Light((88, 70, 130), (250, 150, 84), (165, 138, 126), (1.0, 0.74, 0.60)),
    "night": Light((8, 10, 28), (22, 26, 50), (26, 28, 34), (0.18, 0.20, 0.32)),
}


@dataclass(frozen=True)
class Air:
    """How much of the sky is covered, how far one sees in metres, and what light comes through."""

    cover: float
    sight: float
    light: float


WEATHERS = {
    "clear": Air(0.0, 330.0, 1.0),
    "rain": Air(0.75, 95.0, 0.72),
    "fog": Air(1.0, 26.0, 0.92),
    "snow": Air(0.8, 60.0, 0.97),
}
TRAFFIC = {"empty": 0, "light": 6, "busy": 16}
CHOICES = {"biome": BIOMES, "time": TIMES, "weather": WEATHERS, "traffic": TRAFFIC}


def check_scene(scene: dict[str, Any] | None) -> dict[str, str]:
    """Return a copy of a partial scene of the road, once it is checked."""
    known = CHOICES | {"next_biome": ("", *BIOMES)}
    return checked(scene, known, "{'biome': 'desert'}", "camera", "simulator")


def checked(
    scene: dict[str, Any] | None, known: dict[str, Iterable[str]], example: str, *unread: str
) -> dict[str, str]:
    """Return a copy of a partial scene.

    Args:
        scene: What is given; None is nothing.
        known: The values of each key.
        example: Of a scene.
        *unread: Keys that recordings hold beside these.

    Raises:
        TypeError: If it is not a dict.
        ValueError: If a key or a value is unknown.
    """
    if scene is None:
        return {}
    if not isinstance(scene, dict):
        raise TypeError(f"`scene` must be a dict such as {example}, got {type(scene).__name__}")
    for key, value in scene.items():
        if key in unread:
            continue
        if key not in known:
            raise ValueError(f"a scene's keys are {', '.join(known)}, got {key!r}; leave it out")
        if not isinstance(value, str) or value not in known[key]:
            raise ValueError(f"`{key}` must be one of {', '.join(known[key])}, got {value!r}")
    return dict(scene)


def draw_scene(rng: np.random.Generator, given: dict[str, str]) -> dict[str, str]:
    """Fill what is not given: likely weathers first, some tracks cross into another biome.

    A biome that is given stays, unless the next one is given too.
    """
    scene = {
        "biome": str(rng.choice(list(BIOMES))),
        "time": str(rng.choice(list(TIMES), p=(0.5, 0.25, 0.25))),
        "weather": str(rng.choice(list(WEATHERS), p=(0.46, 0.18, 0.18, 0.18))),
        "traffic": str(rng.choice(list(TRAFFIC), p=(0.25, 0.4, 0.35))),
    }
    scene["next_biome"] = str(rng.choice(list(BIOMES))) if rng.random() < 0.15 else ""
    scene |= ({"next_biome": ""} if "biome" in given else {}) | given
    if scene["next_biome"] in ("", scene["biome"]):
        del scene["next_biome"]
    return scene


def checked_size(frame_size: Any) -> tuple[int, int]:
    """Return `(h, w)` of frames.

    Raises:
        ValueError: If that is no size, or a very small one.
    """
    sides = np.atleast_1d(frame_size).tolist()
    if len(sides) != 2 or not all(isinstance(n, int) and n >= 16 for n in sides):
        raise ValueError(f"`frame_size` must be (h, w) of at least 16 pixels, got {frame_size}")
    return sides[0], sides[1]


def check_options(options: dict[str, Any] | None, *known: str) -> dict[str, Any]:
    """Return the options of a reset.

    Raises:
        ValueError: If there is one that nobody reads.
    """
    unknown = set(options or ()) - set(known)
    if unknown or not isinstance(options or {}, dict):
        raise ValueError(
            f"a reset's options are {', '.join(known)}, got {', '.join(map(str, unknown))}; what "
            "a scene is like goes into `options={'scene': {...}}`"
        )
    return options or {}
