"""What a caller may ask of an imagined env: settings, rows, seeds, a batch of actions."""

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Space
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import iterate
from torch import Tensor

from worldsim.limits import check_choice, check_given, check_size
from worldsim.spaces import flatten_action, null_action
from worldsim.world import World

OBSERVATIONS = ("pixels", "torch", "latents")


def check_settings(world: Any, obs: Any, frame_size: Any, autoreset_mode: Any) -> None:
    """Check what an imagined env is made of."""
    if not isinstance(world, str | Path | World):
        raise TypeError(
            f"`world` must be a name, a folder or a `World`, got {type(world).__name__}"
        )
    check_choice("obs", obs, OBSERVATIONS)
    mode = getattr(autoreset_mode, "value", autoreset_mode)
    check_choice("autoreset_mode", mode, [each.value for each in AutoresetMode])
    if frame_size is not None:
        check_size("frame_size", frame_size)


def read_mask(mask: Any, num_envs: int) -> list[int]:
    """Return the rows that a reset is about."""
    if mask is None:
        return list(range(num_envs))
    mask = np.asarray(mask)
    if mask.shape != (num_envs,) or mask.dtype != bool or not mask.any():
        raise ValueError(
            f"`reset_mask` must be ({num_envs},) bool with a True in it, "
            f"got {mask.dtype} {mask.tolist()}"
        )
    return np.flatnonzero(mask).tolist()


def read_seeds(seed: Any, num_envs: int) -> list[np.random.Generator | None]:
    """Return a new generator for each row that has a seed."""
    several = isinstance(seed, list | tuple) or np.ndim(seed) > 0
    if several and len(seed) != num_envs:
        raise ValueError(
            f"`seed` must be one number, or one per env in a list of {num_envs}, got {seed!r}"
        )
    for each in seed if several else [seed]:
        check_given(0, seed=each)
    if not several:
        seed = [None if seed is None else int(seed) + row for row in range(num_envs)]
    return [None if each is None else seeding.np_random(int(each))[0] for each in seed]


def flatten_batch(single: Space, batched: Space, actions: Any, ended: np.ndarray) -> np.ndarray:
    """Check a batch of actions and return it flattened, `(b, a)`; nobody reads those of `ended`."""
    if isinstance(actions, Tensor):
        actions = actions.detach().cpu().numpy()
    try:
        rows = list(iterate(batched, actions))
    except (TypeError, AttributeError, KeyError, IndexError) as error:
        raise TypeError(
            f"`actions` must be a batch in {batched}, got {type(actions).__name__}; "
            "`envs.action_space.sample()` shows a valid one"
        ) from error
    except ValueError as error:  # parts of unequal length
        raise ValueError(
            f"`actions` must hold one action per env ({len(ended)}) in every part, got {error}; "
            "`envs.action_space.sample()` shows a valid one"
        ) from error
    if len(rows) != len(ended):
        raise ValueError(f"`actions` must hold one action per env ({len(ended)}), got {len(rows)}")
    read = [null_action(single) if over else row for row, over in zip(rows, ended, strict=True)]
    return np.stack([flatten_action(single, action) for action in read])
