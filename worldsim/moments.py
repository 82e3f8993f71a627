"""What a step of a rollout brings, and a moment of it to come back to."""

from dataclasses import dataclass

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
        change: `(b,)` RMS change of the frame between the last two sampler passes; 0 for one pass.
    """

    latents: Tensor
    reward: Tensor
    terminated: Tensor
    policy: Tensor
    change: Tensor


@dataclass(frozen=True)
class Snapshot:
    """A moment of a rollout, to come back to."""

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
