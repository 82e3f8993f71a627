"""Anybody's recordings to a data set that a world can learn from.

`convert` takes a folder of videos or a LeRobot v3 data set (see `worldsim.datasets.takes`),
resamples pace and picture, and writes a data set of ours.
"""

import os
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from gymnasium import spaces
from tqdm import tqdm

from worldsim.data import DiskDataset
from worldsim.datasets.episodes import DatasetInfo, Episode
from worldsim.datasets.lerobot import LeRobotFolder
from worldsim.datasets.sidecars import Fault
from worldsim.datasets.subsets import FILM
from worldsim.datasets.takes import Take, read_folder, read_lerobot
from worldsim.datasets.writing import DatasetWriter
from worldsim.decoding import SLACK, frames_at, iterate_video
from worldsim.filmed import ENV_ID, STRIDE, choose_size
from worldsim.limits import check_cells

MOST_FRAMES = 1000  # of an episode: longer takes are cut, each part beginning where one ends
MOST_CHOICES = 1000  # each is a number of every flattened action


class SourceFaults(ValueError):
    """What is wrong with a source, file by file; nothing was written.

    Attributes:
        faults: `(file, what is wrong)` each.
    """

    def __init__(self, root: Path, faults: Sequence[Fault], what: str = "be converted") -> None:
        self.faults = tuple(faults)
        wide = max(len(name) for name, _ in faults)
        rows = [f"  {name:<{wide}}  {fault}" for name, fault in faults]
        many = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        head = f"{root} cannot {what}, {many}; mend or remove these:"
        super().__init__("\n".join([head, *rows]))


def convert(
    path: str | Path,
    out: str | Path,
    *,
    fps: int = 0,
    frame_size: tuple[int, int] | None = None,
    video_key: str | None = None,
    progress: bool = True,
) -> DiskDataset:
    """Convert a folder of videos, or a LeRobot v3 data set, into a data set of ours.

    Args:
        path: The source.
        out: Folder of the new data set; an interrupted conversion goes on where it stopped.
        fps: Frames per second of the new data set; 0 takes that of the slowest video, at most 30.
        frame_size: `(h, w)` of its frames; None chooses something small of the same shape.
        video_key: Which of a LeRobot data set's videos to take; None takes the first.
        progress: Show a progress bar.

    Returns:
        The new data set. Actions become a `Box` between the least and the greatest values, or
        `Discrete` where there is one column `action` of whole numbers from 0; those of a recording
        of ours stay what they are.

    Raises:
        FileNotFoundError: If there is no such source.
        SourceFaults: If anything is wrong with it; nothing is written then.
        ValueError: If a setting makes no sense, or `out` was begun from something else.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}; check the path")
    if fps < 0:
        raise ValueError(f"`fps` must be positive, or 0 for the slowest video's, got {fps}")
    if frame_size:
        check_cells(frame_size, STRIDE)
    is_lerobot = (root / "meta/info.json").is_file()
    takes, names, faults = read_lerobot(root, video_key) if is_lerobot else read_folder(root, out)
    # 29.97 frames a second count as 30
    rate = fps or max(1, min([30, *(int(take.fps / 0.99) for take in takes)]))
    faults += [
        (take.name, f"shows {take.fps:g} frames a second, which is less than fps={rate}")
        for take in takes if take.fps < 0.99 * rate
    ]  # fmt: skip
    faults += [
        (take.name, f"is over before two frames are shown at fps={rate}; raise it")
        for take in takes if len(frames_at(take.times, rate)) < 2 <= len(take)
    ]  # fmt: skip
    if faults or not takes:
        raise SourceFaults(root, faults or [(str(root), "holds no recording")])
    space = action_space(takes, names)
    info = DatasetInfo(
        fps=rate,
        frame_size=frame_size or choose_size(takes[0].size, 96 * 64),
        action_space=space,
        keys=_keys(space) if names else [],
        recording={"source": root.name, "names": names, "takes": _fingerprint(root, takes)},
    )
    if is_lerobot and (own := LeRobotFolder(root, video_key).meta.get("worldsim")):
        info = _as_recorded(info, DatasetInfo.from_json(own))
    jobs = [
        (take, first)
        for take in takes
        for first in range(0, len(frames_at(take.times, rate)) - 1, MOST_FRAMES)
    ]
    with DatasetWriter(out, info) as writer:
        missing = set(writer.missing(len(jobs)))
        for index, (take, first) in enumerate(tqdm(jobs, "convert", disable=not progress)):
            if index in missing:
                writer.append(resample(take, info, first))
        return writer.close()


def _as_recorded(info: DatasetInfo, own: DatasetInfo) -> DatasetInfo:
    """Keep what a recording of ours knows of its env: actions, keys and, at its pace, the env."""
    info = replace(info, action_space=own.action_space, keys=own.keys)
    if not own.env_id or info.fps != own.fps:
        return info
    inner = own.env_kwargs if own.env_id == ENV_ID else {"env": own.env_id} | own.env_kwargs
    size = {"frame_size": list(info.frame_size)}
    return replace(info, env_id=ENV_ID, env_kwargs={"repeat": 1} | inner | size)


def _fingerprint(root: Path, takes: Sequence[Take]) -> str:
    """Return what tells these takes from others, or from more of them."""
    about = [
        (take.name, os.path.relpath(take.path, root), len(take.times), take.captions)
        for take in takes
    ]
    total = zlib.crc32(repr(about).encode())
    for take in takes:
        for labels in (
            take.actions,
            take.rewards,
            take.terminated,
            take.truncated,
            take.caption_index,
        ):
            total = zlib.crc32(b"" if labels is None else np.ascontiguousarray(labels), total)
    return f"{len(takes)} takes, {total:08x}"


def action_space(takes: Sequence[Take], names: Sequence[str]) -> spaces.Space:
    """Return the space of all actions in `takes`; one idle number where there are none."""
    every = np.concatenate([take.actions for take in takes])
    every = every[np.isfinite(every).all(1)]
    if not names or not len(every):
        return spaces.Box(-1, 1, (1,), np.float32)
    if list(names) == ["action"] and (every == every.round()).all() and every.min() >= 0:
        if every.max() >= MOST_CHOICES:
            raise ValueError(
                f"a column `action` of whole numbers must number at most {MOST_CHOICES} choices, "
                f"from 0, got {every.max():.0f}; number them so, or call the column otherwise, and "
                "it is a real number"
            )
        return spaces.Discrete(int(every.max()) + 1)
    low, high = every.min(0), every.max(0)
    return spaces.Box(
        low.astype(np.float32), np.where(high > low, high, low + 1).astype(np.float32)
    )


def resample(take: Take, info: DatasetInfo, first: int = 0) -> Episode:
    """Read up to `MOST_FRAMES` steps of a take at a data set's pace and size.

    Frames are those shown nearest in time, so a picture that stands still comes twice. An action of
    the episode is the mean of the take's actions between two of its frames (of classes, the first),
    its reward their sum. What is earned or ends after the last of them counts to the last action.

    Args:
        take: The recording.
        info: Of the data set.
        first: Frame to begin at, counted at the data set's pace.
    """
    every = frames_at(take.times, info.fps)
    at = every[first : first + MOST_FRAMES + 1]
    spans = [slice(a, b) for a, b in zip(at, at[1:], strict=False)]
    actions, known = _actions(take, info, spans)
    if first + len(at) == len(every):
        spans[-1] = slice(spans[-1].start, len(take))
    captions, truncated = take.captions, take.truncated
    whole = first == 0 and np.array_equal(at, np.arange(len(at)))  # so that its env can replay it
    is_part = len(every) > MOST_FRAMES + 1
    return Episode(
        frames=_frames(take, info, at),
        actions=actions,
        action_known=known,
        rewards=np.array([take.rewards[span].sum() for span in spans], np.float32),
        terminated=np.array([take.terminated[span].any() for span in spans]),
        truncated=None if truncated is None else np.array([truncated[s].any() for s in spans]),
        captions=captions,
        caption_index=None if take.caption_index is None else take.caption_index[at],
        state={name: values[at] for name, values in take.state.items()},
        scene=take.scene | ({FILM: take.name} if is_part else {}),
        seed=take.seed if whole else None,
    )


def _frames(take: Take, info: DatasetInfo, at: np.ndarray) -> np.ndarray:
    """Decode the frames `at` of a take, in the data set's size."""
    at = np.searchsorted(take.times, take.times[at])  # of frames shown at once, the first
    wanted, (h, w) = set(at.tolist()), info.frame_size
    found: dict[int, np.ndarray] = {}
    for seconds, frame in iterate_video(take.path, take.times[at[0]]):
        number = int(np.searchsorted(take.times, seconds - SLACK))
        if number > at[-1]:
            break
        if number in wanted and take.times[number] <= seconds + SLACK:
            found[number] = cv2.resize(frame, (w, h), interpolation=cv2.INTER_AREA)
        if number == at[-1]:
            break
    if missing := sorted(wanted - found.keys()):
        raise ValueError(
            f"{take.path} must show frame {missing[0]} of {take.name} at "
            f"{take.times[missing[0]]:.3f} s, but does not; it is damaged: remove it, or encode it "
            "again"
        )
    return np.stack([found[number] for number in at.tolist()])


def _actions(take: Take, info: DatasetInfo, spans: list[slice]) -> tuple[np.ndarray, np.ndarray]:
    """Return the flattened actions `(t, a)` over some spans of frames, and which are known."""
    # where a frame comes twice, its action lasts
    parts = [take.actions[span.start : max(span.stop, span.start + 1)] for span in spans]
    known = np.array([part.size > 0 and np.isfinite(part).all() for part in parts])
    actions = np.zeros((len(parts), info.action_dim), np.float32)
    for i in np.flatnonzero(known):
        if parts[i].shape[1] != info.action_dim:  # a column of classes
            actions[i, int(parts[i][0, 0])] = 1
        elif info.action_space == spaces.Discrete(1):
            actions[i] = 1
        elif isinstance(info.action_space, spaces.Box):
            actions[i] = parts[i].mean(0)
        else:
            actions[i] = parts[i][0]
    return actions, known


def _keys(space: spaces.Space) -> list[Any]:
    """Return the keys that a world of this space would have."""
    from worldsim.keyboard import default_bindings, name_bindings

    return name_bindings(default_bindings(space))
