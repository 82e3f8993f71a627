"""The player's car: CarRacing's physics, and where it is on the track."""

import math
from typing import Any

import numpy as np
from gymnasium.envs.box2d import car_racing
from worldsim.envs.scenery import Land

Kerbs = list[tuple[Any, Any]]  # corners and colour of each piece


class _Physics(car_racing.CarRacing):
    """CarRacing without its drawing."""

    def _render(self, mode: str) -> np.ndarray:
        return np.zeros((1, 1, 3), np.uint8)


class Ride:
    """A car on a track.

    Attributes:
        physics: Gymnasium's env that moves it.
        land: What it drives through.
        index: Of the track's points, the nearest one.
        arc: Metres along the track.
        lateral: Metres to the right of its centre line.
    """

    def __init__(self) -> None:
        self.physics = _Physics(lap_complete_percent=0.99)

    def lay_track(self, seed: int) -> tuple[np.ndarray, Kerbs]:
        """Return the centre line `(n, 2)` of a new track, and its kerbs."""
        self.physics.reset(seed=seed)
        kerb = lambda c: tuple(np.array(c).astype(int)) in ((255, 255, 255), (255, 0, 0))  # noqa: E731
        kerbs = [(quad, colour) for quad, colour in self.physics.road_poly if kerb(colour)]
        return np.array(self.physics.track)[:, 2:4], kerbs

    def begin(self, land: Land, rng: np.random.Generator) -> None:
        """Put the car somewhere on the first three quarters of the lap, sometimes at speed."""
        self.land = land
        self.index = int(rng.uniform(0.04, 0.75) * len(land.track))
        lateral, yaw = rng.uniform(-1, 5), land.heading(self.index) + rng.normal(0, 0.05)
        at = land.track[self.index] + land.right[self.index] * lateral
        self.put(at, yaw, float(rng.uniform(8, 22)) if rng.random() < 0.7 else 0.0)
        self.arc, self.lateral = land.offset(self.xy, self.index)

    def put(self, xy: np.ndarray, yaw: float, speed: float) -> None:
        """Put a new car somewhere, in motion."""
        self.physics.car.destroy()
        car = car_racing.Car(self.physics.world, float(yaw), float(xy[0]), float(xy[1]))
        self.physics.car = car
        for body in (car.hull, *car.wheels):
            body.linearVelocity = (-math.sin(yaw) * speed, math.cos(yaw) * speed)
        for wheel in car.wheels:
            wheel.omega = speed / wheel.wheel_rad

    def step(self, action: np.ndarray) -> float:
        """Take one physics step; return what CarRacing pays for it."""
        return self.physics.step(action.astype(np.float64))[1]

    def follow(self) -> bool:
        """Follow the car along the track; return whether it has just passed the gantry."""
        before = self.arc
        self.index = self.land.locate(self.xy, self.index)
        self.arc, self.lateral = self.land.offset(self.xy, self.index)
        lap = self.land.arc[-1]
        return bool(before > 0.9 * lap and self.arc < 0.1 * lap and abs(self.lateral) < 15)

    def gained(self, arc: float, xy: np.ndarray) -> float:
        """Return the metres of track between the car and where it was."""
        lap = self.land.arc[-1]
        gained = (self.arc - arc + lap / 2) % lap - lap / 2
        most = 2 * np.hypot(*(self.xy - xy)) + 1  # across the infield another stretch is nearest
        return np.clip(gained, -most, most)

    @property
    def hull(self) -> Any:
        """Box2D's body of the car."""
        return self.physics.car.hull

    @property
    def xy(self) -> np.ndarray:
        """Where the car is, `(2,)` metres."""
        at = self.hull.position
        return np.array((at.x, at.y))

    @property
    def yaw(self) -> float:
        """Which way it points, in radians; 0 is north."""
        return self.hull.angle

    @property
    def speed(self) -> float:
        """Metres a second."""
        return float(np.hypot(*self.hull.linearVelocity))

    @property
    def pose(self) -> dict[str, float]:
        """What a driver goes by."""
        x, y = self.xy
        return {"x": x, "y": y, "yaw": self.yaw, "speed": self.speed, "arc": self.arc}

    @property
    def heading(self) -> float:
        """Its yaw against the track's, in radians within [-pi, pi)."""
        return (self.yaw - self.land.heading(self.index) + math.pi) % (2 * math.pi) - math.pi

    @property
    def on_road(self) -> float:
        """Share of its wheels that are on the road."""
        wheels = self.physics.car.wheels
        gaps = (np.array(wheel.position) - self.land.track[self.index] for wheel in wheels)
        across = (abs(float(gap @ self.land.right[self.index])) for gap in gaps)
        return sum(gap < self.land.half_width for gap in across) / len(wheels)

    def close(self) -> None:
        """Free the physics."""
        self.physics.close()
