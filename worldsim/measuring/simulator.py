"""The simulator behind a data set, taken back to the moments that were recorded."""

from typing import Any

import numpy as np

from worldsim.filmed import reopen_env
from worldsim.images import frame_of
from worldsim.policies import choose_policy
from worldsim.spaces import unflatten_action


class Skip(Exception):
    """Raised by a section that this world or data set has nothing for; carries the reason."""


class Simulator:
    """The recorded env, taken back to any moment of a recording by its seed and actions.

    Args:
        info: Of the data set.

    Raises:
        Skip: If the env cannot be made here.
    """

    def __init__(self, info: Any) -> None:
        try:
            self.env = reopen_env(info.env_id, info.env_kwargs)
        except Exception as error:
            raise Skip(f"the simulator {info.env_id!r} cannot be made here: {error}") from error
        try:
            self._check(info)
        except BaseException:
            self.env.close()
            raise
        self.space = info.action_space
        self.policy = choose_policy("", self.env)

    def _check(self, info: Any) -> None:
        """Refuse an env that is not the one that was recorded."""
        if self.env.action_space != info.action_space:
            raise Skip(f"the simulator {info.env_id!r} takes other actions than were recorded")
        frame = frame_of(self.env, self.env.reset(seed=0)[0])
        if frame.shape[:2] != tuple(info.frame_size):
            raise Skip(
                f"the simulator {info.env_id!r} shows frames of {frame.shape[:2]}, recorded were "
                f"{tuple(info.frame_size)}: it was wrapped"
            )

    def run(self, seed: int, actions: np.ndarray, keep: int) -> np.ndarray:
        """Reset with `seed`, act `(n, a)`; return the last `keep` frames `(keep, h, w, 3)`."""
        observation, _ = self.env.reset(seed=seed)
        frames = [frame_of(self.env, observation)] if keep > len(actions) else []
        over = False
        for i, action in enumerate(actions):
            if not over:
                step = self.env.step(unflatten_action(self.space, action))
                observation, over = step[0], step[2] or step[3]
            if i >= len(actions) - keep:
                frames.append(frame_of(self.env, observation))
        return np.stack(frames)
