"""Other cars: they keep a lane and a distance, brake for what is ahead, and can be hit."""

import math

import numpy as np
from worldsim.envs.scenery import Land

COLOURS = (
    (206, 36, 36),
    (40, 84, 210),
    (232, 232, 236),
    (236, 196, 40),
    (40, 40, 46),
    (40, 150, 70),
)
LANE = 3.2  # metres from the centre line
CAR, TRUCK = (4.4, 2.1, 1.45), (8.0, 2.4, 3.2)  # length, width, height in metres


class Traffic:
    """Cars on the track, a third of them oncoming.

    Args:
        land: The track.
        count: Number of cars.
        rng: Chooses places, speeds, colours.
        clear_of: Arc length at which the player starts; cars keep 25 m away from it.
    """

    def __init__(self, land: Land, count: int, rng: np.random.Generator, clear_of: float) -> None:
        self.land, self.lap = land, float(land.arc[-1])
        spread = np.linspace(25, self.lap - 25, count) + rng.uniform(-6, 6, count)
        self.arc = (clear_of + spread) % self.lap
        self.direction = np.where(rng.random(count) < 0.3, -1, 1)
        self.cruise = rng.uniform(9, 22, count)
        self.speed = self.cruise.copy()
        self.lateral = self.direction * LANE
        self.colour = rng.integers(0, len(COLOURS), count)
        self.truck = rng.random(count) < 0.2
        self.braking = np.zeros(count, bool)
        self.size = np.where(self.truck[:, None], TRUCK, CAR).reshape(count, 3)
        # cars that do not follow each other: in another lane, or one and the same; the last column
        # is the player's
        self.apart = np.abs(np.append(self.lateral, 0) - self.lateral[:, None]) > 2.6
        self.apart[np.arange(count), np.arange(count)] = True
        self._place()

    def __len__(self) -> int:
        return len(self.arc)

    def step(self, seconds: float, arc: float, lateral: float, speed: float) -> None:
        """Move all cars; the player at `arc`, `lateral` is one more car to keep away from."""
        if not len(self):
            return
        arcs = np.concatenate((self.arc, (arc,)))
        along = np.concatenate((self.speed * self.direction, (speed,)))
        gap = (self.direction[:, None] * (arcs - self.arc[:, None])) % self.lap
        self.apart[:, -1] = np.abs(lateral - self.lateral) > 2.6
        gap[self.apart] = np.inf
        ahead = gap.argmin(1)
        gap = gap.min(1)
        lead = np.maximum(along[ahead] * self.direction, 0)
        free = np.minimum(np.maximum(0.6 * (self.cruise - self.speed), -2), 3)
        follow = np.minimum(np.maximum(lead - self.speed + 0.5 * (gap - 9), -14), 2)
        push = np.where(gap > 8 + 1.2 * self.speed, free, follow)
        self.braking = push < -1.5
        self.speed = np.maximum(0, self.speed + push * seconds)
        self.arc = (self.arc + self.direction * self.speed * seconds) % self.lap
        self._place()

    def hit(self, xy: np.ndarray, yaw: float) -> int | None:
        """Return the car that the player at `xy` touches, or None."""
        if not len(self):
            return None
        away = self.xy - xy
        right = away @ (math.cos(yaw), math.sin(yaw))
        ahead = away @ (-math.sin(yaw), math.cos(yaw))
        touching = (np.abs(right) < 2.1) & (np.abs(ahead) < 2.2 + self.size[:, 0] / 2)
        return int(touching.argmax()) if touching.any() else None

    def _place(self) -> None:
        land = self.land
        i = np.clip(np.searchsorted(land.arc, self.arc, "right") - 1, 0, len(land.track) - 1)
        away = (self.arc - land.arc[i])[:, None] * land.tangent[i]
        self.xy = land.track[i] + away + land.right[i] * self.lateral[:, None]
        forward = land.tangent[i] * self.direction[:, None]
        self.yaw = np.arctan2(-forward[:, 0], forward[:, 1])
