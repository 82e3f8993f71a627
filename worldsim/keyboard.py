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
from worldsim.space_json import action_to_json
from worldsim.spaces import flatten_action, limits, null_action

Bindings = dict[frozenset[int], Any]

ARROWS = (pygame.K_LEFT, pygame.K_RIGHT, pygame.K_UP, pygame.K_DOWN)
WASD = (pygame.K_a, pygame.K_d, pygame.K_w, pygame.K_s)
# An env without bindings finds its keys here: an axis with two directions takes a pair, one that
# only goes up from 0 a button.
PAIRS = (ARROWS[:2], ARROWS[:1:-1], (pygame.K_q, pygame.K_e))
BUTTONS = (*ARROWS[2:], pygame.K_SPACE, pygame.K_q, pygame.K_e, pygame.K_z, pygame.K_x)
DISCRETE = {2: ARROWS[:2], 3: (pygame.K_LEFT, pygame.K_DOWN, pygame.K_RIGHT)}
# the first of many actions tends to do nothing, so no key is spent on it
CHOICES = {1: (pygame.K_SPACE,), 2: ARROWS[:2]}  # of a part of an action, beside doing nothing
LETTERS = (*WASD, *(pygame.K_a + i for i in range(26)))
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
    bindings = own_bindings(env) or default_bindings(env.action_space)
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
    try:
        action = np.asarray(data, space.dtype) if is_array else data
    except (ValueError, TypeError):  # words, parts of unequal length
        action = None
    if not space.contains(action):
        raise ValueError(
            f"a key must stand for an action of {space}, got {data!r} for {'+'.join(names)}; "
            f"such as {np.asarray(null_action(space)).tolist()}"
        )
    return action


def name_bindings(bindings: Bindings) -> list[Any]:
    """Write bindings as a world stores them, `[["left", "up"], action]` each."""
    names = {code: name for name, code in key_codes().items()}
    return [
        [[names[key] for key in keys], action_to_json(action)]
        for keys, action in bindings.items()
        if all(key in names for key in keys)
    ]


def default_bindings(space: spaces.Space) -> Bindings:
    """Bind arrows, then other keys, to the parts of an action space as far as they go."""
    match space:
        case spaces.Discrete():
            keys = DISCRETE.get(int(space.n), MANY)
            actions = [space.start + i for i in range(space.n)]
        case spaces.MultiBinary():
            n = int(np.prod(space.shape))
            eye = np.eye(n, dtype=space.dtype).reshape(n, *space.shape)
            keys, actions = MANY[1:], list(eye)
        case spaces.Box():
            return _axis_bindings(space)
        case spaces.MultiDiscrete() | spaces.Dict() | spaces.Tuple():
            return _part_bindings(space)
        case _:
            return {}
    return {frozenset([k]): a for k, a in zip(keys, actions, strict=False) if k is not None}


def _axis_bindings(space: spaces.Box) -> Bindings:
    """Give every axis of a `Box` two keys, or one where it only goes up from 0."""
    idle, bindings = np.array(null_action(space)), {}
    signed = space.low.ravel() < 0
    pairs = list(PAIRS)
    buttons = [k for k in BUTTONS if k not in np.ravel(PAIRS[: signed.sum()])]
    for axis, (low, high) in enumerate(zip(space.low.ravel(), space.high.ravel(), strict=True)):
        if signed[axis] and pairs:
            keys = pairs.pop(0)
        else:
            keys = (None, buttons.pop(0) if buttons else None)
        for key, end in zip(keys, (low, high), strict=True):
            if key is not None:
                action = idle.copy()
                action.flat[axis] = end if np.isfinite(end) else np.sign(end)
                bindings[frozenset([key])] = action
    return bindings


def _part_bindings(space: spaces.MultiDiscrete | spaces.Dict | spaces.Tuple) -> Bindings:
    """Give each part of a composite space keys of its own: arrows, then WASD, then what is left."""
    idle, bindings, used = null_action(space), {}, set()
    for place, part in _parts(space):
        if isinstance(part, spaces.Discrete):  # its first action is idle and needs no key
            actions = [part.start + i for i in range(1, part.n)]
            keys = CHOICES.get(len(actions), MANY[1:])
            own = {frozenset([k]): a for k, a in zip(keys, actions, strict=False)}
        else:
            own = default_bindings(part)
        fresh = _fresh_keys([key for keys in own for key in keys], used)
        used |= set(fresh.values())
        for keys, action in own.items():
            if keys and keys <= set(fresh):
                bindings[frozenset(map(fresh.get, keys))] = _with_part(idle, place, action)
    return bindings


def _fresh_keys(keys: list[int], used: set[int]) -> dict[int, int]:
    """Replace keys that are in use, arrows by WASD where they go together."""
    twins = dict(zip(ARROWS, WASD, strict=True)) if used.isdisjoint(WASD) else {}
    fresh: dict[int, int] = {}
    for key in keys:
        near = (twins.get(key, key),) if not used.isdisjoint(keys) else (key,)
        taken = used | set(fresh.values())
        free = [k for k in (*near, key, *BUTTONS, *LETTERS) if k not in taken]
        if key not in fresh and free:
            fresh[key] = free[0]
    return fresh


def _parts(space: spaces.Space) -> list[tuple[Any, spaces.Space]]:
    """Return the parts of a composite space, each with its place in an action."""
    if isinstance(space, spaces.MultiDiscrete):
        pairs = zip(space.nvec.ravel(), space.start.ravel(), strict=True)
        return [
            (i, spaces.Discrete(int(n), start=int(start))) for i, (n, start) in enumerate(pairs)
        ]
    return list(space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces))


def _with_part(action: Any, place: Any, value: Any) -> Any:
    """Return a copy of a composite action in which one part is `value`."""
    if isinstance(action, dict):
        return action | {place: value}
    if isinstance(action, tuple):
        return tuple(value if i == place else old for i, old in enumerate(action))
    action = action.copy()
    action.flat[place] = value
    return action


def own_bindings(env: gymnasium.Env) -> Bindings:
    """Return the bindings that the env or a wrapper offers, as far as the env takes the actions."""
    if not env.has_wrapper_attr("get_keys_to_action"):
        return {}
    bindings = {}
    for keys, action in env.get_wrapper_attr("get_keys_to_action")().items():
        try:
            flatten_action(env.action_space, action)
            bindings[_combination(keys)] = action
        except (TypeError, ValueError, KeyError):
            continue  # a wrapper has changed the actions, or pygame has no such key
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
    idle = bindings.get(frozenset(), null_action(space))
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = [
            (place, action_from_keys(keys, _bindings_of(bindings, idle, place), part))
            for place, part in _parts(space)
        ]
        return dict(parts) if isinstance(space, spaces.Dict) else tuple(a for _, a in parts)
    order = {key: i for i, key in enumerate(keys)}
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
    low, high = limits(space)
    return np.clip(total, low, high).astype(space.dtype)


def _bindings_of(bindings: Bindings, idle: Any, place: Any) -> Bindings:
    """Return what the keys do to one part of a composite action."""
    rest = action_to_json(idle[place])
    own = {c: a[place] for c, a in bindings.items() if c and action_to_json(a[place]) != rest}
    return own | {frozenset(): idle[place]}


def keys_from_action(action: Any, bindings: Bindings) -> frozenset[int]:
    """Return keys that stand for `action`, if there are any, to show what an autopilot does."""
    if isinstance(action, dict | tuple):
        return frozenset()
    return next(
        (keys for keys, bound in bindings.items() if np.array_equal(bound, action)), frozenset()
    )


def _combination(keys: Any) -> frozenset[int]:
    """Read a binding's keys as gymnasium writes them: codes, letters, names, or letters in one."""
    keys = (keys,) if isinstance(keys, int | np.integer) else keys
    return frozenset(_code(key) if isinstance(key, str) else int(key) for key in keys)


def _code(key: str) -> int:
    """Return the code of a letter, or of a key by pygame's name of it."""
    return ord(key) if len(key) == 1 else key_codes()[key]
