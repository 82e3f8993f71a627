"""Data sets on disk, in the LeRobot v3.0 layout.

`DiskDataset` offers what a `MemoryDataset` does: `.info`, `len()`, `[i] -> Episode`, iteration,
`.lengths` and `.state_keys`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gymnasium import spaces

from worldsim.datasets.episodes import DatasetInfo, Episode
from worldsim.datasets.lerobot import LeRobotFolder
from worldsim.datasets.lerobot_writer import Part
from worldsim.files import staging_of


class DiskDataset:
    """Episodes on disk in the LeRobot v3.0 layout, decoded anew at every access.

    Args:
        path: Folder of the data set.
        video_key: Where the frames of a foreign data set lie; None takes its first video.
    """

    def __init__(self, path: str | Path, video_key: str | None = None):
        self.path = Path(path)
        self.folder = LeRobotFolder(self.path, video_key)
        own = self.folder.meta.get("worldsim")
        self.info = DatasetInfo.from_json(own) if own else _foreign_info(self.folder)
        self.is_ours = own is not None

    def __len__(self) -> int:
        return len(self.folder.episodes)

    def __iter__(self) -> Iterator[Episode]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Episode:
        if not -len(self) <= index < len(self):
            raise IndexError(f"episode index must lie within 0..{len(self) - 1}, got {index}")
        return self._episode(index % len(self), self.folder.frames(index % len(self)))

    def outline(self, index: int) -> Episode:
        """Return an episode with blank frames; nothing is decoded."""
        shape = (self.folder.episodes[index]["length"], *self.info.frame_size, 3)
        return self._episode(index, np.broadcast_to(np.uint8(0), shape))

    def _episode(self, index: int, frames: np.ndarray) -> Episode:
        columns, row = self._rows(index), self.folder.episodes[index]
        actions = columns["action"].astype(np.float32).reshape(row["length"], -1)
        tasks, caption_index = _own_tasks(columns["task_index"])
        flags = {
            "rewards": "next.reward",
            "terminated": "next.done",
            "truncated": "next.truncated",
            "action_known": "action_known",
        }
        rows = {name: columns[key].reshape(-1) for name, key in flags.items() if key in columns}
        per_action = {name: values[:-1].copy() for name, values in rows.items()}
        if not self.is_ours:  # others say in the last frame's row what its action earns and ends
            for name in per_action.keys() - {"action_known"}:
                per_action[name][-1:] += rows[name][-1]
            known = np.isfinite(actions).all(1)  # others leave out labels so
            per_action["action_known"] = known[:-1] & per_action.get("action_known", True)
            actions = np.where(known[:, None], actions, 0)
        return Episode(
            frames=frames,
            actions=actions[:-1],
            **per_action,
            captions=tuple(self.folder.tasks[task] for task in tasks),
            caption_index=caption_index,
            **self.folder.truth(index),
        )

    def _rows(self, index: int) -> dict[str, np.ndarray]:
        columns, row = self.folder.rows(index), self.folder.episodes[index]
        if len(columns["task_index"]) != row["length"]:
            raise ValueError(
                f"{self.path}/data must hold {row['length']} rows of episode "
                f"{row['episode_index']}, got {len(columns['task_index'])}; copy the data set again"
            )
        return columns

    @property
    def lengths(self) -> list[int]:
        """Return `t`, the number of actions, of each episode."""
        return [row["length"] - 1 for row in self.folder.episodes]

    @property
    def state_keys(self) -> list[str]:
        """Return the names of the ground truth that the episodes hold."""
        names = (name for name in self.folder.columns if name.startswith("state."))
        return sorted(name.removeprefix("state.") for name in names)

    def part(self, index: int) -> Part:
        """Return an episode as it lies on disk, to be copied into another data set."""
        row = self.folder.episodes[index]
        columns = self._rows(index)
        tasks, task_index = _own_tasks(columns["task_index"])
        video, start = self.folder.video(index)
        prefix = f"stats/{self.folder.video_key}/"
        stats = {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)}
        return Part(
            columns | {"task_index": task_index},
            [self.folder.tasks[task] for task in tasks],
            json.loads(row["scene"]),
            row["seed"],
            stats,
            video,
            round(start * self.info.fps),
        )


def open_dataset(path: str | Path, video_key: str | None = None) -> DiskDataset:
    """Open a data set on disk, recorded by worldsim or in the LeRobot v3.0 layout.

    Args:
        path: Folder of the data set.
        video_key: Where the frames of a foreign data set lie; None takes its first video.
    """
    path = Path(path).expanduser()
    if not (path / "meta/info.json").is_file():
        staging = staging_of(path)
        hint = (
            f"an unfinished recording lies in {staging}: run the same `worldsim record` again"
            if staging.is_dir()
            else f"create one with `worldsim record out={path}`"
        )
        raise FileNotFoundError(f"no data set at {path} (no meta/info.json there); {hint}")
    return DiskDataset(path, video_key)


def _own_tasks(task_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an episode's tasks in the order they come up, and its rows' indices into them."""
    tasks, first, own = np.unique(task_index, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return tasks[order], np.argsort(order)[own]


def _foreign_info(folder: LeRobotFolder) -> DatasetInfo:
    """Guess what the data set of another recorder does not say."""
    feature = folder.features[folder.video_key]
    if "action" not in folder.features:
        raise ValueError(
            f"a data set must have the feature 'action', got {list(folder.features)} in "
            f"{folder.root}; rename the column that holds the actions"
        )
    names, shape = feature.get("names") or [], list(feature["shape"])
    first = next((i for i, name in enumerate(names) if name in ("height", "h")), None)
    h = first if first is not None else (1 if shape[0] == 3 else 0)
    size = int(np.prod(folder.features["action"]["shape"]))
    return DatasetInfo(
        fps=max(1, round(folder.fps)),
        frame_size=tuple(shape[h : h + 2]),
        action_space=spaces.Box(-np.inf, np.inf, (size,), np.float32),
        env_id=str(folder.meta.get("robot_type") or ""),
    )
