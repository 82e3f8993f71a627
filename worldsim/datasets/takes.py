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

What the columns of a table mean is said in `worldsim.datasets.tables`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from worldsim.datasets.lerobot import LeRobotFolder
from worldsim.datasets.sidecars import Fault, read_captions
from worldsim.datasets.tables import action_names, columns_of, read_tables, unread_tables
from worldsim.decoding import open_input, stamp
from worldsim.files import staging_of
from worldsim.video import import_av

VIDEOS = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")


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
    tables = read_tables(root, paths, faults)
    faults += unread_tables(root, files, paths)
    names = next((action_names(table) for table in tables.values()), [])
    captions = read_captions(root, paths, faults)
    takes = []
    for path in paths:
        name = str(path.relative_to(root))
        try:
            times, fps, size = probe_video(path)
            columns = columns_of(tables.get(path), names, len(times))
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
        said_of = {"captions": texts, "caption_index": of_frame.clip(0)}
        takes.append(Take(name, path, times, fps, size, **columns, **said_of))
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
        elif not np.isfinite(columns.get("next.reward", np.zeros(1)).astype(float)).all():
            faults.append((name, "must have numbers as `next.reward`, one is missing or infinite"))
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
                raise ValueError("has a codec that PyAV does not know; encode it again as H.264")
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
