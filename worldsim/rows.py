"""The episodes of a batch: how each began, how far it is, what is seen of it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from worldsim.doubt import EVERY, Doubt, lost_again
from worldsim.moments import EnvSnapshot
from worldsim.openings import Wish, begin_rows, open_row
from worldsim.rollout import Rollout


class Rows:
    """Episodes side by side.

    Args:
        rollout: What imagines them.
        obs: "pixels" (NumPy), "torch" (pixels on the device) or "latents" (on the device).

    Attributes:
        rngs: Each row's source of seeds and starts; None before its first episode.
        wishes: What each row begins with.
        steps: `(b,)`, since it began.
        ended: `(b,)` bool, whether it has.
        seen: Its latest observation; None before the first episode.
    """

    def __init__(self, rollout: Rollout, obs: str) -> None:
        self.rollout, self.world, self.obs = rollout, rollout.world, obs
        self.rngs: list[np.random.Generator | None] = [None] * rollout.rows
        self.wishes: list[Wish | None] = [None] * rollout.rows
        self.steps = np.zeros(rollout.rows, np.int64)
        self.ended = np.zeros(rollout.rows, bool)
        self.seen: np.ndarray | Tensor | None = None
        self._doubt = Doubt.of(self.world)
        self._lost = torch.zeros(rollout.rows, device=rollout.device)

    @torch.inference_mode()
    def begin(self, rows: Sequence[int], see_all: bool = False) -> None:
        """Start some rows afresh, as they wish, and look at them (or at every row)."""
        rows, size = [int(row) for row in rows], self.rollout.frame_size
        self.rollout.seed(rows, [int(self.rngs[row].integers(2**62)) for row in rows])
        openings = {
            row: open_row(self.world, self.wishes[row], self.rngs[row], size) for row in rows
        }
        begin_rows(self.rollout, openings)
        self.steps[rows], self.ended[rows] = 0, False
        if see_all or self.seen is None or len(rows) == self.rollout.rows:
            self.seen = self.observe()
        else:
            self.seen[rows] = self.observe(rows)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Advance every row by one frame, which is not looked at yet.

        Args:
            actions: `(b, a)`, flattened.

        Returns:
            Rewards `(b,)`, and by name what is told of each row: the probability of `termination`
            and, if the world is calibrated, `doubt`.
        """
        before = self.rollout.latents
        now = self.rollout.step(torch.from_numpy(self.world.scale_actions(actions)))
        told = {"termination": now.terminated.double().cpu().numpy()}
        rewards = now.reward.double().cpu().numpy().copy()
        self.steps += 1
        if self._doubt is not None:
            told["doubt"] = self._doubts(now.latents, before)
        return rewards, told

    def observe(self, rows: list[int] | None = None) -> np.ndarray | Tensor:
        """Look at some rows, or at all."""
        rows = slice(None) if rows is None else rows
        if self.obs == "latents":
            return self.rollout.latents[rows].clone()
        frames = self.rollout.frames(rows)
        return frames.clone() if self.obs == "torch" else frames.cpu().numpy()

    def pixels(self) -> np.ndarray:
        """Return what is seen as frames `(b, h, w, 3)` uint8."""
        if self.obs == "latents":
            return self.world.decode(self.seen).cpu().numpy()
        return self.seen.cpu().numpy() if self.obs == "torch" else self.seen

    def snapshot(self) -> EnvSnapshot:
        """Copy the whole state."""
        rngs = tuple(rng.bit_generator.state for rng in self.rngs)
        return EnvSnapshot(
            self.rollout.snapshot(), copied(self.seen), self.steps.copy(), self.ended.copy(),
            tuple(self.wishes), rngs, self._lost.clone(),
        )  # fmt: skip

    def restore(self, snapshot: EnvSnapshot) -> None:
        """Go back to a snapshot, which stays usable."""
        self.rollout.restore(snapshot.rollout)
        self.seen, self.wishes = copied(snapshot.observation), list(snapshot.wishes)
        self.steps, self.ended = snapshot.steps.copy(), snapshot.ended.copy()
        self._lost = snapshot.lost.clone()
        for rng, state in zip(self.rngs, snapshot.rngs, strict=True):
            rng.bit_generator.state = state

    @torch.inference_mode()
    def _doubts(self, latents: Tensor, before: Tensor) -> np.ndarray:
        """Ask the alarm about every row; each frame is encoded again at its row's turn."""
        due = np.flatnonzero((self.steps - 1) % EVERY == 0)
        if len(due):
            self._lost[due] = lost_again(self.world, latents[due])
        return self._doubt(latents, before, self._lost).double().cpu().numpy()


def copied(observation: np.ndarray | Tensor) -> np.ndarray | Tensor:
    """Return an observation that changes with no other."""
    return observation.clone() if isinstance(observation, Tensor) else observation.copy()
