"""A perspective picture of the land, the cars and the weather.

The ground is one perspective warp of the land's texture, the sky a panorama rolled by yaw, props
and cars are polygons painted from far to near. Light and fog are tables over the picture, computed
once for each time and weather. Everything is drawn at twice the size and averaged.

Camera frame: x right, z forward, y up, metres. A yaw of 0 looks north.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from worldsim.envs.scenery import PIXELS, SHIFT, Land, Props
from worldsim.envs.scenes import TIMES, WEATHERS
from worldsim.envs.traffic import CAR, COLOURS, Traffic

FAR = 170.0  # metres to the farthest prop
SCALE = 2  # supersampling
RADIAN = math.radians(75)  # field of view across
MOUNTS = {"chase": (4.2, 0.20, 8.5), "hood": (1.6, 0.03, 0.0)}  # height, pitch, metres behind

SHAPES = {  # polygons in units of (width, height), and whose colour: prop, trunk or window
    "tree": [
        ([(-0.12, 0), (0.12, 0), (0.12, 0.45), (-0.12, 0.45)], "trunk"),
        ([(math.cos(k * math.pi / 5), 0.66 + 0.34 * math.sin(k * math.pi / 5)) for k in range(10)], "prop"),
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
        points = np.empty((*np.broadcast_shapes(np.shape(x), depth.shape), 2))
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
        blur = lens.ground_z / lens.focal * PIXELS
        self.blur = np.clip((blur - 0.9) / 2.5, 0, 1)[..., None].astype(np.float32)
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

    def shade(self, colour: np.ndarray, x: float, z: float, *, glow: bool = False) -> np.ndarray:
        """Return `colour` as seen at `(x, z)`; what glows needs no light."""
        fog = np.asarray(self.fog(z))[..., None]
        lit = np.float32(colour) * (1.0 if glow else self.light(x, z))
        return np.clip(lit, 0, 255) * (1 - fog) + self.haze * fog

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
    start = int(-ego.yaw / (2 * math.pi) * mood.sky.shape[1])
    columns = (start + np.arange(lens.w)) % mood.sky.shape[1]
    canvas[: lens.horizon] = mood.sky[:, columns]
    canvas[lens.horizon :] = _ground(lens, mood, land, eye, forward, right)
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
            np.array(CAR),
            COLOURS[0],
            ego.brake > 0.05,
            True,
        )
    for _, polygon, colour in sorted(things, key=lambda thing: -thing[0]):
        cv2.fillConvexPoly(canvas, polygon, colour, cv2.LINE_AA, SHIFT)
    if mood.weather in ("rain", "snow"):
        _particles(canvas, lens, mood, eye, forward, right, ego.seconds)
    if not lens.back:
        _bonnet(canvas, lens, mood, ego)
    small = cv2.resize(canvas, (lens.w // SCALE, lens.h // SCALE), interpolation=cv2.INTER_AREA)
    return small.clip(0, 255).astype(np.uint8)


def _ground(lens, mood, land, eye, forward, right) -> np.ndarray:  # noqa: ANN001
    z = np.array([2.5, 2.5, 60.0, 60.0])
    x = z * np.array([-0.8, 0.8, -0.8, 0.8])
    source = ((eye + x[:, None] * right + z[:, None] * forward + land.extent) * PIXELS).astype(
        np.float32
    )
    target = (lens.project(x, np.zeros(4), z) - (0, lens.horizon)).astype(np.float32)
    warp = cv2.getPerspectiveTransform(target, source)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (lens.w, lens.h - lens.horizon)
    near = cv2.warpPerspective(land.texture, warp, size, flags=flags, borderMode=cv2.BORDER_REFLECT)
    shrink = np.diag([0.125, 0.125, 1]) @ warp
    far = cv2.warpPerspective(land.mip, shrink, size, flags=flags, borderMode=cv2.BORDER_REFLECT)
    near = near.astype(np.float32)
    return (near + (far - near) * mood.blur) * mood.multiply + mood.add


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
    things, night = [], mood.time == "night"
    for part, (outline, whose) in enumerate(SHAPES[props.kind]):
        points = np.array(outline)
        polygons = lens.project(
            x[:, None] + props.width[seen, None] * points[:, 0],
            props.height[seen, None] * points[:, 1],
            np.repeat(z[:, None], len(points), 1),
        )
        window = LIT_WINDOW if night else WINDOW
        colour = {"prop": props.colour[seen], "trunk": TRUNK, "window": window}[whose]
        shades = mood.shade(
            np.broadcast_to(colour, (len(seen), 3)), x, z, glow=whose == "window" and night
        )
        fixed = _fixed(polygons)
        for k, depth in enumerate(z):
            if whose != "window" or (depth < 60 and (int(seen[k]) * 7 + part * 5) % 3):
                things.append((depth - 1e-3 * part, fixed[k], shades[k].tolist()))
    return things


def _walls(lens, mood, land: Land, eye, forward, right) -> list:  # noqa: ANN001
    """Draw the gantry over the finish line and the barrier round the field."""
    things, w = [], land.half_width + 1.0
    at, side = land.track[0], land.right[0]

    def panel(a, b, low, high, colour):  # noqa: ANN001
        ends = np.array([a, b]) - eye
        z, x = ends @ forward, ends @ right
        if z.max() > 1.0 and z.min() < FAR:
            z = np.maximum(z, 0.8)
            p = lens.project(x[[0, 1, 1, 0]], np.array([low, low, high, high]), z[[0, 1, 1, 0]])
            middle = float(z.mean())
            things.append((middle, _fixed(p), mood.shade(colour, float(x.mean()), middle).tolist()))

    if np.linalg.norm(at - eye) < FAR:
        for s in (-1, 1):
            panel(at + side * (s * w - 0.35), at + side * (s * w + 0.35), 0, 6.0, (150, 152, 158))
        cells = np.linspace(-w, w, 9)
        for k, (a, b) in enumerate(zip(cells[:-1], cells[1:], strict=True)):
            for row in (0, 1):
                colour = (236, 236, 236) if (k + row) % 2 else (30, 30, 34)
                panel(at + side * a, at + side * b, 4.6 + 0.7 * row, 5.3 + 0.7 * row, colour)
    edge = land.extent - 1.5
    if np.abs(eye).max() > edge - FAR * 0.6:
        corners = np.array([[-edge, -edge], [edge, -edge], [edge, edge], [-edge, edge]])
        for a, b in zip(corners, np.roll(corners, -1, 0), strict=True):
            stops = a + (b - a) * np.linspace(0, 1, 33)[:, None]
            for k in range(32):
                if np.linalg.norm(stops[k] - eye) < FAR * 0.6:
                    colour = (200, 40, 40) if k % 2 else (232, 232, 232)
                    panel(stops[k], stops[k + 1], 0, 1.3, colour)
    return things


def _cars(lens, mood, traffic: Traffic, ego: Ego, eye, forward, right) -> list:  # noqa: ANN001
    """Draw what is in sight; a car that would cover the lens is left out."""
    if not len(traffic):
        return []
    away, things = traffic.xy - eye, []
    z, x = away @ forward, away @ right
    seen = (
        (z - traffic.size[:, 0] / 2 > 2.5) & (z < min(FAR, 2.2 * mood.sight)) & (np.abs(x) < z + 8)
    )
    for i in np.flatnonzero(seen):
        colour = COLOURS[traffic.colour[i]]
        yaw = traffic.yaw[i] - ego.yaw
        things += _car(
            lens, mood, x[i], z[i], yaw, traffic.size[i], colour, traffic.braking[i], False
        )
    return things


def _car(lens, mood, x, z, yaw, size, colour, braking, own) -> list:  # noqa: ANN001
    """Return the visible faces of a car, each a little nearer than the one it covers."""
    length, width, height = size
    cos, sin = math.cos(yaw), math.sin(yaw)
    w, l = width / 2, length / 2  # noqa: E741
    cabin = (52, 60, 74) if height < 2.2 else colour
    faces = [(_quad(-w, w, -l, l, 0.02), np.float32((16, 16, 18)))]
    faces += _cuboid(-l, l, w, 0.3, 0.55 * height, colour, x, z, cos, sin)
    faces += _cuboid(
        -0.36 * length, 0.18 * length, 0.42 * width, 0.55 * height, height, cabin, x, z, cos, sin
    )
    rear = cos > 0
    b = -l - 0.02 if rear else l + 0.02
    lamp = np.float32((255, 50, 36) if rear else (255, 246, 210))
    lamp = lamp * (1.0 if braking or not rear else 0.75 if mood.time == "night" else 0.5)
    for a in (-0.36 * width, 0.36 * width):
        corners = [(a - 0.24, b, 0.5), (a + 0.24, b, 0.5), (a + 0.24, b, 0.88), (a - 0.24, b, 0.88)]
        faces.append((corners, lamp))
    a, b, y = np.moveaxis(np.array([corners for corners, _ in faces]), -1, 0)  # (faces, 4) each
    points = lens.project(x + a * cos - b * sin, y, np.maximum(z + a * sin + b * cos, 0.6))
    colours = np.array([shade for _, shade in faces])
    shine = mood.light(x, z)
    lit = colours * (np.maximum(shine, 0.3) if own else shine)
    lit[-2:] = colours[-2:]
    fog = mood.fog(z)
    shades = (np.clip(lit, 0, 255) * (1 - fog) + mood.haze * fog).tolist()
    return [
        (z - 1e-2 * k, polygon, shade)
        for k, (polygon, shade) in enumerate(zip(_fixed(points), shades, strict=True))
    ]


def _quad(left: float, right: float, back: float, front: float, y: float) -> list:
    return [(left, back, y), (right, back, y), (right, front, y), (left, front, y)]


def _cuboid(back, front, half, low, high, colour, x, z, cos, sin) -> list:  # noqa: ANN001
    """Return the sides of a box that face the camera, and its top, with their colours."""
    corners = [(-half, back), (half, back), (half, front), (-half, front)]
    normals = [(0, -1), (1, 0), (0, 1), (-1, 0)]
    faces = []
    for k, (na, nb) in enumerate(normals):
        (a0, b0), (a1, b1) = corners[k], corners[(k + 1) % 4]
        a, b = (a0 + a1) / 2, (b0 + b1) / 2
        at_x, at_z = x + a * cos - b * sin, z + a * sin + b * cos
        if at_x * (na * cos - nb * sin) + at_z * (na * sin + nb * cos) < 0:
            quad = [(a0, b0, low), (a1, b1, low), (a1, b1, high), (a0, b0, high)]
            faces.append((quad, np.float32(colour) * (0.7 if k % 2 else 0.86)))
    return [*faces, (_quad(-half, half, back, front, high), np.float32(colour) * 1.1)]


def _particles(canvas, lens, mood, eye, forward, right, seconds) -> None:  # noqa: ANN001
    """Lay a few soft streaks of rain or flakes of snow over the picture."""
    rain = mood.weather == "rain"
    box = np.array([36.0, 36.0, 12.0])
    fall = np.array([2.0, 0.0, -22.0] if rain else [1.2, 0.4, -2.6])
    drops = np.random.default_rng(7).random((90 if rain else 130, 3)) * box + fall * seconds
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


def _bonnet(canvas, lens, mood, ego: Ego) -> None:  # noqa: ANN001
    shape = np.array([[0.24, 1.0], [0.34, 0.9], [0.66, 0.9], [0.76, 1.0]]) * (lens.w, lens.h)
    shape[:, 0] -= 0.01 * ego.steer * lens.w
    colour = np.float32(COLOURS[0]) * np.maximum(mood.ambient, 0.25) * 0.8
    cv2.fillConvexPoly(canvas, _fixed(shape), colour.tolist(), cv2.LINE_AA, SHIFT)


def _fixed(points: np.ndarray) -> np.ndarray:
    """Return picture coordinates in cv2's fixed point."""
    return np.round(points * 2**SHIFT).clip(-60000, 60000).astype(np.int32)
