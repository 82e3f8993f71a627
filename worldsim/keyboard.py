"""From the keys held down to an action, for any env.

An env's own bindings (`env.unwrapped.get_keys_to_action()`) come first; an env without any gets
sensible ones from its action space. Combinations that nobody listed are put together from their
parts, so three keys at once work where two were bound. Keys are pygame's key codes.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import pygame
from gymnasium import spaces

from worldsim.screen import key_codes
from worldsim.spaces import null_action

Bindings = dict[frozenset[int], Any]

ARROWS = (pygame.K_LEFT, pygame.K_RIGHT, pygame.K_UP, pygame.K_DOWN)
WASD = (pygame.K_a, pygame.K_d, pygame.K_w, pygame.K_s)
# An env without bindings finds its keys here: an axis with two directions takes a pair, one that
# only goes up from 0 a button.
PAIRS = (ARROWS[:2], ARROWS[:1:-1], (pygame.K_q, pygame.K_e))
BUTTONS = (*ARROWS[2:], pygame.K_SPACE, pygame.K_q, pygame.K_e, pygame.K_z, pygame.K_x)
DISCRETE = {2: ARROWS[:2], 3: (pygame.K_LEFT, pygame.K_DOWN, pygame.K_RIGHT)}
# the first of many actions tends to do nothing, so no key is spent on it
MANY = (None, pygame.K_LEFT, pygame.K_UP, pygame.K_RIGHT, pygame.K_DOWN, *BUTTONS[2:])


def key_bindings(env: gymnasium.Env, given: dict[tuple[str, ...], Any] | None = None) -> Bindings:
    """Return the keys of `env` and the action each combination stands for.

    Arrows and WASD stand in for each other where an env binds only one of the two.

    Args:
        env: Whose keys.
        given: A player's own bindings by pygame's names of keys, which replace the env's.

    Raises:
        ValueError: If an action that was given is none of the env's.
    """
    chosen = {
        frozenset(key_codes()[name] for name in names): read_action(names, action, env)
        for names, action in (given or {}).items()
        if all(name in key_codes() for name in names)
    }
    if chosen:
        return chosen
    own = getattr(env.unwrapped, "get_keys_to_action", dict)()
    bindings = {_combination(keys): action for keys, action in own.items()}
    bindings = bindings or default_bindings(env.action_space)
    used = frozenset().union(*bindings)
    for here, there in ((ARROWS, WASD), (WASD, ARROWS)):
        if used & set(here) and not used & set(there):
            twin = dict(zip(here, there, strict=True))
            bindings |= {frozenset(twin.get(k, k) for k in c): a for c, a in bindings.items()}
    return bindings


def read_action(names: Sequence[str], data: Any, env: gymnasium.Env) -> Any:
    """Check an action that a player wrote down for some keys."""
    space = env.action_space
    is_array = isinstance(space, spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete)
    action = np.asarray(data, space.dtype) if is_array else data
    if not space.contains(action):
        raise ValueError(
            f"a key must stand for an action of {space}, got {data!r} for {'+'.join(names)}; "
            f"such as {np.asarray(null_action(space)).tolist()}"
        )
    return action


def default_bindings(space: spaces.Space) -> Bindings:
    """Bind arrows, then other keys, to the parts of an action space as far as they go."""
    match space:
        case spaces.Discrete():
            keys = DISCRETE.get(int(space.n), MANY)
            actions = [space.start + i for i in range(space.n)]
        case spaces.MultiBinary(shape=(n,)):
            keys, actions = MANY[1:], list(np.eye(n, dtype=space.dtype))
        case spaces.Box(shape=(_,)):
            return _axis_bindings(space)
        case _:
            return {}
    return {frozenset([k]): a for k, a in zip(keys, actions, strict=False) if k is not None}


def _axis_bindings(space: spaces.Box) -> Bindings:
    """Give every axis of a `Box` two keys, or one where it only goes up from 0."""
    idle, bindings = null_action(space), {}
    signed = space.low < 0
    pairs = list(PAIRS)
    buttons = [k for k in BUTTONS if k not in np.ravel(PAIRS[: signed.sum()])]
    for axis, (low, high) in enumerate(zip(space.low, space.high, strict=True)):
        if signed[axis] and pairs:
            keys = pairs.pop(0)
        else:
            keys = (None, buttons.pop(0) if buttons else None)
        for key, end in zip(keys, (low, high), strict=True):
            if key is not None:
                action = idle.copy()
                action[axis] = end if np.isfinite(end) else np.sign(end)
                bindings[frozenset([key])] = action
    return bindings


def action_from_keys(keys: Sequence[int], bindings: Bindings, space: spaces.Space) -> Any:
    """Return the action that the held keys stand for.

    Args:
        keys: Keys held down, in the order in which they were pressed.
        bindings: Of the env, from `key_bindings`.
        space: The env's action space.

    Returns:
        An action in `space`: parts that work together are added up (left and right cancel); where
        only one can win, as in `Discrete`, it is the combination pressed last.
    """
    order = {key: i for i, key in enumerate(keys)}
    idle = bindings.get(frozenset(), null_action(space))
    left, chosen = set(order), []
    fitting = [c for c in bindings if c and c <= left]
    for keys_of_one in sorted(fitting, key=lambda c: (-len(c), -max(map(order.get, c)))):
        if keys_of_one <= left:
            chosen.append(bindings[keys_of_one])
            left -= keys_of_one
    if not isinstance(space, spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete):
        return chosen[0] if chosen else idle
    wide = np.float64 if isinstance(space, spaces.Box) else np.int64
    base = np.asarray(idle, wide)
    total = base + sum(np.asarray(action, wide) - base for action in chosen)
    low, high = _limits(space)
    return np.clip(total, low, high).astype(space.dtype)


def keys_from_action(action: Any, bindings: Bindings) -> frozenset[int]:
    """Return keys that stand for `action`, if there are any, to show what an autopilot does."""
    if isinstance(action, dict | tuple):
        return frozenset()
    return next(
        (keys for keys, bound in bindings.items() if np.array_equal(bound, action)), frozenset()
    )


def _combination(keys: Any) -> frozenset[int]:
    """Read a binding's keys as gymnasium writes them: codes, letters, or strings of letters."""
    if isinstance(keys, int):
        keys = (keys,)
    return frozenset(ord(key) if isinstance(key, str) else int(key) for key in keys)


def _limits(space: spaces.Space) -> tuple[Any, Any]:
    match space:
        case spaces.Box():
            return space.low, space.high
        case spaces.MultiDiscrete():
            return space.start, space.start + space.nvec - 1
    return 0, 1
