"""What Stable-Baselines3 needs of us: its kind of vector env, and eyes for frames of any size."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn


class GymVecEnv(VecEnv):
    """A Gymnasium vector env that resets its rows in the same step, as Stable-Baselines3 has them.

    Args:
        envs: Imagined (`WorldVectorEnv`) or real, which observe NumPy arrays.

    Raises:
        ValueError: If rows begin anew in another step than the one that ends them, or observe
            tensors.
    """

    def __init__(self, envs: VectorEnv) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                "an agent learns where episodes begin anew in the step that ends them, got "
                f"autoreset_mode={getattr(mode, 'value', mode)}; make a world with "
                'autoreset_mode="SameStep", others with '
                'vector_kwargs={"autoreset_mode": "SameStep"}'
            )
        seen = getattr(envs.unwrapped, "obs", "pixels")  # a world's; of others, it may be anything
        if isinstance(seen, str) and seen in ("torch", "latents"):
            raise ValueError(
                f'Stable-Baselines3 sees NumPy arrays, got obs="{seen}"; make the world with '
                'obs="pixels"'
            )
        self.envs, self.actions = envs, None
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> np.ndarray:
        """Begin an episode in every row, as `seed` and `set_options` asked before."""
        if any(options != self._options[0] for options in self._options):
            raise ValueError(f"rows begin under the same options, got {self._options}")
        seeds = None if None in self._seeds else self._seeds
        observations, _ = self.envs.reset(seed=seeds, options=self._options[0] or None)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Take note of what to do."""
        self.actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Do it; rows that end are begun again and tell their last frame in their info."""
        observations, rewards, terminated, truncated, told = self.envs.step(self.actions)
        done = terminated | truncated
        infos = [_of_row(told, row) for row in range(self.num_envs)]
        for row in np.flatnonzero(done):
            infos[row] |= infos[row].pop("final_info", {})  # beside what a wrapper of batches told
            infos[row]["terminal_observation"] = infos[row].pop("final_obs")
            infos[row]["TimeLimit.truncated"] = bool(truncated[row] and not terminated[row])
        return observations, rewards.astype(np.float32), done, infos

    def close(self) -> None:
        """Close the env."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return the same attribute for every row: they share one env."""
        return [getattr(self.envs, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the env."""
        self._whole(indices)
        setattr(self.envs, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list:
        """Call a method of the env once; every row gets its result."""
        self._whole(indices)
        result = getattr(self.envs, method_name)(*args, **kwargs)
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Say that no row has a wrapper."""
        return [False] * len(list(self._get_indices(indices)))

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return each row's frame."""
        return self.envs.render() or [None] * self.num_envs

    def _whole(self, indices: Any) -> None:
        if len(rows := list(self._get_indices(indices))) < self.num_envs:
            raise ValueError(f"all rows share one env, got indices={rows}; leave them out")


def _of_row(told: dict[str, Any], row: int) -> dict[str, Any]:
    """Return what a batch's `info` says of one row; a dict of rows lies in it as one of arrays."""
    names = [name for name in told if f"_{name}" in told and told[f"_{name}"][row]]
    return {name: _of_part(told[name], row) for name in names}


def _of_part(part: Any, row: int) -> Any:
    if not isinstance(part, dict):
        return part[row]
    # what a wrapper of batches adds says by one mask for all of it whose it is
    masked = any(f"_{name}" in part for name in part)
    return _of_row(part, row) if masked else {name: _of_part(part[name], row) for name in part}


class Eye(BaseFeaturesExtractor):
    """Four strided convolutions over half-size frames: unlike the library's own, from 16 pixels on.

    Imagined frames are soft, real ones are not: at half the size they are more alike, and an agent
    sees half as many again in the same time.

    Args:
        observation_space: `Box` of `(channels, h, w)` uint8.
        features_dim: Numbers it makes of a frame.
    """

    def __init__(self, observation_space: Any, features_dim: int = 256) -> None:
        super().__init__(observation_space, features_dim)
        widths = [observation_space.shape[0], 32, 64, 64, 64]
        layers: list[nn.Module] = []
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        self.look = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            size = self.look(_halved(torch.zeros(1, *observation_space.shape))).shape[1]
        self.think = nn.Sequential(nn.Linear(size, features_dim), nn.ReLU())

    def forward(self, observations: Tensor) -> Tensor:
        """Map `(b, channels, h, w)` in [0, 1] to `(b, features_dim)`."""
        return self.think(self.look(_halved(observations)))


def _halved(frames: Tensor) -> Tensor:
    """Make frames `(b, channels, h, w)` half as large, softly."""
    return F.avg_pool2d(frames, 4, stride=2, padding=1)
