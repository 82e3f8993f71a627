"""What others recorded, looked at before it is converted: takes, and what is wrong with them.

A `Take` is one recording as it lies there: a video, and what is known of each of its frames. Two
kinds of sources are read: a folder of videos (`read_folder`) and a LeRobot v3 data set
(`read_lerobot`). Both look at everything first and collect faults, file by file.

    videos/
      one.mp4, two/three.mkv    videos, in subfolders too
      one.csv, one.parquet      actions of that video, a row per frame
      actions.csv, .parquet     or those of all videos, with a column `video`
      one.txt                   its caption
      captions.csv              or those of all: columns `video`, `caption`, perhaps `frame`
      captions.txt              or one line for all videos, or a line for each in order of name

Row `i` of the actions is what was done after frame `i`. A column `frame` (from 0) says which frame
a row means; frames without a row, and empty cells, have no action label. `reward` and `terminated`
are taken as such, 0 where a cell is empty; every other column is a number of the action.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from worldsim.datasets.lerobot import LeRobotFolder
from worldsim.datasets.said import Fault, read_captions
from worldsim.files import staging_of
from worldsim.video import import_av, open_input, stamp

VIDEOS = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")
TABLES = (".csv", ".parquet")
TOLD = ("video", "frame", "reward", "terminated")  # columns that are no action


@dataclass(frozen=True)
class Take:
    """One recording of `n` frames, not decoded yet; row `i` of an array belongs to frame `i`."""

    name: str
    path: Path
    times: np.ndarray
    """`(n,)`, seconds of the file at which each frame is shown."""
    fps: float
    """On average."""
    size: tuple[int, int]
    """`(h, w)` in pixels."""
    actions: np.ndarray
    """`(n, a)`, what was done after each frame; NaN where nobody knows."""
    rewards: np.ndarray
    """`(n,)`."""
    terminated: np.ndarray
    """`(n,)` bool."""
    captions: tuple[str, ...] = ("",)
    caption_index: np.ndarray | None = None
    """`(n,)`; None for the first caption throughout."""
    truncated: np.ndarray | None = None
    """`(n,)` bool; None for never."""
    state: dict[str, np.ndarray] = field(default_factory=dict)
    """Ground truth, `(n, ...)` each: what recordings of ours hold."""
    scene: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None

    def __len__(self) -> int:
        """Return `n`, the number of frames."""
        return len(self.actions)


def read_folder(root: Path, out: str | Path) -> tuple[list[Take], list[str], list[Fault]]:
    """Look at a folder of videos; what a conversion to `out` has written there is none of them.

    Returns:
        Its takes, the names of the action's numbers, and what is wrong.
    """
    faults: list[Fault] = []
    made = {Path(out).resolve(), staging_of(Path(out)).resolve()}
    files = sorted(p for p in root.rglob("*") if not made & set(p.resolve().parents))
    paths = [p for p in files if p.suffix.lower() in VIDEOS]
    if not paths:
        return [], [], [(str(root), f"holds no video ({', '.join(VIDEOS)})")]
    tables = _action_tables(root, paths, faults)
    faults += _unread_tables(root, files, paths)
    names = next((_action_names(table) for table in tables.values()), [])
    captions = read_captions(root, paths, faults)
    takes = []
    for path in paths:
        name = str(path.relative_to(root))
        try:
            times, fps, size = probe_video(path)
            columns = _columns(tables.get(path), names, len(times))
        except (ValueError, OSError) as error:
            faults.append((name, str(error)))
            continue
        said = captions.get(path, [(0, "")])
        astray = [frame for frame, _ in said if not 0 <= frame < len(times)]
        if astray:
            rule = f"has frames 0..{len(times) - 1}, a caption names frame {astray[0]}"
            faults.append((name, rule))
            continue
        of_frame = np.searchsorted([frame for frame, _ in said], np.arange(len(times)), "right") - 1
        texts = tuple(text for _, text in said)
        takes.append(Take(name, path, times, fps, size, *columns, texts, of_frame.clip(0)))
    return takes, names, faults


def read_lerobot(
    root: Path, video_key: str | None = None
) -> tuple[list[Take], list[str], list[Fault]]:
    """Look at a data set in the LeRobot v3.0 layout, whoever wrote it.

    Args:
        root: Its folder.
        video_key: Which of its videos to take; None takes the first.

    Returns:
        Its takes, the names of the action's numbers, and what is wrong.
    """
    folder, faults = LeRobotFolder(root, video_key), []
    if folder.features[folder.video_key]["dtype"] != "video":
        return [], [], [(folder.video_key, "holds pictures, not a video; encode it with lerobot")]
    size = int(np.prod(folder.features.get("action", {}).get("shape", [0])))
    names = _flat_names(folder.features.get("action", {}).get("names"), size)
    tasks, takes = folder.tasks, []
    videos: dict[Path, Any] = {}
    for index, row in enumerate(folder.episodes):
        name = shown = f"episode {row['episode_index']}"
        try:
            path, start = folder.video(index)
            shown = str(path.relative_to(root))
            if path not in videos:
                videos[path] = probe_video(path)
            times, fps, frame_size = videos[path]
            first = int(np.searchsorted(times, start - 0.5 / fps))
            columns = folder.rows(index)
            n = min(len(values) for values in columns.values())
        except (ValueError, OSError, KeyError) as error:
            faults.append((shown, f"{name}: {error}" if shown != name else str(error)))
            continue
        if n < row["length"]:
            faults.append((name, f"must have {row['length']} rows in data/, got {n}"))
        elif abs(fps / folder.fps - 1) > 0.01:
            faults.append((shown, f"shows {fps:g} frames a second, info.json says {folder.fps:g}"))
        elif len(times) < first + n:
            faults.append((shown, f"must hold {first + n} frames for {name}, got {len(times)}"))
        else:
            times = times[first : first + n]
            take = _episode_take(name, path, times, fps, frame_size, columns, tasks, n)
            ours = "worldsim" in folder.meta
            takes.append(replace(take, **folder.truth(index)) if ours else take)
    return takes, names, list(dict.fromkeys(faults))


def _episode_take(
    name: str,
    path: Path,
    times: np.ndarray,
    fps: float,
    size: tuple[int, int],
    columns: dict[str, np.ndarray],
    tasks: dict[int, str],
    n: int,
) -> Take:
    actions = columns.get("action", np.empty((n, 0))).reshape(n, -1).astype(np.float64)
    if "action_known" in columns:
        actions[~columns["action_known"].astype(bool).ravel()] = np.nan
    rewards = columns.get("next.reward", np.zeros(n)).astype(np.float32).reshape(n)
    terminated = columns.get("next.done", np.zeros(n)).astype(bool).reshape(n)
    truncated = columns.get("next.truncated", np.zeros(n)).astype(bool).reshape(n)
    own, of_frame = np.unique(columns["task_index"], return_inverse=True)
    texts = tuple(tasks[int(task)] for task in own)
    labels = actions, rewards, terminated, texts, of_frame, truncated
    return Take(name, path, times, fps, size, *labels)


def _flat_names(names: Any, size: int) -> list[str]:
    """Return the names of an action's numbers; other recorders nest them or leave them out."""
    if isinstance(names, dict):
        names = [name for part in names.values() for name in np.atleast_1d(part)]
    if isinstance(names, list) and len(names) == size:
        return [str(name) for name in names]
    return [f"action_{i}" for i in range(size)]


def probe_video(path: Path) -> tuple[np.ndarray, float, tuple[int, int]]:
    """Look at a video's packets and key frames: `(seconds of each frame, fps, (h, w))`.

    Raises:
        ValueError: If it is broken, or does not say how fast it plays.
    """
    av = import_av()
    if not path.is_file():
        raise ValueError("is not there")
    try:
        with open_input(path) as container:
            if not container.streams.video:
                raise ValueError("holds no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise ValueError("has a codec that nobody here knows; encode it again as H.264")
            promised, fps = stream.frames, stream.average_rate
            stream.codec_context.skip_frame = "NONKEY"
            stamps, hidden, turned = [], 0, None
            for packet in container.demux(stream):
                hidden += packet.is_discard  # trimmed away: there, but never shown
                if packet.size and not packet.is_discard:
                    stamps.append(stamp(packet))
                for frame in packet.decode():
                    turned = frame.rotation % 180 != 0
            times = (np.sort(stamps) - (stream.start_time or 0)) * float(stream.time_base)
            size = (stream.width, stream.height) if turned else (stream.height, stream.width)
    except av.error.FFmpegError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"cannot be read: {error}") from None
    if not fps:
        raise ValueError("does not say how many frames a second it shows")
    if turned is None or len(times) < 2:
        raise ValueError(f"must hold two frames or more that can be seen, got {len(times)}")
    if promised and len(times) + hidden < promised:
        raise ValueError(f"is cut off: {len(times) + hidden} of {promised} frames are there")
    return times, float(fps), size


def _action_tables(root: Path, paths: list[Path], faults: list[Fault]) -> dict[Path, pa.Table]:
    """Read the actions of each video that has some."""
    tables = {}
    for suffix in TABLES:
        common = root / f"actions{suffix}"
        if common.is_file() and (table := _read_table(common, root, faults)) is not None:
            if "video" not in table.column_names:
                faults.append((common.name, "must have the column `video`, as it is for all"))
                continue
            named = np.array(table["video"].to_pylist(), object)
            known = {str(p.relative_to(root)): p for p in paths}
            strange = sorted(set(map(str, named)) - set(known))
            faults += [(common.name, f"names the video {name!r}, which is not there")
                       for name in strange]  # fmt: skip
            for name, path in known.items():
                if (named == name).any():
                    tables[path] = table.filter(pa.array(named == name))
        for path in paths:
            own = path.with_suffix(suffix)
            if own.is_file() and (table := _read_table(own, root, faults)) is not None:
                tables[path] = table
    return tables


def _unread_tables(root: Path, files: list[Path], videos: list[Path]) -> list[Fault]:
    """Tell of tables whose names say of no video that they are its actions."""
    read = {root / f"actions{suffix}" for suffix in TABLES} | {root / "captions.csv"}
    read |= {path.with_suffix(suffix) for path in videos for suffix in TABLES}
    unread = [p for p in files if p.suffix.lower() in TABLES and p not in read]
    return [(str(p.relative_to(root)), "is named like no video; rename it") for p in unread]


def _read_table(path: Path, root: Path, faults: list[Fault]) -> pa.Table | None:
    try:
        table = pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        faults.append((str(path.relative_to(root)), f"cannot be read: {error}"))
        return None
    name = str(path.relative_to(root))
    if "caption" in table.column_names:
        faults.append((name, "has a column 'caption', which belongs in captions.csv"))
        return None
    if not _action_names(table):
        faults.append((name, "has no column that holds actions"))
        return None
    return table


def _action_names(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name not in TOLD]


def _columns(table: pa.Table | None, names: list[str], count: int) -> tuple[np.ndarray, ...]:
    """Lay a table's rows out over `count` frames: actions, rewards, terminated.

    Raises:
        ValueError: If columns are missing, are no numbers, or do not fit the video.
    """
    actions, rewards = np.full((count, len(names)), np.nan), np.zeros(count, np.float32)
    terminated = np.zeros(count, bool)
    if table is None:
        return actions, rewards, terminated
    missing = [name for name in names if name not in table.column_names]
    more = [name for name in _action_names(table) if name not in names]
    if missing or more:
        raise ValueError(
            f"its actions lack the columns {missing}, and have {more} that others lack"
        )
    values = {}
    for name in [name for name in table.column_names if name != "video"]:
        try:
            values[name] = table[name].cast(pa.float64()).to_numpy()
        except pa.ArrowException as error:
            raise ValueError(f"its column {name!r} must be numbers: {error}") from None
    if "frame" in values:
        if np.isnan(values["frame"]).any():
            raise ValueError("its column 'frame' must say which frame each row means, got gaps")
        at = values["frame"].astype(np.int64)
    else:
        at = np.arange(table.num_rows)
        if count - table.num_rows not in (0, 1):
            raise ValueError(
                f"shows {count} frames, which {count - 1} or {count} rows of actions fit, got "
                f"{table.num_rows}; a column `frame` can say which are meant"
            )
    if len(at) and not 0 <= at.min() <= at.max() < count:
        raise ValueError(f"shows {count} frames, its actions name {at.min()}..{at.max()}")
    actions[at] = np.stack([values[name] for name in names], 1)
    for name, column in (("reward", rewards), ("terminated", terminated)):
        if name in values:
            column[at] = np.nan_to_num(values[name])
    return actions, rewards, terminated
