"""A perspective picture of the land, the cars and the weather.

The ground is one perspective warp of the land's texture, the sky a panorama rolled by yaw, props
and cars are polygons painted from far to near. Light and fog are tables over the picture, computed
once for each time and weather. Everything is drawn at twice the size and averaged.

Camera frame: x right, z forward, y up, metres. A yaw of 0 looks north.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter

import cv2
import numpy as np
from worldsim.envs.scenery import PIXELS, SHIFT, Land, Props
from worldsim.envs.scenes import TIMES, WEATHERS
from worldsim.envs.traffic import CAR, COLOURS, TRUCK, Traffic

FAR = 170.0  # metres to the farthest prop
SCALE = 2  # supersampling
RADIAN = math.radians(75)  # field of view across
MOUNTS = {"chase": (4.2, 0.20, 8.5), "hood": (1.6, 0.03, 0.0)}  # height, pitch, metres behind

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


class Lens:
    """Geometry of a camera: where points and the ground land in the picture.

    Args:
        frame_size: `(h, w)` of the finished picture.
        camera: "chase" or "hood".
    """

    def __init__(self, frame_size: tuple[int, int], camera: str) -> None:
        self.height, self.pitch, self.back = MOUNTS[camera]
        self.h, self.w = frame_size[0] * SCALE, frame_size[1] * SCALE
        self.focal = max(self.w, self.h) / 2 / math.tan(RADIAN / 2)
        self.cos, self.sin = math.cos(self.pitch), math.sin(self.pitch)
        v, u = np.mgrid[0 : self.h, 0 : self.w].astype(np.float32)
        rise = (self.h / 2 - v - 0.5) / self.focal
        down = self.sin - rise * self.cos
        z = self.height * (self.cos + rise * self.sin) / np.maximum(down, 1e-4)
        z = np.where(down > 1e-4, z, 1e5).clip(0.1, 1e5)
        self.horizon = int(
            np.clip(np.ceil(self.h / 2 - self.focal * math.tan(self.pitch)), 2, self.h - 2)
        )
        x = (u + 0.5 - self.w / 2) / self.focal * (z * self.cos + self.height * self.sin)
        self.ground_z, self.ground_x = z[self.horizon :], x[self.horizon :]

    def project(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Return picture coordinates `(..., 2)` of points in the camera frame."""
        up = y - self.height
        depth = np.maximum(z * self.cos - up * self.sin, 0.4)
        points = np.empty((*depth.shape, 2))
        points[..., 0] = self.w / 2 + self.focal * x / depth
        points[..., 1] = self.h / 2 - self.focal * (z * self.sin + up * self.cos) / depth
        return points


class Mood:
    """Light, fog and sky of one time and weather.

    Args:
        lens: The camera.
        land: Its hills stand at the horizon.
        time: A key of `TIMES`.
        weather: A key of `WEATHERS`.
        seed: Places clouds and stars.
    """

    def __init__(self, lens: Lens, land: Land, time: str, weather: str, seed: int) -> None:
        light, air = TIMES[time], WEATHERS[weather]
        self.time, self.weather, self.lens = time, weather, lens
        overcast = np.float32(light.overcast) * (
            1.1 if weather == "snow" and time == "day" else 1.0
        )
        mix = lambda clear: np.float32(clear) * (1 - air.cover) + overcast * air.cover  # noqa: E731
        self.zenith, self.haze = mix(light.zenith), mix(light.horizon)
        self.sight, self.ambient = air.sight, np.float32(light.ambient) * air.light
        fog = self.fog(lens.ground_z)[..., None]
        shine = self.light(lens.ground_x, lens.ground_z)
        wet = 16 * self.ambient if weather == "rain" else 0
        tint = 20 * self.ambient if weather == "snow" else 0
        self.multiply = (shine * (1 - fog)).astype(np.float32)
        self.add = (fog * self.haze + (wet + tint) * (1 - fog)).astype(np.float32)
        blur = np.clip((lens.ground_z / lens.focal * PIXELS - 0.9) / 2.5, 0, 1)
        self.far_rows = int((blur > 0).any(1).sum())  # below them the ground is near and sharp
        self.blur = np.repeat(blur[: self.far_rows, :, None], 3, 2).astype(np.float32)
        self.sky = self._paint_sky(land, np.random.default_rng((seed, 2)), light)

    def fog(self, z: np.ndarray) -> np.ndarray:
        """Return the share of haze at distance `z`."""
        return 1 - np.exp(-((np.maximum(z, 0) / self.sight) ** 1.6))

    def light(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Return an RGB factor for points on the ground: ambient light, and headlights at night."""
        shine = np.ones((*np.shape(z), 3), np.float32) * self.ambient
        if self.time == "night":
            ahead = np.maximum(z - self.lens.back, 0.01)
            cone = np.clip(1.35 - np.abs(x) / (1.6 + 0.36 * ahead), 0, 1)
            cone = cone * np.exp(-ahead / 26) * np.clip(ahead / 2.5, 0, 1)
            shine = shine + cone[..., None] * np.float32((1.05, 1.0, 0.84))
        return shine

    def veil(self, lit: np.ndarray, fog: np.ndarray) -> np.ndarray:
        """Return lit colours `(..., 3)` as seen through the haze."""
        return np.minimum(np.maximum(lit, 0), 255) * (1 - fog) + self.haze * fog

    def _paint_sky(self, land: Land, rng: np.random.Generator, light) -> np.ndarray:
        lens, rows = self.lens, self.lens.horizon
        n = int(2 * math.pi / (2 * math.atan(lens.w / 2 / lens.focal)) * lens.w)
        up = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None] ** 1.4
        sky = np.repeat(self.zenith * (1 - up) + self.haze * up, n, 1)
        if self.weather == "clear":
            self._paint_stars_and_sun(sky, rng)
        if self.weather != "fog" and self.time != "night":
            bright = self.haze * 0.45 + 255 * 0.55 * np.minimum(self.ambient, 1)
            for _ in range(22):
                clouds = sky.copy()
                at = int(rng.integers(n)), int(rng.uniform(0.1, 0.75) * rows)
                axes = int(rng.uniform(0.1, 0.3) * lens.w), max(1, int(0.05 * lens.h))
                cv2.ellipse(clouds, at, axes, 0, 0, 360, tuple(map(float, bright)), -1, cv2.LINE_AA)
                sky = sky * 0.55 + clouds * 0.45
        share = min(1.0, float(self.fog(np.float32(150))))
        hill = np.float32((78, 96, 92)) * self.ambient * (1 - share) + self.haze * share
        height = np.interp(
            np.arange(n) * 360 / n, np.arange(361), np.append(land.hills, land.hills[0])
        )
        tops = rows - np.maximum(1.0, (height - 0.3) * lens.h * 0.22)
        cover = np.clip(np.arange(rows)[:, None] + 1 - tops, 0, 1)[..., None]
        return np.clip(sky * (1 - cover) + hill * cover, 0, 255).astype(np.float32)

    def _paint_stars_and_sun(self, sky: np.ndarray, rng: np.random.Generator) -> None:
        rows, n = sky.shape[:2]
        if self.time == "night":
            for _ in range(n // 16):
                at = int(rng.integers(n)), int(rng.integers(rows))
                cv2.circle(sky, at, 1, (96, 98, 112), -1, cv2.LINE_AA)
        colour, radius, place = {
            "day": ((255, 250, 225), 0.07, 0.25),
            "sunset": ((255, 214, 120), 0.13, 0.86),
            "night": ((214, 216, 206), 0.06, 0.3),
        }[self.time]
        for at in (n // 9, n // 9 + n // 2):  # one before and one behind: a sun in most pictures
            cv2.circle(
                sky, (at, int(rows * place)), int(radius * self.lens.h), colour, -1, cv2.LINE_AA
            )


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
        things += _car(
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
            polygons = _fixed(
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
    polygons = _fixed(
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
        things += _car(lens, mood, float(x[i]), float(z[i]), yaw, size, colour, braking, False)
    return things


def _car(lens, mood, x, z, yaw, size, colour, braking, own) -> list:  # noqa: ANN001
    """Return the visible faces of a car, each a little nearer than the one it covers."""
    corners, colours, sides = _car_faces(size, colour)
    cos, sin = math.cos(yaw), math.sin(yaw)
    hidden = set()
    for k, (a, b, na, nb) in sides.items():
        at_x, at_z = x + a * cos - b * sin, z + a * sin + b * cos
        if at_x * (na * cos - nb * sin) + at_z * (na * sin + nb * cos) >= 0:
            hidden.add(k)
    rear = cos > 0
    shown = [k for k in range(11) if k not in hidden] + ([11, 12] if rear else [13, 14])
    a, b, y = corners[:, shown]  # (faces, 4) each
    points = lens.project(x + a * cos - b * sin, y, np.maximum(z + a * sin + b * cos, 0.6))
    shine = mood.light(x, z)
    lit = colours[shown] * (np.maximum(shine, 0.3) if own else shine)
    lit[-2:] = colours[shown[-2:]] * np.float32(
        1.0 if braking or not rear else 0.75 if mood.time == "night" else 0.5
    )
    shades = mood.veil(lit, mood.fog(z)).tolist()
    return [
        (z - 1e-2 * k, polygon, shade)
        for k, (polygon, shade) in enumerate(zip(_fixed(points), shades, strict=True))
    ]


@lru_cache
def _car_faces(size: tuple, colour: tuple) -> tuple[np.ndarray, np.ndarray, dict]:
    """Return the faces of a car of some size, from the shadow up, the four lamps last.

    Returns:
        Corners `(3, faces, 4)` to the right, ahead and up; colours `(faces, 3)`; and of the
        upright faces, by index, the middle and the normal.
    """
    length, width, height = size
    cabin = (52, 60, 74) if height < 2.2 else colour
    quads = [_quad(-width / 2, width / 2, -length / 2, length / 2, 0.02)]
    colours, sides = [np.float32((16, 16, 18))], {}
    for back, front, half, low, high, paint in (
        (-length / 2, length / 2, width / 2, 0.3, 0.55 * height, colour),
        (-0.36 * length, 0.18 * length, 0.42 * width, 0.55 * height, height, cabin),
    ):
        ground = [(-half, back), (half, back), (half, front), (-half, front)]
        for k, normal in enumerate([(0, -1), (1, 0), (0, 1), (-1, 0)]):
            (a0, b0), (a1, b1) = ground[k], ground[(k + 1) % 4]
            sides[len(quads)] = ((a0 + a1) / 2, (b0 + b1) / 2, *normal)
            quads.append([(a0, b0, low), (a1, b1, low), (a1, b1, high), (a0, b0, high)])
            colours.append(np.float32(paint) * (0.7 if k % 2 else 0.86))
        quads.append(_quad(-half, half, back, front, high))
        colours.append(np.float32(paint) * 1.1)
    for b, lamp in ((-length / 2 - 0.02, (255, 50, 36)), (length / 2 + 0.02, (255, 246, 210))):
        for a in (-0.36 * width, 0.36 * width):
            left, right = a - 0.24, a + 0.24
            quads.append([(left, b, 0.5), (right, b, 0.5), (right, b, 0.88), (left, b, 0.88)])
            colours.append(np.float32(lamp))
    return np.moveaxis(np.array(quads), -1, 0), np.array(colours), sides


def _quad(left: float, right: float, back: float, front: float, y: float) -> list:
    return [(left, back, y), (right, back, y), (right, front, y), (left, front, y)]


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
    tops = _fixed(lens.project(x, y + (0.5 if rain else 0.0), z))
    ends = _fixed(lens.project(x, y, z))
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
    cv2.fillConvexPoly(canvas, _fixed(shape), colour.tolist(), cv2.LINE_AA, SHIFT)


def _fixed(points: np.ndarray) -> np.ndarray:
    """Return picture coordinates in cv2's fixed point."""
    points = np.rint(points * 2**SHIFT)
    return np.minimum(np.maximum(points, -60000), 60000).astype(np.int32)
