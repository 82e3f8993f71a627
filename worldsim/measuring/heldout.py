"""Held-out clips: a fixed set, cut from recordings that no training has seen."""

from dataclasses import dataclass, replace

import numpy as np

from worldsim.datasets.episodes import Episodes
from worldsim.world import World


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Clips of one length from recordings that no training has seen.

    Attributes:
        frames: `(b, t, h, w, 3)` uint8; the first `context` are given to the world.
        actions: `(b, t - 1, a)` float32, flattened, not scaled.
        known: `(b, t - 1)` bool, whether the action was recorded.
        rewards: `(b, t - 1)`.
        terminated: `(b, t - 1)` bool.
        state: Ground truth, `(b, t, ...)` each.
        captions: The caption of each clip's last given frame.
        scenes: The scene of each clip's episode.
        place: `(b, 2)`, episode and first frame of each clip.
        context: Frames given to the world.
    """

    frames: np.ndarray
    actions: np.ndarray
    known: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    state: dict[str, np.ndarray]
    captions: tuple[str, ...]
    scenes: tuple[dict, ...]
    place: np.ndarray
    context: int

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def horizon(self) -> int:
        """Frames to predict."""
        return self.frames.shape[1] - self.context

    @property
    def given(self) -> np.ndarray:
        """The frames `(b, context, h, w, 3)` that the world is given."""
        return self.frames[:, : self.context]

    @property
    def future(self) -> np.ndarray:
        """The frames `(b, horizon, h, w, 3)` to predict."""
        return self.frames[:, self.context :]

    def rows(self, index: np.ndarray) -> "HeldOut":
        """Return some of the clips; `index` holds numbers or flags."""
        index = np.arange(len(self))[index]
        arrays = ("frames", "actions", "known", "rewards", "terminated", "place")
        return replace(
            self,
            **{name: getattr(self, name)[index] for name in arrays},
            state={name: values[index] for name, values in self.state.items()},
            captions=tuple(self.captions[i] for i in index),
            scenes=tuple(self.scenes[i] for i in index),
        )

    def first(self, horizon: int) -> "HeldOut":
        """Return the same clips with a shorter future."""
        t = self.context + horizon
        return replace(
            self,
            frames=self.frames[:, :t],
            actions=self.actions[:, : t - 1],
            known=self.known[:, : t - 1],
            rewards=self.rewards[:, : t - 1],
            terminated=self.terminated[:, : t - 1],
            state={name: values[:, :t] for name, values in self.state.items()},
        )


def cut_clips(
    dataset: Episodes,
    count: int = 64,
    *,
    context: int = 16,
    horizon: int = 16,
    seed: int = 0,
    ends: bool = False,
) -> HeldOut:
    """Cut a fixed set of clips from a data set, from as many episodes as there are.

    Args:
        dataset: Episodes that no training has seen.
        count: Number of clips.
        context: Frames given to the world.
        horizon: Frames to predict.
        seed: Chooses where the clips begin.
        ends: Take only clips whose last transition terminates its episode, as many as there are.

    Raises:
        ValueError: If no episode is long enough.
    """
    t = context + horizon
    usable = [i for i, length in enumerate(dataset.lengths) if length + 1 >= t]
    if not usable:
        raise ValueError(
            f"clips of {t} frames need longer episodes, the longest has "
            f"{max(dataset.lengths, default=-1) + 1}; record longer ones or lower `horizons`"
        )
    rng = np.random.default_rng(seed)
    wanted = np.sort(np.resize(rng.permutation(usable), max(count, 1)))
    if ends:
        wanted = [i for i in usable if dataset.outline(i).terminated[-1]][:count]
        if not wanted:
            raise ValueError(f"no episode of {t} frames or more terminates; record some that do")
    parts, episode, loaded = [], None, -1
    for index in map(int, wanted):
        if index != loaded:  # sorted, so that each episode is decoded once
            episode, loaded = dataset[index], index
        last = len(episode) + 1 - t
        first = last if ends else int(rng.integers(last + 1))
        parts.append(_cut(episode, index, first, t, context))
    return _stack(parts, context)


def cut_usual(dataset: Episodes, count: int) -> HeldOut:
    """Cut clips of 16 given frames and 16 to predict; of two halves where most are shorter."""
    usual = usual_frames(dataset)
    part = 16 if usual >= 32 else max(1, usual // 2)
    return cut_clips(dataset, count, context=part, horizon=part)


def usual_frames(dataset: Episodes) -> int:
    """Return how many frames half of the episodes have, or more."""
    return int(np.median(dataset.lengths)) + 1


def hold(action: np.ndarray, rows: int, steps: int) -> np.ndarray:
    """Repeat one action `(a,)` as `(rows, steps, a)`."""
    return np.broadcast_to(action, (rows, steps, len(action))).astype(np.float32)


def other_actions(clips: HeldOut) -> np.ndarray:
    """Return the clips' actions `(b, t - 1, a)` with another clip's after the given frames."""
    own, c = clips.actions, clips.context
    return np.concatenate([own[:, : c - 1], np.roll(own, len(own) // 2, 0)[:, c - 1 :]], 1)


def check_fit(world: World, data: Episodes, role: str) -> None:
    """Refuse recordings of another kind than a world's.

    Raises:
        ValueError: If frame rate or action space differ.
    """
    info = data.info
    for name, ours, theirs in (
        ("fps", world.cfg.fps, info.fps),
        ("action space", world.action_space, info.action_space),
    ):
        if ours != theirs:
            raise ValueError(
                f"`{role}` must be of the world's own {name}, {ours}; got {theirs}; record with "
                "the world's env"
            )


def _cut(episode, index: int, first: int, t: int, context: int) -> dict:
    frames, steps = slice(first, first + t), slice(first, first + t - 1)
    return {
        "frames": episode.frames[frames].copy(),
        "actions": episode.actions[steps],
        "known": episode.action_known[steps],
        "rewards": episode.rewards[steps],
        "terminated": episode.terminated[steps],
        "state": {name: values[frames] for name, values in episode.state.items()},
        "caption": episode.captions[episode.caption_index[first + context - 1]],
        "scene": episode.scene,
        "place": (index, first),
    }


def _stack(parts: list[dict], context: int) -> HeldOut:
    arrays = ("frames", "actions", "known", "rewards", "terminated", "place")
    state = {name: np.stack([p["state"][name] for p in parts]) for name in parts[0]["state"]}
    return HeldOut(
        **{name: np.stack([p[name] for p in parts]) for name in arrays},
        state=state,
        captions=tuple(p["caption"] for p in parts),
        scenes=tuple(p["scene"] for p in parts),
        context=context,
    )
