"""A scripted player that covers what people do in Doom: purpose, detours and nonsense.

It follows one whim at a time, some seconds each. Which whims come how often depends on the
scenario and, by episode, on chance; in between it slips now and then.
"""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

MOVES = (
    "stand", "forward", "back", "turn left", "turn right", "step left", "step right",
    "forward left", "forward right",
)  # fmt: skip
STAND, FORWARD, BACK, TURN_LEFT, TURN_RIGHT, STEP_LEFT, STEP_RIGHT, ARC_LEFT, ARC_RIGHT = range(9)
SHOOT = len(MOVES)  # added to a move
TURN = 10.0  # degrees a step
WHIMS = {
    "take_cover": {"dodge": 40, "fight": 24, "look": 8, "walk": 8, "random": 14, "idle": 6},
    "my_way_home": {"walk": 56, "look": 8, "random": 11, "fight": 9, "gather": 10, "idle": 6},
    "health_gathering": {"gather": 46, "walk": 12, "look": 12, "random": 14, "fight": 8, "idle": 8},
    "defend_the_center": {"fight": 48, "dodge": 16, "look": 10, "random": 14, "walk": 6, "idle": 6},
}
NAMES = ("walk", "look", "gather", "dodge", "fight", "random", "idle")


@dataclass(frozen=True)
class Sight:
    """What the player needs to know; places in map units, angles in degrees.

    Attributes:
        place: `(2,)`.
        angle: Counter-clockwise from the x axis.
        foes: `(n, 2)` of the foes in view.
        balls: `(n, 4)` place and velocity of the fireballs.
        pickups: `(n, 2)` of what can be picked up, in view or not.
        walls: `(n, 2, 2)` ends of the walls.
        spots: `(n, 2)` places to walk to.
    """

    place: np.ndarray
    angle: float
    foes: np.ndarray
    balls: np.ndarray
    pickups: np.ndarray
    walls: np.ndarray
    spots: np.ndarray


class Player:
    """Chooses actions for one episode.

    Args:
        scenario: One of `WHIMS`.
        rng: Draws the player's habits and noise.
    """

    def __init__(self, scenario: str, rng: np.random.Generator) -> None:
        self.rng, self.whims = rng, list(WHIMS[scenario])
        weights = np.array(list(WHIMS[scenario].values()), float)
        self.share = rng.dirichlet(30 * weights / weights.sum())
        self.slips = rng.uniform(0.0, 0.12)
        self.left, self.whim = 0, "idle"
        self.held, self.script = STAND, []
        self.goal: np.ndarray | None = None
        self.before: np.ndarray | None = None  # where it came from
        self.last: np.ndarray | None = None
        self.visits: Counter[int] = Counter()  # of each spot

    def act(self, sight: Sight) -> int:
        """Return the next action."""
        if self.left <= 0:
            self.whim = str(self.rng.choice(self.whims, p=self.share))
            self.left = int(self.rng.integers(8, 24 if self.whim == "idle" else 56))
            self.script, self.goal = [], None
            if self.whim == "look":
                self._plan_look()
        self.left -= 1
        if self.script:
            action = self.script.pop(0)
        elif self.rng.random() < self.slips:
            action = int(self.rng.integers(2 * SHOOT))
        else:
            action = getattr(self, f"_{self.whim}")(sight)
        self.last = sight.place
        return action

    def _plan_look(self) -> None:
        """Turn a part of the circle, wait, and mostly turn back again."""
        turn = TURN_LEFT if self.rng.random() < 0.5 else TURN_RIGHT
        steps = int(self.rng.integers(3, 30))
        back = [TURN_LEFT + TURN_RIGHT - turn] * steps if self.rng.random() < 0.6 else []
        self.script = [turn] * steps + [STAND] * int(self.rng.integers(0, 5)) + back
        self.left = len(self.script)

    def _look(self, sight: Sight) -> int:
        return STAND

    def _idle(self, sight: Sight) -> int:
        return STAND

    def _random(self, sight: Sight) -> int:
        if self.rng.random() < 0.25:
            self.held = int(self.rng.integers(SHOOT)) + SHOOT * int(self.rng.random() < 0.3)
        return self.held

    def _walk(self, sight: Sight) -> int:
        """Go from spot to spot; sometimes turn round and come back."""
        if self.goal is None or np.linalg.norm(self.goal - sight.place) < 40:
            if self.goal is not None:
                self.visits[_same(sight.spots, self.goal)] += 1
            come_back = self.before is not None and self.rng.random() < 0.3
            here, seen = self.goal, _seen(sight, sight.spots)
            seen = seen[np.linalg.norm(seen - sight.place, axis=1) > 60]
            if come_back and _clear(sight, self.before):
                self.goal = self.before
            elif len(seen):
                strange = [0.3 ** self.visits[_same(sight.spots, spot)] for spot in seen]
                self.goal = seen[int(self.rng.choice(len(seen), p=strange / np.sum(strange)))]
            else:
                return self._random(sight)
            self.before = sight.place if here is None else here
        return self._go(sight, self.goal)

    def _gather(self, sight: Sight) -> int:
        things = _seen(sight, sight.pickups)
        if not len(things):
            return self._walk(sight)
        return self._go(sight, _nearest(sight, things))

    def _go(self, sight: Sight, goal: np.ndarray) -> int:
        """Head for a place; work free of what is in the way."""
        error = _bearing(sight, goal)
        moved = self.last is None or np.linalg.norm(sight.place - self.last) > 3
        if not moved and abs(error) < TURN:
            free = int(self.rng.choice([STEP_LEFT, STEP_RIGHT, BACK]))
            self.script = [free] * int(self.rng.integers(2, 5))
            return free
        if abs(error) < 0.6 * TURN:
            return FORWARD
        left = error > 0
        if abs(error) > 4 * TURN:
            return TURN_LEFT if left else TURN_RIGHT
        return ARC_LEFT if left else ARC_RIGHT

    def _fight(self, sight: Sight) -> int:
        """Turn to the nearest foe and fire; look about where there is none."""
        if not len(sight.foes):
            if self.rng.random() < 0.1 or self.held not in (TURN_LEFT, TURN_RIGHT, FORWARD):
                self.held = int(self.rng.choice([TURN_LEFT, TURN_RIGHT, FORWARD]))
            return self.held
        error = _bearing(sight, _nearest(sight, sight.foes))
        if abs(error) > 0.6 * TURN:
            return TURN_LEFT if error > 0 else TURN_RIGHT
        if self.rng.random() < 0.25:
            return int(self.rng.choice([STEP_LEFT, STEP_RIGHT, FORWARD])) + SHOOT
        return STAND + SHOOT

    def _dodge(self, sight: Sight) -> int:
        """Step aside from fireballs that would hit, facing where they come from."""
        if not len(sight.balls):
            return self._fight(sight) if self.rng.random() < 0.5 else STAND
        gap, speed = sight.place - sight.balls[:, :2], sight.balls[:, 2:]
        pace = np.linalg.norm(speed, axis=1) + 1e-6
        tics = (gap * speed).sum(1) / pace**2
        aside = (gap[:, 1] * speed[:, 0] - gap[:, 0] * speed[:, 1]) / pace  # left of its way
        near = (tics > 0) & (tics < 50) & (np.abs(aside) < 70)
        if not near.any():
            return STAND + SHOOT if len(sight.foes) and self.rng.random() < 0.3 else STAND
        k = np.flatnonzero(near)[tics[near].argmin()]
        error = _bearing(sight, sight.balls[k, :2])
        if abs(error) > 4 * TURN:
            return TURN_LEFT if error > 0 else TURN_RIGHT
        return STEP_RIGHT if aside[k] > 0 else STEP_LEFT  # it comes towards us: its left, our right


def _bearing(sight: Sight, goal: np.ndarray) -> float:
    """Return the angle to a place, degrees, left positive."""
    dx, dy = goal - sight.place
    return (math.degrees(math.atan2(dy, dx)) - sight.angle + 180) % 360 - 180


def _nearest(sight: Sight, places: np.ndarray) -> np.ndarray:
    return places[np.linalg.norm(places - sight.place, axis=1).argmin()]


def _same(places: np.ndarray, place: np.ndarray) -> int:
    """Return which of some places is nearest to another."""
    return int(np.linalg.norm(places - place, axis=1).argmin())


def _seen(sight: Sight, places: np.ndarray) -> np.ndarray:
    return places[[_clear(sight, place) for place in places]]


def _clear(sight: Sight, goal: np.ndarray) -> bool:
    """Return whether no wall lies between the player and a place."""
    a, b = sight.walls[:, 0], sight.walls[:, 1]

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        return (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) > (
            (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])
        )

    here = sight.place
    crossed = (side(a, b, here) != side(a, b, goal)) & (side(here, goal, a) != side(here, goal, b))
    return not crossed.any()
