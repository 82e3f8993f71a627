"""Writes a data set in the LeRobot v3.0 layout from episodes that lie encoded on disk."""

import json
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldsim.datasets.lerobot import DATA_PATH, EPISODES_PATH, VERSION, VIDEO_KEY, VIDEO_PATH
from worldsim.decoding import open_input
from worldsim.video import QUALITIES, import_av

FRAMES_PER_FILE = 4000
FILES_PER_CHUNK = 1000

Stats = dict[str, list[Any]]  # "min", "max", "mean", "std", "count"


@dataclass
class Part:
    """An episode on its way into a data set."""

    columns: dict[str, np.ndarray]
    """`(t + 1,)` or `(t + 1, k)` each, one row per frame."""
    captions: list[str]
    """What `columns["task_index"]` points into."""
    scene: dict[str, Any]
    seed: int | None
    image_stats: Stats
    video: Path
    """Where the frames lie, encoded."""
    start: int = 0
    """Frame of `video` at which the episode begins; a key frame."""


def write_layout(root: Path, parts: Iterable[Part], meta: dict[str, Any]) -> None:
    """Write a whole data set below `root`; a crash on the way leaves it incomplete.

    Args:
        root: An empty or absent folder.
        parts: The episodes, in order. Videos are joined packet by packet, not encoded again.
        meta: What stands under "worldsim" in `meta/info.json`; read are "fps", "frame_size" and
            "quality".
    """
    fps, tasks, episodes = meta["fps"], {}, []
    rows, features = 0, {}
    with ExitStack() as stack:
        joiner = stack.enter_context(_VideoJoiner(root, Fraction(fps).limit_denominator(10_000)))
        tables = stack.enter_context(_TableWriter(root))
        for index, part in enumerate(parts):
            count = len(part.columns["task_index"])
            numbers = [tasks.setdefault(caption, len(tasks)) for caption in part.captions]
            first, file = joiner.append(part.video, part.start, count)
            columns = part.columns | {
                "task_index": np.array(numbers)[part.columns["task_index"]],
                "timestamp": (np.arange(count) / fps).astype(np.float32),
                "frame_index": np.arange(count),
                "episode_index": np.full(count, index),
                "index": np.arange(rows, rows + count),
            }
            features = features or {k: describe_column(k, x) for k, x in columns.items()}
            tables.append(columns, file)
            episodes.append(_episode_row(part, columns, file, first, fps))
            rows += count
    features |= {VIDEO_KEY: _video_feature(meta)}
    stats = {
        name: merge_stats([{k: row[f"stats/{name}/{k}"] for k in _STATS} for row in episodes])
        for name in features
    }
    counts = {"total_episodes": len(episodes), "total_frames": rows, "total_tasks": len(tasks)}
    _write_table(pa.Table.from_pylist(episodes), root / EPISODES_PATH.format(**_FIRST))
    _write_table(_tasks_table(list(tasks)), root / "meta/tasks.parquet")
    _write_json(root / "meta/stats.json", stats)
    _write_json(root / "meta/info.json", _info(counts, features, meta))


def _episode_row(
    part: Part, columns: dict[str, np.ndarray], file: int, first: int, fps: float
) -> dict[str, Any]:
    """Return what the table of episodes says of one.

    Args:
        part: The episode.
        columns: Its own, as they are written.
        file: Which file has its rows and its frames.
        first: Its first frame in that file.
        fps: Frames a second.
    """
    count, begin = len(columns["index"]), int(columns["index"][0])
    where = {"chunk_index": file // FILES_PER_CHUNK, "file_index": file % FILES_PER_CHUNK}
    stats = {name: column_stats(x) for name, x in columns.items()} | {VIDEO_KEY: part.image_stats}
    return (
        {"episode_index": int(columns["episode_index"][0])}
        | {"tasks": part.captions, "length": count}
        | {f"data/{name}": value for name, value in where.items()}
        | {"dataset_from_index": begin, "dataset_to_index": begin + count}
        | {f"videos/{VIDEO_KEY}/{name}": value for name, value in where.items()}
        | {f"videos/{VIDEO_KEY}/from_timestamp": first / fps}
        | {f"videos/{VIDEO_KEY}/to_timestamp": (first + count) / fps}
        | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        | {"scene": json.dumps(part.scene), "seed": part.seed}
        | {f"stats/{name}/{k}": v for name, s in stats.items() for k, v in s.items()}
    )


def _info(counts: dict[str, int], features: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    """Return what `meta/info.json` says."""
    return {
        "codebase_version": VERSION,
        "robot_type": None,
        **counts,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": meta["fps"],
        "splits": {"train": f"0:{counts['total_episodes']}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "features": features,
        "worldsim": meta,
    }


class _VideoJoiner:
    """Appends encoded episodes to video files, opening the next file when one is full."""

    def __init__(self, root: Path, rate: Fraction):
        self.root, self.rate = root, rate
        self.file, self.count = -1, 0
        self._container: Any = None
        self._extradata: bytes | None = None

    def append(self, path: Path, start: int, count: int) -> tuple[int, int]:
        """Copy `count` frames; return the frame they begin at and the number of the file."""
        with open_input(path) as source:
            stream = source.streams.video[0]
            extradata = stream.codec_context.extradata
            full = self.count and self.count + count > FRAMES_PER_FILE
            if self._container is None or full or extradata != self._extradata:
                self._open_next(stream, extradata)
            first, copied = self.count, 0
            source.seek(int(start / self.rate / stream.time_base), stream=stream)
            for packet in source.demux(stream):
                number = -1 if packet.pts is None else packet.pts * stream.time_base * self.rate
                if copied == count or number < start - 0.5:
                    continue
                packet.stream, packet.time_base = self._stream, 1 / self.rate
                packet.pts = packet.dts = self.count
                packet.duration = 1
                self._container.mux(packet)
                self.count, copied = self.count + 1, copied + 1
        if copied < count:
            raise ValueError(f"{path} must hold {count} frames from {start} on, got {copied}")
        return first, self.file

    def _open_next(self, template: Any, extradata: bytes) -> None:
        self.close()
        self.file, self.count, self._extradata = self.file + 1, 0, extradata
        chunk, file = divmod(self.file, FILES_PER_CHUNK)
        name = VIDEO_PATH.format(video_key=VIDEO_KEY, chunk_index=chunk, file_index=file)
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = import_av().open(f"file:{path}", "w", format="mp4")
        self._stream = self._container.add_stream_from_template(template)
        self._stream.time_base = 1 / self.rate

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def __enter__(self) -> "_VideoJoiner":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _TableWriter:
    """Writes the rows of each video file to the Parquet file of the same number."""

    def __init__(self, root: Path):
        self.root, self.file = root, 0
        self._waiting: list[pa.Table] = []

    def append(self, columns: dict[str, np.ndarray], file: int) -> None:
        if file != self.file:
            self.flush()
            self.file = file
        table = pa.table({name: _to_arrow(values) for name, values in columns.items()})
        self._waiting.append(table)

    def flush(self) -> None:
        if self._waiting:
            chunk, file = divmod(self.file, FILES_PER_CHUNK)
            path = self.root / DATA_PATH.format(chunk_index=chunk, file_index=file)
            _write_table(pa.concat_tables(self._waiting), path)
            self._waiting = []

    def __enter__(self) -> "_TableWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.flush()


_FIRST = {"chunk_index": 0, "file_index": 0}
_STATS = ("min", "max", "mean", "std", "count")


def column_stats(values: np.ndarray) -> Stats:
    """Summarise `(rows,)` or `(rows, k)` over its rows."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    sides = (flat.min(0), flat.max(0), flat.mean(0), flat.std(0))
    return {k: v.tolist() for k, v in zip(_STATS, (*sides, np.array([len(flat)])), strict=True)}


def image_stats(frames: np.ndarray) -> Stats:
    """Summarise every eighth of `frames (t, h, w, 3)` per colour, as shares of 255."""
    levels, some, sides = np.arange(256) / 255, frames[::8], []
    for colour in range(3):  # counted, as numbers of eight bytes take long films out of memory
        counts = np.bincount(some[..., colour].ravel(), minlength=256)
        mean = np.average(levels, weights=counts)
        std = np.average((levels - mean) ** 2, weights=counts) ** 0.5
        seen = levels[counts > 0]
        sides.append([seen.min(), seen.max(), mean, std])
    told = np.array(sides).T[..., None, None].tolist()
    return dict(zip(_STATS, [*told, [some.size // 3]], strict=True))


def merge_stats(parts: list[Stats]) -> Stats:
    """Summarise what `parts` summarise."""
    counts = np.array([part["count"][0] for part in parts], np.float64)
    share = counts / counts.sum()
    stacked = {k: np.array([part[k] for part in parts], np.float64) for k in _STATS}
    mean = np.tensordot(share, stacked["mean"], 1)
    square = np.tensordot(share, stacked["std"] ** 2 + stacked["mean"] ** 2, 1)
    return {
        "min": stacked["min"].min(0).tolist(),
        "max": stacked["max"].max(0).tolist(),
        "mean": mean.tolist(),
        "std": np.sqrt(np.maximum(square - mean**2, 0)).tolist(),
        "count": [int(counts.sum())],
    }


def describe_column(name: str, values: np.ndarray) -> dict[str, Any]:
    """Describe a column, `(rows,)` or `(rows, k)`, as `meta/info.json` does."""
    if "/" in name:
        raise ValueError(f"names of states must not hold a slash, got {name!r}; use a dot")
    size = 1 if values.ndim == 1 else values.shape[1]
    names = [f"{name}_{i}" for i in range(size)] if name == "action" else None
    return {"dtype": values.dtype.name, "shape": [size], "names": names}


def _video_feature(meta: dict[str, Any]) -> dict[str, Any]:
    h, w = meta["frame_size"]
    return {
        "dtype": "video",
        "shape": [h, w, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": h,
            "video.width": w,
            "video.codec": "h264",
            "video.pix_fmt": QUALITIES[meta["quality"]]["pix_fmt"],
            "video.is_depth_map": False,
            "video.fps": meta["fps"],
            "video.channels": 3,
            "has_audio": False,
        },
    }


def _tasks_table(tasks: list[str]) -> pa.Table:
    """Make the table as pandas would, with the captions as its index."""
    table = pa.table({"task_index": np.arange(len(tasks)), "task": pa.array(tasks, pa.string())})

    def column(name: str, pandas_type: str, numpy_type: str) -> dict[str, Any]:
        types = {"pandas_type": pandas_type, "numpy_type": numpy_type, "metadata": None}
        return {"name": name, "field_name": name, **types}

    described = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(described)})


def _to_arrow(values: np.ndarray) -> pa.Array:
    if values.ndim == 1 or values.shape[1] == 1:
        return pa.array(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _write_table(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=4))
