"""A perspective picture of the land, the cars and the weather.

The ground is one perspective warp of the land's texture, the sky a panorama rolled by yaw, props
and cars are polygons painted from far to near. Everything is drawn at twice the size and averaged.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter

import cv2
import numpy as np
from worldsim.envs.bodies import car_faces
from worldsim.envs.optics import SCALE, Lens, Mood, fixed
from worldsim.envs.scenery import PIXELS, SHIFT, Land, Props
from worldsim.envs.traffic import CAR, COLOURS, TRUCK, Traffic

FAR = 170.0  # metres to the farthest prop

SHAPES = {  # polygons in units of (width, height), and whose colour: prop, trunk or window
    "tree": [
        ([(-0.12, 0), (0.12, 0), (0.12, 0.45), (-0.12, 0.45)], "trunk"),
        ([(math.cos(k * math.pi / 5), 0.66 + 0.34 * math.sin(k * math.pi / 5))
          for k in range(10)], "prop"),
    ],
    "pine": [
        ([(-0.12, 0), (0.12, 0), (0.12, 0.3), (-0.12, 0.3)], "trunk"),
        ([(-1, 0.18), (1, 0.18), (0, 1)], "prop"),
    ],
    "cactus": [
        ([(-0.18, 0), (0.18, 0), (0.18, 1), (-0.18, 1)], "prop"),
        ([(-0.6, 0.35), (0.6, 0.35), (0.6, 0.47), (-0.6, 0.47)], "prop"),
        ([(0.42, 0.35), (0.6, 0.35), (0.6, 0.75), (0.42, 0.75)], "prop"),
    ],
    "building": [([(-0.5, 0), (0.5, 0), (0.5, 1), (-0.5, 1)], "prop")]
    + [
        ([(x - 0.1, y), (x + 0.1, y), (x + 0.1, y + 0.11), (x - 0.1, y + 0.11)], "window")
        for x in (-0.28, 0.0, 0.28)
        for y in (0.14, 0.35, 0.56, 0.77)
    ],
}  # fmt: skip
PARTS = {  # the same with neighbours of one colour as one array (parts, points, 2)
    kind: [
        (whose, np.array([outline for outline, _ in parts]))
        for whose, parts in groupby(shape, itemgetter(1))
    ]
    for kind, shape in SHAPES.items()
}
TRUNK, WINDOW, LIT_WINDOW = (86.0, 62.0, 40.0), (90.0, 100.0, 120.0), (206.0, 178.0, 96.0)


@dataclass(frozen=True)
class Ego:
    """The player's car: place, yaw, and what its driver does."""

    xy: np.ndarray
    yaw: float
    steer: float
    brake: float
    seconds: float


def draw(lens: Lens, mood: Mood, land: Land, traffic: Traffic, ego: Ego) -> np.ndarray:
    """Return the picture `(h, w, 3)` uint8."""
    forward = np.array([-math.sin(ego.yaw), math.cos(ego.yaw)])
    right = np.array([math.cos(ego.yaw), math.sin(ego.yaw)])
    eye = ego.xy - forward * lens.back
    canvas = np.empty((lens.h, lens.w, 3), np.float32)
    start = int(-ego.yaw / (2 * math.pi) * mood.sky.shape[1]) % mood.sky.shape[1]
    sky = mood.sky[:, start : start + lens.w]
    canvas[: lens.horizon, : sky.shape[1]] = sky
    canvas[: lens.horizon, sky.shape[1] :] = mood.sky[:, : lens.w - sky.shape[1]]
    _ground(canvas[lens.horizon :], lens, mood, land, eye, forward, right)
    things = _props(lens, mood, land, eye, forward, right) + _walls(
        lens, mood, land, eye, forward, right
    )
    things += _cars(lens, mood, traffic, ego, eye, forward, right)
    if lens.back:
        things += car_faces(
            lens,
            mood,
            0.0,
            lens.back,
            -0.12 * ego.steer,
            CAR,
            COLOURS[0],
            ego.brake > 0.05,
            True,
        )
    things.sort(key=itemgetter(0), reverse=True)
    for _, polygon, colour in things:
        cv2.fillConvexPoly(canvas, polygon, colour, cv2.LINE_AA, SHIFT)
    if mood.weather in ("rain", "snow"):
        _particles(canvas, lens, mood, eye, forward, right, ego.seconds)
    if not lens.back:
        _bonnet(canvas, lens, mood, ego)
    small = cv2.resize(canvas, (lens.w // SCALE, lens.h // SCALE), interpolation=cv2.INTER_AREA)
    return np.minimum(np.maximum(small, 0, out=small), 255, out=small).astype(np.uint8)


def _ground(canvas, lens, mood, land, eye, forward, right) -> None:  # noqa: ANN001
    """Paint the ground; what is far comes from a smaller texture, so that it does not flicker."""
    z = np.array([2.5, 2.5, 60.0, 60.0])
    x = z * np.array([-0.8, 0.8, -0.8, 0.8])
    source = ((eye + x[:, None] * right + z[:, None] * forward + land.extent) * PIXELS).astype(
        np.float32
    )
    target = (lens.project(x, np.zeros(4), z) - (0, lens.horizon)).astype(np.float32)
    warp = cv2.getPerspectiveTransform(target, source)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (lens.w, lens.h - lens.horizon)
    canvas[:] = cv2.warpPerspective(
        land.texture, warp, size, flags=flags, borderMode=cv2.BORDER_REFLECT
    )
    if mood.far_rows:
        shrink = np.diag([0.125, 0.125, 1]) @ warp
        size = (lens.w, mood.far_rows)
        far = cv2.warpPerspective(
            land.mip, shrink, size, flags=flags, borderMode=cv2.BORDER_REFLECT
        )
        near = canvas[: mood.far_rows]
        near += (far - near) * mood.blur
    canvas *= mood.multiply
    canvas += mood.add


def _props(lens, mood, land, eye, forward, right) -> list:  # noqa: ANN001
    things = []
    for props in land.props:
        away = props.xy - eye
        z, x = away @ forward, away @ right
        seen = (z > 1.5) & (z < min(FAR, 2.2 * mood.sight)) & (np.abs(x) < z + 12)
        seen &= props.height * lens.focal / np.maximum(z, 1) > 2 * SCALE
        seen = np.flatnonzero(seen)
        if len(seen):
            things += _grown(lens, mood, props, seen, x[seen], z[seen])
    return things


def _grown(lens, mood, props: Props, seen, x, z) -> list:  # noqa: ANN001
    """Return the parts of props, each a little nearer than the one it covers."""
    things, first, night = [], 0, mood.time == "night"
    fog, light = mood.fog(z)[:, None], mood.light(x, z)
    height, width = props.height[seen], props.width[seen]
    for whose, outlines in PARTS[props.kind]:
        if whose == "window":  # a third of the windows of near buildings are left out
            some = np.flatnonzero(z < 60)
            lit = np.float32(LIT_WINDOW) if night else np.float32(WINDOW) * light
        else:
            some = slice(None)
            lit = np.float32(TRUNK if whose == "trunk" else props.colour[seen]) * light
        depths = z[some]
        if len(depths):
            polygons = fixed(
                lens.project(
                    x[some, None, None] + width[some, None, None] * outlines[..., 0],
                    height[some, None, None] * outlines[..., 1],
                    np.broadcast_to(depths[:, None, None], (len(depths), *outlines.shape[:2])),
                )
            )  # (props, parts, points, 2)
            shades = mood.veil(lit, fog)[some].tolist()
            hashed = (seen[some] * 7).tolist()
            for part, outline in enumerate(polygons.swapaxes(0, 1), first):
                places = (depths - 1e-3 * part).tolist()
                for thing in zip(places, outline, shades, hashed, strict=True):
                    if whose != "window" or (thing[3] + part * 5) % 3:
                        things.append(thing[:3])
        first += len(outlines)
    return things


def _walls(lens, mood, land: Land, eye, forward, right) -> list:  # noqa: ANN001
    """Draw the gantry over the finish line and the barrier round the field."""
    things = []
    if np.linalg.norm(land.track[0] - eye) < FAR:
        things += _panels(lens, mood, *land.gantry, eye, forward, right)
    if np.abs(eye).max() > land.extent - 1.5 - FAR * 0.6:
        ends, heights, colours = land.barrier
        near = np.linalg.norm(ends[:, 0] - eye, axis=1) < FAR * 0.6
        things += _panels(lens, mood, ends[near], heights[near], colours[near], eye, forward, right)
    return things


def _panels(lens, mood, ends, heights, colours, eye, forward, right) -> list:  # noqa: ANN001
    """Draw upright quads between two places `(n, 2, 2)`, from one of two heights to the other."""
    away = ends - eye
    z, x = away @ forward, away @ right
    seen = (z.max(1) > 1.0) & (z.min(1) < FAR)
    if not seen.any():
        return []
    x, z = x[seen], np.maximum(z[seen], 0.8)
    polygons = fixed(
        lens.project(x[:, [0, 1, 1, 0]], heights[seen][:, [0, 0, 1, 1]], z[:, [0, 1, 1, 0]])
    )
    middle = z.mean(1)
    fog = np.array([mood.fog(depth) for depth in middle])[:, None]
    shades = mood.veil(colours[seen] * mood.light(x.mean(1), middle), fog)
    return list(zip(middle.tolist(), polygons, shades.tolist(), strict=True))


def _cars(lens, mood, traffic: Traffic, ego: Ego, eye, forward, right) -> list:  # noqa: ANN001
    """Draw what is in sight; a car that would cover the lens is left out."""
    if not len(traffic):
        return []
    away, things = traffic.xy - eye, []
    z, x = away @ forward, away @ right
    seen = (
        (z - traffic.size[:, 0] / 2 > 2.5) & (z < min(FAR, 2.2 * mood.sight)) & (np.abs(x) < z + 8)
    )
    for i in np.flatnonzero(seen).tolist():
        size, colour = TRUCK if traffic.truck[i] else CAR, COLOURS[traffic.colour[i]]
        yaw, braking = float(traffic.yaw[i]) - ego.yaw, traffic.braking[i]
        things += car_faces(lens, mood, float(x[i]), float(z[i]), yaw, size, colour, braking, False)
    return things


def _particles(canvas, lens, mood, eye, forward, right, seconds) -> None:  # noqa: ANN001
    """Lay a few soft streaks of rain or flakes of snow over the picture."""
    rain = mood.weather == "rain"
    box = np.array([36.0, 36.0, 12.0])
    fall = np.array([2.0, 0.0, -22.0] if rain else [1.2, 0.4, -2.6])
    drops = _drops(90 if rain else 130) * box + fall * seconds
    drops = (drops - np.append(eye, 0)) % box - box / 2
    x, z, y = drops[:, :2] @ right, drops[:, :2] @ forward, drops[:, 2] + 5
    seen = (z > 2.5) & (np.abs(x) < z)
    x, y, z = x[seen], y[seen], z[seen]
    tops = fixed(lens.project(x, y + (0.5 if rain else 0.0), z))
    ends = fixed(lens.project(x, y, z))
    layer = np.zeros(canvas.shape[:2], np.float32)
    for a, b, depth in zip(tops.tolist(), ends.tolist(), z, strict=True):
        if rain:
            cv2.line(layer, a, b, 0.28, 1, cv2.LINE_AA, SHIFT)
        else:
            cv2.circle(
                layer, b, int(lens.focal * 0.05 / depth * 2**SHIFT) + 8, 0.5, -1, cv2.LINE_AA, SHIFT
            )
    bright = {"day": 1.0, "sunset": 0.85, "night": 0.45}[mood.time]
    colour = np.float32((190, 200, 216) if rain else (250, 250, 252)) * bright
    canvas += layer[..., None] * (colour - canvas)


@lru_cache
def _drops(count: int) -> np.ndarray:
    """Return places `(count, 3)` in a unit box, always the same."""
    return np.random.default_rng(7).random((count, 3))


def _bonnet(canvas, lens, mood, ego: Ego) -> None:  # noqa: ANN001
    shape = np.array([[0.24, 1.0], [0.34, 0.9], [0.66, 0.9], [0.76, 1.0]]) * (lens.w, lens.h)
    shape[:, 0] -= 0.01 * ego.steer * lens.w
    colour = np.float32(COLOURS[0]) * np.maximum(mood.ambient, 0.25) * 0.8
    cv2.fillConvexPoly(canvas, fixed(shape), colour.tolist(), cv2.LINE_AA, SHIFT)
