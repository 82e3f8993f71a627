"""What a step of a rollout brings, and moments to come back to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldsim.kv_cache import KVCache

# what there is a row of for each world
STATE = ("latents", "fed", "fed_tau", "action", "known", "policy", "age")


@dataclass(frozen=True)
class Step:
    """What one action brings, for `b` worlds.

    Attributes:
        latents: `(b, c, h, w)` float32, the new frame.
        reward: `(b,)` expected reward.
        terminated: `(b,)` probability in [0, 1] that the episode ended.
        policy: `(b, a)` scaled expected next action of the recorded policy.
    """

    latents: Tensor
    reward: Tensor
    terminated: Tensor
    policy: Tensor


@dataclass(frozen=True)
class Snapshot:
    """A moment of a rollout, to come back to; `world` is the tag of the one that imagined it."""

    world: str
    cache: KVCache
    latents: Tensor
    fed: Tensor
    fed_tau: Tensor
    action: Tensor
    known: Tensor
    policy: Tensor
    age: Tensor
    pending: bool
    generators: tuple[Tensor, ...]
    prompts: tuple[str | None, ...]

    def rows(self, index: Sequence[int]) -> "Snapshot":
        """Return the moment of some rows, in this order, as often as they are named."""
        at = torch.as_tensor(index, device=self.latents.device)
        parts = {name: getattr(self, name)[at] for name in STATE}
        parts |= {name: _some(getattr(self, name), index) for name in ("generators", "prompts")}
        return replace(self, cache=self.cache.rows(at), **parts)


@dataclass(frozen=True)
class EnvSnapshot:
    """A moment of a batch of episodes, to come back to."""

    rollout: Snapshot
    observation: np.ndarray | Tensor
    steps: np.ndarray
    ended: np.ndarray
    wishes: tuple[Any, ...]
    rngs: tuple[dict, ...]
    lost: Tensor

    def rows(self, index: Sequence[int]) -> "EnvSnapshot":
        """Return the moment of some rows, in this order, as often as they are named.

        So the one of a single env, `rows([0] * 8)`, goes into a batch of eight, whose rows can then
        try eight plans at once, and `rows([3])` of a batch into a single env. What comes after the
        end of their episode differs.
        """
        at = list(index)
        parts = {
            name: getattr(self, name)[at] for name in ("observation", "steps", "ended", "lost")
        }
        wishes = _some(self.wishes, at)
        rngs = tuple(_jumped(self.rngs[i], at[:k].count(i)) for k, i in enumerate(at))
        return EnvSnapshot(self.rollout.rows(at), **parts, wishes=wishes, rngs=rngs)


def _jumped(state: dict, times: int) -> dict:
    """Return the state of a generator that draws other numbers, `times` times over."""
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = state
    return bits.jumped(times).state if times else state


def _some(values: tuple, index: Sequence[int]) -> tuple:
    return tuple(values[i] for i in index)


def check_snapshot(snapshot: Any, rngs: Sequence, observation: Any, rollout: Any) -> None:
    """Refuse what was not taken from an env like the one that has these parts.

    Raises:
        ValueError: If world, rows, frame size, observations, dtype or device differ.
    """
    own, theirs = _kind(rngs, observation, rollout), type(snapshot).__name__
    own["world"] = rollout.world.tag
    if isinstance(snapshot, EnvSnapshot):
        theirs = _kind(snapshot.rngs, snapshot.observation, snapshot.rollout)
        theirs["world"] = snapshot.rollout.world
    if theirs != own:
        raise ValueError(
            "a snapshot goes back into an env of as many rows, and of a world, frame size and "
            f"observations, as it was taken from, got {theirs}, here {own}; `snapshot.rows` makes "
            "one of as many rows as wanted"
        )


def _kind(rngs: Sequence, observation: Any, rollout: Any) -> dict[str, Any]:
    tensors = {"latents": rollout.latents, "actions": rollout.action, "keys": rollout.cache.keys}
    kinds = {name: (*x.shape, str(x.dtype), str(x.device)) for name, x in tensors.items()}
    shape, dtype = (getattr(observation, name, None) for name in ("shape", "dtype"))
    sees = (type(observation).__name__, *(shape or ()), str(dtype))
    return {"rows": len(rngs), "sees": sees} | kinds
