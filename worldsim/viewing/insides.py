"""What is inside an env that somebody made: its world, its time limits, how to make it again."""

import copy
from dataclasses import replace
from typing import Any

import gymnasium
from gymnasium.wrappers import TimeLimit


def world_of(env: gymnasium.Env) -> Any:
    """Return the `World` that imagines an env; None for others, whose `world` may be Box2D's."""
    world = getattr(env.unwrapped, "world", None)
    return world if hasattr(world, "cfg") else None


def limits_of(env: gymnasium.Env) -> list[TimeLimit]:
    """Return the wrappers that truncate episodes, which an env's own snapshot knows nothing of."""
    limits = []
    while isinstance(env, gymnasium.Wrapper):
        limits += [env] if isinstance(env, TimeLimit) else []
        env = env.env
    return limits


def remade(env: gymnasium.Env) -> gymnasium.Env:
    """Make the same env once more."""
    if env.spec is None:  # nobody knows how it was made
        return copy.deepcopy(env)
    world = world_of(env)
    if world is None:
        return gymnasium.make(env.spec, disable_env_checker=True)
    kwargs = {key: value for key, value in env.spec.kwargs.items() if key != "world"}
    return gymnasium.make(replace(env.spec, kwargs=kwargs), disable_env_checker=True, world=world)


def bytes_of(state: Any, depth: int = 6) -> int:
    """Return how much the arrays and tensors in a snapshot hold."""
    if hasattr(state, "nbytes"):
        return int(state.nbytes)
    if not depth or not (isinstance(state, dict | list | tuple) or hasattr(state, "__dict__")):
        return 0
    parts = vars(state) if hasattr(state, "__dict__") else state
    parts = parts.values() if isinstance(parts, dict) else parts
    return sum(bytes_of(part, depth - 1) for part in parts)
