"""A camera's geometry, and the light in which it sees.

Light and fog are tables over the picture, computed once for each time and weather.

Camera frame: x right, z forward, y up, metres. A yaw of 0 looks north.
"""

import math

import cv2
import numpy as np
from worldsim.envs.scenery import PIXELS, SHIFT, Land
from worldsim.envs.scenes import TIMES, WEATHERS

SCALE = 2  # supersampling
RADIAN = math.radians(75)  # field of view across
MOUNTS = {"chase": (4.2, 0.20, 8.5), "hood": (1.6, 0.03, 0.0)}  # height, pitch, metres behind


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
        self.sky = self._paint_sky(land, np.random.default_rng((seed, 2)))

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

    def _paint_sky(self, land: Land, rng: np.random.Generator) -> np.ndarray:
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


def fixed(points: np.ndarray) -> np.ndarray:
    """Return picture coordinates in cv2's fixed point."""
    points = np.rint(points * 2**SHIFT)
    return np.minimum(np.maximum(points, -60000), 60000).astype(np.int32)
