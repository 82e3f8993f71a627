"""The LeRobot v3.0 layout on disk: rows in Parquet, frames in MP4, several episodes to a file.

    meta/info.json                               features, fps, paths; ours under "worldsim"
    meta/stats.json                              min, max, mean, std of every feature
    meta/tasks.parquet                           the captions
    meta/episodes/chunk-000/file-000.parquet     where each episode lies, its scene, seed and stats
    data/chunk-000/file-000.parquet              a row per frame
    videos/<key>/chunk-000/file-000.mp4          the frames

A row holds a frame and the action that follows it, so the last row's action is a null action.

References:
    LeRobotDataset v3.0, https://huggingface.co/docs/lerobot/lerobot-dataset-v3
"""

import json
from collections.abc import Callable
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldsim.decoding import read_frames
from worldsim.images import decode_image

VERSION = "v3.0"
VIDEO_KEY = "observation.image"  # where our own data sets keep the frames
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
COLUMNS = ("action", "action_known", "next.reward", "next.done", "next.truncated", "task_index")


class LeRobotFolder:
    """Reads a data set in the LeRobot v3.0 layout, ours or anybody's.

    Args:
        root: The folder.
        video_key: The feature that holds the frames; None takes the first video.
    """

    def __init__(self, root: Path, video_key: str | None = None):
        self.root = root
        try:
            self.meta = json.loads((root / "meta/info.json").read_text())
            version, self.features = self.meta["codebase_version"], self.meta["features"]
            self.fps = self.meta["fps"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{root}/meta/info.json must describe a LeRobot data set, got {error!r}; "
                "copy the data set again"
            ) from None
        if not version.startswith("v3"):
            raise ValueError(
                f"a data set must have the LeRobot layout v3.0, got {version} in {root}; convert "
                "it with lerobot's `convert_dataset_v21_to_v30`"
            )
        videos = [key for key, f in self.features.items() if f["dtype"] in ("video", "image")]
        if video_key not in [None, *videos] or not videos:
            raise ValueError(f"`video_key` must be one of {videos} in {root}, got {video_key!r}")
        self.video_key = video_key or videos[0]
        rows = (_read(path, _is_needed).to_pylist() for path in _tables(root / "meta/episodes"))
        self.episodes = sorted(chain(*rows), key=lambda row: row["episode_index"])

    @cached_property
    def tasks(self) -> dict[int, str]:
        """The captions, by their index.

        Raises:
            ValueError: If there is none for a row of the data.
        """
        path = self.root / "meta/tasks.parquet"
        table = _read(path) if path.is_file() else pa.table({"task_index": [], "task": []})
        name = next((name for name in table.column_names if name != "task_index"), "task")
        _check_columns(path, table, {"task_index", name})
        tasks = dict(zip(table["task_index"].to_pylist(), table[name].to_pylist(), strict=True))
        if unknown := set(self.columns["task_index"].tolist()) - tasks.keys():
            raise ValueError(
                f"{path} must name the task of every `task_index` in data/, got none for "
                f"{min(unknown)}; copy the data set again"
            )
        return tasks

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """Every numeric column that a world can learn from, and `index`, which sorts the rows."""
        numeric = [n for n, feature in self.features.items() if feature["dtype"] != "string"]
        names = [n for n in numeric if n in COLUMNS or n.startswith("state.")]
        names += [name for name in ("index", "task_index") if name not in names]
        tables = []
        for path in _tables(self.root / "data"):
            tables.append(_read(path, set(names).__contains__))
            _check_columns(path, tables[-1], set(names))
        table = pa.concat_tables(tables, promote_options="default").sort_by("index")
        return {name: _to_numpy(table[name]) for name in names}

    def rows(self, episode: int) -> dict[str, np.ndarray]:
        """Return the rows of one episode by column, as many as there are."""
        row = self.episodes[episode]
        ends = row["dataset_from_index"], row["dataset_to_index"]
        span = slice(*np.searchsorted(self.columns["index"], ends))
        return {name: x[span] for name, x in self.columns.items() if name != "index"}

    def truth(self, episode: int) -> dict[str, Any]:
        """Return the `state`, `scene` and `seed` of one episode, where ours have them."""
        names = sorted(name for name in self.columns if name.startswith("state."))
        row, columns = self.episodes[episode], self.rows(episode)
        return {
            "state": {name.removeprefix("state."): columns[name].copy() for name in names},
            "scene": json.loads(row.get("scene") or "{}"),
            "seed": row.get("seed"),
        }

    def video(self, episode: int) -> tuple[Path, float]:
        """Return the file that holds an episode's frames, and the second they begin at."""
        row, key = self.episodes[episode], self.video_key
        path = self.meta["video_path"].format(
            video_key=key,
            chunk_index=row[f"videos/{key}/chunk_index"],
            file_index=row[f"videos/{key}/file_index"],
        )
        return self.root / path, row[f"videos/{key}/from_timestamp"]

    def frames(self, episode: int) -> np.ndarray:
        """Decode the frames `(rows, h, w, 3)` uint8 of one episode."""
        row = self.episodes[episode]
        if self.features[self.video_key]["dtype"] == "video":
            path, start = self.video(episode)
            return read_frames(path, start, row["length"], self.fps)
        where = {name: row[f"data/{name}"] for name in ("chunk_index", "file_index")}
        path = self.root / self.meta["data_path"].format(**where)
        chosen = [("episode_index", "=", row["episode_index"])]
        images = pq.read_table(path, columns=[self.video_key], filters=chosen)[self.video_key]
        return np.stack([decode_image(image["bytes"], str(path)) for image in images.to_pylist()])


def _tables(folder: Path) -> list[Path]:
    """Return the tables of a folder, of which there must be one."""
    paths = sorted(folder.glob("*/*.parquet"))
    if not paths:
        raise ValueError(
            f"{folder} must hold tables such as chunk-000/file-000.parquet, got none; copy the "
            "data set again"
        )
    return paths


def _read(path: Path, is_needed: Callable[[str], bool] = lambda name: True) -> pa.Table:
    """Read the columns of a table that are needed; errors name the file."""
    try:
        names = pq.read_schema(path).names
        return pq.read_table(path, columns=[name for name in names if is_needed(name)])
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"{path} must be a whole Parquet file, got: {error}; copy the data set again"
        ) from None


def _check_columns(path: Path, table: pa.Table, names: set[str]) -> None:
    if lacking := sorted(names - set(table.column_names)):
        raise ValueError(
            f"{path} must have the columns {sorted(names)}, got none for {lacking}; copy the data "
            "set again"
        )


def _is_needed(name: str) -> bool:
    """Leave statistics out, except those that an extension needs again."""
    return not name.startswith("stats/") or name.startswith(f"stats/{VIDEO_KEY}/")


def _to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    array = column.combine_chunks()
    if pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), -1)
    return array.to_numpy(zero_copy_only=False)
