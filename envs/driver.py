"""A scripted driver that covers what people do: clean laps, noise and recovery, and nonsense.

Pure pursuit of a point ahead on the centre line gives the steering, a speed limit from the bend
ahead the pedals. Three styles, drawn by episode: *clean* stays on the road and keeps its distance;
*noisy* steers with correlated noise and finds back; *exploratory* wanders off the road, stops,
holds the wheel at its stop, brakes hard, reverses the wheel, and for seconds on end acts without
looking. From that a model learns what actions do anywhere; where every driver follows the road it
sees, a model learns to follow the road, whatever it is told to do. A fourth style comes on request
only: *recalling* drives like the first two, but for seconds on end does again what it did earlier,
wherever it is by now. So the way people act parts from where that leads.
"""

import math

import numpy as np
from worldsim.envs.scenery import Land
from worldsim.envs.traffic import LANE, Traffic

STYLES = ("clean", "noisy", "exploratory", "recalling")
DRAWN = STYLES[:3]


class Driver:
    """Chooses actions for one episode.

    Args:
        style: One of `STYLES`.
        rng: Draws the driver's habits and noise.
    """

    def __init__(self, style: str, rng: np.random.Generator) -> None:
        self.style, self.rng = style, rng
        self.cruise = rng.uniform(13, 24) if style == "clean" else rng.uniform(10, 30)
        noisy = rng.uniform(0.15, 0.5)
        noise = {"clean": 0.02, "noisy": noisy, "exploratory": 0.2, "recalling": noisy / 2}
        self.noise = noise[style]
        self.overtakes = rng.random() < 0.5
        self.lane = LANE if rng.random() < 0.8 else rng.uniform(-LANE, LANE)
        self.drift, self.left = 0.0, 0
        self.whim = "drive"
        self.wheel, self.aim = 0.0, self.lane
        self.pedals = (0.0, 0.0)
        self.done: list[np.ndarray] = []  # a recalling driver's actions so far
        self.recalled = 0

    def act(self, land: Land, traffic: Traffic, pose: dict[str, float], index: int) -> np.ndarray:
        """Return `(steer, gas, brake)` float32 for the car at track point `index`."""
        action = self._act(land, traffic, pose, index)
        self.done.append(action)
        return action

    def _act(self, land: Land, traffic: Traffic, pose: dict[str, float], index: int) -> np.ndarray:
        self._change_mind()
        if self.whim == "recall":
            self.recalled += 1
            return self.done[self.recalled - 1]
        self.drift += -0.25 * self.drift + self.noise * self.rng.normal()
        if self.whim in ("full lock", "swing"):
            return self._clip(self.wheel, 0.25 if pose["speed"] < 14 else 0.0, 0.0)
        if self.whim == "blind":
            if self.rng.random() < 0.15:
                self._press_anything()
            return self._clip(self.wheel + self.drift, *self.pedals)
        if self.whim == "idle":
            return self._clip(0.0, 0.0, 0.0 if pose["speed"] < 1 else 0.4)
        if self.whim == "stop":
            return self._clip(self.drift * 0.3, 0.0, 0.8)
        lateral, limit = self._plan(traffic, pose)
        error = self._bearing(land, pose, index, lateral)
        bend = max(abs(land.curvature(index)), abs(land.curvature(index + 4)), 0.05)
        limit = min(limit, self.cruise, 13 / math.sqrt(bend) if self.style != "exploratory" else 26)
        if abs(error) > 1.5:
            limit = min(limit, 7)
        steer = 1.9 * error + self.drift
        gain = limit - pose["speed"]
        return self._clip(steer, 0.2 * gain, -0.06 * gain - 0.06)

    def _change_mind(self) -> None:
        """Begin and end an exploratory driver's whims; a noisy one rarely has some."""
        self.left -= 1
        if self.left > 0:
            if self.whim == "swing" and self.rng.random() < 0.15:
                self.wheel = -self.wheel
            return
        self.whim, self.aim = "drive", self.lane
        eager = {"clean": 0.0, "noisy": 0.008, "exploratory": 0.06, "recalling": 0.05}[self.style]
        if self.rng.random() >= eager:
            return
        if self.style == "recalling":
            self.left = int(self.rng.integers(16, 41))
            if len(self.done) > 2 * self.left:
                self.whim = "recall"
                self.recalled = int(self.rng.integers(len(self.done) - self.left))
            return
        whims = ["blind", "wander", "off road", "full lock", "swing", "idle", "stop", "drive"]
        self.whim = str(self.rng.choice(whims, p=(0.44, 0.1, 0.12, 0.08, 0.06, 0.08, 0.06, 0.06)))
        self.left = int(
            self.rng.integers(16, 49) if self.whim == "blind" else self.rng.integers(8, 35)
        )
        self.wheel = float(self.rng.choice([-1, 1]) * self.rng.choice([0.4, 0.7, 1.0]))
        if self.whim == "wander":
            self.aim = self.rng.uniform(-5.5, 5.5)
        if self.whim == "blind":
            self._press_anything()
        if self.whim == "off road":
            self.aim = self.rng.choice([-1, 1]) * self.rng.uniform(9, 17)

    def _press_anything(self) -> None:
        self.wheel = float(self.rng.choice([-1, -0.6, -0.3, 0, 0, 0.3, 0.6, 1]))
        gas, brake = self.rng.choice([0, 0.35, 0.7, 0.7, 1]), self.rng.choice([0.3, 0.8])
        self.pedals = (0.0, float(brake)) if self.rng.random() < 0.2 else (float(gas), 0.0)

    def _plan(self, traffic: Traffic, pose: dict[str, float]) -> tuple[float, float]:
        """Return the lateral place to aim at and the speed the traffic allows."""
        limit = self.cruise
        if not len(traffic):
            return self.aim, limit
        ahead = (traffic.arc - pose["arc"] + traffic.lap / 2) % traffic.lap - traffic.lap / 2
        same = traffic.direction > 0
        lane = self.aim
        slow = same & (ahead > -9) & (ahead < 28) & (traffic.speed < self.cruise - 1)
        oncoming = ~same & (ahead > -8) & (ahead < 45 + 2.5 * pose["speed"])
        if self.overtakes and slow.any() and not oncoming.any():
            lane = -LANE
        blocked = (ahead > 0) & (np.abs(traffic.lateral - lane) < 2.8)
        if self.style == "exploratory":
            blocked &= self.rng.random() < 0.4
        if blocked.any():
            k = np.flatnonzero(blocked)[ahead[blocked].argmin()]
            gap = ahead[k] - 3 - traffic.size[k, 0] / 2
            if gap < 6 + 1.1 * pose["speed"]:
                lead = traffic.speed[k] * max(traffic.direction[k], 0)
                limit = min(limit, max(0.0, lead + 0.5 * (gap - 6)))
        return lane, limit

    def _bearing(self, land: Land, pose: dict[str, float], index: int, lateral: float) -> float:
        """Return the angle to the pursued point, right positive, radians."""
        j = (index + 2 + int(pose["speed"] / 9)) % len(land.track)
        goal = land.track[j] + land.right[j] * lateral
        dx, dy = goal[0] - pose["x"], goal[1] - pose["y"]
        cos, sin = math.cos(pose["yaw"]), math.sin(pose["yaw"])
        return math.atan2(dx * cos + dy * sin, -dx * sin + dy * cos)

    def _clip(self, steer: float, gas: float, brake: float) -> np.ndarray:
        action = np.clip([steer, gas, brake], [-1, 0, 0], 1).astype(np.float32)
        return np.where(np.abs(action) < 1e-3, 0, action).astype(np.float32)
