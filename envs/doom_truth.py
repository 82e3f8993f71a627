"""What Doom's engine knows of a moment: how the player fares, where things are, what is in view."""

import math
from typing import Any

import numpy as np
from worldsim.envs.doom_drivers import Sight
from worldsim.envs.doom_game import VARIABLES


def read_truth(state: Any, before: dict[str, float] | None) -> dict[str, float]:
    """Return the engine's `VARIABLES`, and what has happened since the moment `before`."""
    truth = dict(zip(VARIABLES, state.game_variables.tolist(), strict=True))
    old = before or truth
    truth["dead"] = float(truth["HEALTH"] <= 1)
    truth["goal"] = float(truth["ARMOR"] > 0)
    truth["HEALTH"] *= 1 - truth["dead"]  # the engine keeps one point
    truth["health_change"] = truth["HEALTH"] - old["HEALTH"]
    truth["killed"] = truth["KILLCOUNT"] - old["KILLCOUNT"]
    found = truth["SELECTED_WEAPON_AMMO"] > old["SELECTED_WEAPON_AMMO"]
    truth["pickup"] = float(truth["health_change"] > 0 or found or truth["goal"])
    truth["hit"] = float(truth["health_change"] < 0)
    return truth


def read_sight(state: Any, truth: dict[str, float], walls: np.ndarray, spots: np.ndarray) -> Sight:
    """Return what a scripted player goes by; `walls` and `spots` are the map's."""
    at = lambda things: np.array([(o.position_x, o.position_y) for o in things]).reshape(-1, 2)  # noqa: E731
    kind = lambda *names: [o for o in state.objects if o.name.startswith(names)]  # noqa: E731
    balls = kind("Ball_")
    wanted = ["WorldKit"] if truth["HEALTH"] < 100 else []  # else they stay where they are
    speeds = np.array([(o.velocity_x, o.velocity_y) for o in balls]).reshape(-1, 2)
    foes = [
        (label.object_position_x, label.object_position_y)
        for label in state.labels
        if label.object_name.startswith("Foe_")
    ]
    return Sight(
        place=np.array((truth["POSITION_X"], truth["POSITION_Y"])),
        angle=truth["ANGLE"],
        foes=np.array(foes).reshape(-1, 2),
        balls=np.concatenate([at(balls), speeds], 1),
        pickups=at(kind("WorldGoal", "WorldRounds", *wanted)),
        walls=walls,
        spots=spots,
    )


def in_view(
    state: Any, crop: tuple[int, int, int, int], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Return what is in view and where.

    Args:
        state: The engine's.
        crop: Left, top, width and height of what is cut from its picture.
        size: `(h, w)` that this becomes.

    Returns:
        The name of each foe, ball and thing, and its `box`: left, top, width and height in pixels
        of the view.
    """
    x, y, width, height = crop
    h, w = size
    across, down = w / width, h / height
    boxes = []
    for label in state.labels:
        name = label.object_name
        if not name.startswith(("Foe_", "Ball_", "World")) or name == "WorldPlayer":
            continue
        box = ((label.x - x) * across, (label.y - y) * down)
        box += (label.width * across, label.height * down)
        if box[0] < w and box[0] + box[2] > 0:
            boxes.append({"name": name, "box": box})
    return boxes


def numbers(
    truth: dict[str, float], sight: Sight, labels: list[dict[str, Any]]
) -> dict[str, float]:
    """Return the ground truth of a moment as it is recorded."""
    near = lambda places: float(  # noqa: E731
        np.linalg.norm(places - sight.place, axis=1).min(initial=2000.0)
    )
    return {
        "x": truth["POSITION_X"],
        "y": truth["POSITION_Y"],
        "yaw": math.radians(truth["ANGLE"]),
        "speed": math.hypot(truth["VELOCITY_X"], truth["VELOCITY_Y"]),
        "health": truth["HEALTH"],
        "ammo": truth["SELECTED_WEAPON_AMMO"],
        "kills": truth["KILLCOUNT"],
        "hit": truth["hit"],
        "pickup": truth["pickup"],
        "killed": truth["killed"],
        "goal": truth["goal"],
        "foes": float(sum(label["name"].startswith("Foe_") for label in labels)),
        "balls": float(sum(label["name"].startswith("Ball_") for label in labels)),
        "bolts": float(sum(label["name"] == "WorldBolt" for label in labels)),
        "nearest_foe": near(sight.foes),
        "nearest_ball": near(sight.balls[:, :2]),
        "nearest_pickup": near(sight.pickups),
    }


def is_coming(sight: Sight, labels: list[dict[str, Any]]) -> bool:
    """Say whether a fireball in view is near and comes nearer."""
    if not any(label["name"].startswith("Ball_") for label in labels):
        return False
    way = sight.place - sight.balls[:, :2]
    near = np.linalg.norm(way, axis=1) < 350
    return bool((near & ((way * sight.balls[:, 2:]).sum(1) > 0)).any())
