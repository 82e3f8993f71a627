"""Real frames with what is true of them: what a probe learns from and is tested on.

Recordings carry the simulator's ground truth (`state.*`), the scene and the actions. Here they
become columns: numbers, and classes with names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from worldsim.datasets.episodes import Episodes

FADE = 12  # frames that a change of scene may take to show
LOOK = 3  # frames that a probe looks at


@dataclass(frozen=True, eq=False)
class Labelled:
    """Real frames with what is true of them.

    Attributes:
        frames: `(n, h, w, 3)` uint8.
        windows: `(m, LOOK)`, indices of frames in a row.
        numbers: `(m,)` each, at the last frame; `action.i` is the action that led to it.
        classes: `(m,)` integers each, -1 where not known.
        names: The values that the integers stand for.
        stretch: `(m,)` integers: frames of one episode that follow each other share one.
    """

    frames: Tensor
    windows: Tensor
    numbers: dict[str, np.ndarray]
    classes: dict[str, np.ndarray]
    names: dict[str, tuple[str, ...]]
    stretch: np.ndarray

    def __len__(self) -> int:
        return len(self.windows)


def collect(
    dataset: Episodes,
    numbers: Sequence[str],
    attributes: Sequence[str],
    *,
    frames: int | None = None,
    episodes: Sequence[int] | None = None,
    seed: int = 0,
) -> Labelled:
    """Gather labelled frames from a data set.

    Args:
        dataset: Recordings.
        numbers: Names of `state.*` columns, and "turn"; those it lacks are left out.
        attributes: Names of what a scene has; those it lacks are left out.
        frames: How many, at most: an equal share of each episode, in one stretch; None is all.
        episodes: Which episodes; None is all.
        seed: Chooses where the stretches begin.
    """
    episodes = range(len(dataset)) if episodes is None else episodes
    lengths = dataset.lengths
    share = min(1.0, (frames or np.inf) / max(1, sum(lengths[i] + 1 for i in episodes)))
    rng = np.random.default_rng(seed)
    scenes = {name: scene_values(dataset, episodes, name) for name in attributes}
    discrete = isinstance(dataset.info.action_space, spaces.Discrete)
    pictures, windows, stretches, count = [], [], [], 0
    columns: dict[str, list] = {}
    values: dict[str, list] = {}
    for index in episodes:
        episode = dataset[index]
        take = max(1, round(share * len(episode)))
        first = int(rng.integers(len(episode) - take + 1))
        part = slice(first, first + take)  # transitions; the frames they lead to are one later
        pictures.append(torch.from_numpy(episode.frames[first : first + take + 1].copy()))
        windows.append(count + look_back(take + 1)[1:])
        stretches.append(np.full(take, len(stretches)))
        count += take + 1
        for name in numbers:
            truth = true_number(episode.state, name)
            if truth is not None and truth.ndim == 1:
                columns.setdefault(name, []).append(truth[1:][part])
        known = episode.action_known[part]
        if discrete:
            actions = episode.actions[part].argmax(1).astype(str).astype(object)
            values.setdefault("action", []).append(np.where(known, actions, ""))
        else:
            for i, action in enumerate(episode.actions[part].T):
                columns.setdefault(f"action.{i}", []).append(np.where(known, action, np.nan))
        for name, column in scenes.items():
            values.setdefault(name, []).append(column[index][1:][part])
    labels = {name: np.concatenate(parts) for name, parts in values.items()}
    names = {name: tuple(sorted(set(column) - {""})) for name, column in labels.items()}
    names = {name: known for name, known in names.items() if len(known) > 1}
    truths = {name: np.concatenate(parts).astype(np.float32) for name, parts in columns.items()}
    return Labelled(
        torch.cat(pictures),
        torch.cat(windows),
        {name: truth for name, truth in truths.items() if not np.isnan(truth).all()},
        {name: _indices(labels[name], known) for name, known in names.items()},
        names,
        np.concatenate(stretches),
    )


def look_back(t: int) -> Tensor:
    """Return `(t, LOOK)`: each of `t` frames after those before it; the first one repeats."""
    return (torch.arange(t)[:, None] + torch.arange(1 - LOOK, 1)).clamp(min=0)


def true_number(state: dict[str, np.ndarray], name: str) -> np.ndarray | None:
    """Return a number of the ground truth, `(..., t)`; None where it is not recorded.

    "turn" is by how much the yaw has changed since the frame before, in radians.
    """
    if name != "turn" or "turn" in state:
        return state.get(name)
    if "yaw" not in state:
        return None
    turned = np.diff(state["yaw"], axis=-1, prepend=state["yaw"][..., :1])
    return (turned + np.pi) % (2 * np.pi) - np.pi


def scene_values(dataset: Episodes, episodes: Sequence[int], name: str) -> dict[int, np.ndarray]:
    """Return an attribute of the scene at each frame, `(t + 1,)` strings, "" where not known.

    `episode.scene` holds names at reset, `state[name]` a number per frame where the attribute can
    change: what the numbers mean is learned from the first frames. Frames just after a change, when
    the new look is still coming, count as unknown.
    """
    outlines = {i: dataset.outline(i) for i in episodes}
    numbered = name in dataset.state_keys
    meaning = {
        int(e.state[name][0]): e.scene[name]
        for e in outlines.values()
        if numbered and isinstance(e.scene.get(name), str)
    }
    columns = {}
    for i, episode in outlines.items():
        value = episode.scene.get(name, "")
        column = np.full(len(episode) + 1, value if isinstance(value, str) else "", object)
        if numbered:
            number = episode.state[name].astype(int)
            column = np.array([meaning.get(n, "") for n in number], object)
            for change in np.flatnonzero(np.diff(number)):
                column[change + 1 : change + 1 + FADE] = ""
        columns[i] = column
    return columns


def _indices(column: np.ndarray, known: tuple[str, ...]) -> np.ndarray:
    place = {value: i for i, value in enumerate(known)}
    return np.array([place.get(value, -1) for value in column])
