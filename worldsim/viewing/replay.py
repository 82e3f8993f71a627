"""An episode of a data set as an env: whatever one does, what was recorded happens."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from worldsim.data import open_dataset
from worldsim.screen import read_bindings
from worldsim.spaces import unflatten_action


class ReplayEnv(gymnasium.Env):
    """Play recordings back.

    Args:
        data: Folder of a data set; episode `n` is what `reset(seed=n)` begins.
    """

    def __init__(self, data: str | Path) -> None:
        self.dataset = open_dataset(data)
        info = self.dataset.info
        self.render_mode, self.metadata = "rgb_array", {"render_fps": info.fps}
        self.action_space = info.action_space
        self.observation_space = spaces.Box(0, 255, (*info.frame_size, 3), np.uint8)
        self.episode, self.at, self._number = None, 0, None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin episode `seed`, counted round and round."""
        super().reset(seed=seed)
        number = (seed or 0) % len(self.dataset)
        if number != self._number:
            self.episode, self._number = self.dataset[number], number
        self.at = 0
        return self.render(), self._info()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Show the next frame."""
        i, e = self.at, self.episode
        self.at = i + 1
        ended = bool(e.terminated[i]), bool(e.truncated[i] or self.at == len(e))
        return self.render(), float(e.rewards[i]), *ended, self._info()

    def recorded_action(self) -> Any:
        """Return the action that leads to the next frame."""
        return unflatten_action(self.action_space, self.episode.actions[self.at])

    def snapshot(self) -> tuple[int, int]:
        """Return which frame of which episode is shown."""
        return self._number, self.at

    def restore(self, snapshot: tuple[int, int]) -> None:
        """Go back to a snapshot."""
        number, at = snapshot
        if number != self._number:
            self.episode, self._number = self.dataset[number], number
        self.at = at

    def get_keys_to_action(self) -> dict[tuple[int, ...], Any]:
        """Return the keys that the recordings were made with, to show them."""
        return read_bindings(self.dataset.info.keys, self.action_space)

    def render(self) -> np.ndarray:
        """Return the current frame `(h, w, 3)` uint8."""
        return self.episode.frames[self.at].copy()

    def _info(self) -> dict[str, Any]:
        e = self.episode
        return {"caption": e.captions[e.caption_index[self.at]], "scene": e.scene}
