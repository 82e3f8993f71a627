"""One imagined episode as a Gymnasium environment: a `WorldVectorEnv` of one."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import iterate
from torch import Tensor

from worldsim.limits import check_given
from worldsim.moments import EnvSnapshot
from worldsim.spaces import flatten_action
from worldsim.vector_env import WorldVectorEnv
from worldsim.world import World


class WorldEnv(gymnasium.Env):
    """One imagined episode.

    Args and errors are those of `WorldVectorEnv`, but for what batches need; `prompt` is a single
    string.
    """

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 10}

    def __init__(
        self,
        world: str | Path | World = "drive",
        prompt: str | None = None,
        render_mode: str | None = "rgb_array",
        sampler_steps: int | None = None,
        guidance: float | None = None,
        variety: float | None = None,
        horizon: int | None = None,
        frame_size: tuple[int, int] | None = None,
        device: str | None = None,
        obs: str = "pixels",
    ) -> None:
        self.envs = WorldVectorEnv(
            world, 1, prompt=prompt, render_mode=render_mode, sampler_steps=sampler_steps,
            guidance=guidance, variety=variety, horizon=horizon, frame_size=frame_size,
            device=device, obs=obs, autoreset_mode=AutoresetMode.DISABLED,
        )  # fmt: skip
        self.world, self.rollout, self.horizon = (
            self.envs.world,
            self.envs.rollout,
            self.envs.horizon,
        )
        self.render_mode, self.frame_size = render_mode, self.envs.frame_size
        self.metadata = self.metadata | {"render_fps": self.envs.metadata["render_fps"]}
        self.observation_space = self.envs.single_observation_space
        self.action_space = self.envs.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray | Tensor, dict[str, Any]]:
        """Begin an episode; see `WorldVectorEnv.reset` for the options (no `reset_mask` here)."""
        check_given(0, seed=seed)
        self.envs.batch.rngs[0] = self.np_random
        observations, infos = self.envs.reset(seed=seed, options=options)
        # not before: a refused reset changes nothing
        super().reset(seed=None if seed is None else int(seed))
        self._np_random = self.envs.batch.rngs[0]
        return observations[0], _single(infos)

    def step(self, action: Any) -> tuple[np.ndarray | Tensor, float, bool, bool, dict[str, Any]]:
        """Advance by one frame; see `WorldVectorEnv.step`."""
        self.envs._check_going()
        if isinstance(action, Tensor):
            action = action.detach().cpu().numpy()
        flat = flatten_action(self.action_space, action)
        observations, rewards, terminated, truncated, infos = self.envs._advance(flat[None])
        flags = bool(terminated[0]), bool(truncated[0])
        return observations[0], float(rewards[0]), *flags, _single(infos)

    def set_prompt(self, prompt: str | None) -> None:
        """Change the prompt from the next frame on."""
        self.envs.set_prompt(prompt)

    def autopilot_action(self) -> Any:
        """Return what the recorded policy would do now."""
        return next(iter(iterate(self.envs.action_space, self.envs.autopilot_action())))

    def snapshot(self) -> EnvSnapshot:
        """Copy the whole state, for rewinding, branching and planning."""
        return self.envs.snapshot()

    def restore(self, snapshot: EnvSnapshot) -> None:
        """Go back to a snapshot, which stays usable."""
        self.envs.restore(snapshot)

    def get_keys_to_action(self) -> dict[tuple[int, ...], Any]:
        """Return pressed keys and the action they stand for; needs no display."""
        return self.envs.get_keys_to_action()

    def render(self) -> np.ndarray | None:
        """Return the current frame `(h, w, 3)` uint8; None in "human" mode."""
        frames = self.envs.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Close the window, if there is one; a second call does nothing."""
        self.envs.close()


def _single(infos: dict[str, Any]) -> dict[str, Any]:
    """Return the only row's info of a batch of one."""
    return {
        key: values[0].item() if isinstance(values[0], np.generic) else values[0]
        for key, values in infos.items()
        if not key.startswith("_")
    }
