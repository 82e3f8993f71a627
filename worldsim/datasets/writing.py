"""Data sets that grow: finished episodes wait in files of their own until all are."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from worldsim.data import DiskDataset
from worldsim.datasets.episodes import DatasetInfo, Episode
from worldsim.datasets.lerobot_writer import Part, describe_column, image_stats, write_layout
from worldsim.files import check_staging, own_folder, replacing, staging_of, write_text
from worldsim.holding import Hold
from worldsim.limits import check_choice
from worldsim.spaces import flatten_action, null_action
from worldsim.video import QUALITIES, import_av, write_video

STAGED = ("info.json*", "episode-*", ".episode-*", "whole", "old", "lock")  # until it is finished


class DatasetWriter:
    """Write a data set; on disk it appears whole, at `close`, or not at all.

    Finished episodes wait in `<path>.partial`, each in files of its own, so an interrupted
    recording loses none of them: a writer with the same path and info goes on from there. A data
    set that is there already is extended. While a writer is open no other process can open one on
    the same path; in this process, the next one takes its place.

    Args:
        path: Folder of the data set.
        info: What the episodes share.

    Raises:
        BlockingIOError: If another process writes there.
        FileExistsError: If `path` or `<path>.partial` holds something else.
        ValueError: If `info` makes no sense, or is of another kind than what is there.
    """

    def __init__(self, path: str | Path, info: DatasetInfo):
        import_av()  # better missed now than after the first episode
        check_choice("quality", info.quality, QUALITIES)
        if info.quality == "people" and any(side % 2 for side in info.frame_size):
            raise ValueError(
                f"frames of quality=people must have even sides, got {info.frame_size[1]}x"
                f"{info.frame_size[0]}; record with quality=training"
            )
        self.path, self.info = own_folder(path), info
        self.staging = staging_of(self.path)
        check_staging(self.staging, *STAGED)
        self._hold, self._closed = Hold(self.staging, f"records into {self.path}"), False
        try:
            self._begin()
        except BaseException:
            self._hold.release()
            raise

    def _begin(self) -> None:
        """Find what is there already, and leave a note of what is to come."""
        if not self.path.exists() and (self.staging / "old").exists():
            os.rename(self.staging / "old", self.path)  # we died between two renames
        foreign = self.path.exists() and not (self.path / "meta/info.json").is_file()
        if foreign and (not self.path.is_dir() or any(self.path.iterdir())):
            raise FileExistsError(
                f"{self.path} exists and is no data set; choose another folder or remove it"
            )
        self.existing = DiskDataset(self.path) if (self.path / "meta").exists() else None
        if self.existing is not None:
            if not self.existing.is_ours:
                raise ValueError(
                    f"only data sets recorded by worldsim can be extended, got {self.path}; "
                    "record into another folder"
                )
            _check_same(self.existing.info, self.info, self.path)
        note = self.staging / "info.json"
        if self._staged():
            there = DatasetInfo.from_json(json.loads(note.read_text()))
            _check_same(there, self.info, self.staging)
        write_text(note, json.dumps(self.info.to_json()))

    def _staged(self) -> list[int]:
        names = self.staging.glob("episode-*.npz")
        indices = sorted(int(path.stem.removeprefix("episode-")) for path in names)
        return [i for i in indices if i >= len(self.existing or ())]

    @property
    def written(self) -> int:
        """Return how many episodes the data set would hold if it were closed now."""
        most = len(self.existing or ()) + len(self._staged())
        return self.missing(most + 1)[0]  # workers that were stopped may have left gaps

    @property
    def reach(self) -> int:
        """Return one more than the highest index that is written."""
        return max((i + 1 for i in self._staged()), default=len(self.existing or ()))

    def missing(self, episodes: int) -> list[int]:
        """Return the indices below `episodes` that are not written yet."""
        done = set(self._staged())
        return [i for i in range(len(self.existing or ()), episodes) if i not in done]

    def append(self, episode: Episode) -> None:
        """Add one episode; it survives a crash from here on."""
        self._hold.check()
        stage_episode(self.staging, self.info, self.written, episode)

    def close(self) -> DiskDataset:
        """Turn the waiting episodes into a data set and open it.

        Those behind a gap, which workers that were stopped can leave, are dropped; `missing` names
        the gaps.
        """
        self._hold.check()
        staged = range(len(self.existing or ()), self.written)
        if self.existing is None and not staged:
            raise ValueError("a data set must hold at least one episode, got none; `append` one")
        if staged:
            old = [self.existing.part(i) for i in range(len(self.existing or ()))]
            new = [_read_staged(self.staging, index) for index in staged]
            whole = self.staging / "whole"
            shutil.rmtree(whole, ignore_errors=True)
            write_layout(whole, old + new, self.info.to_json())
            if self.existing is not None:
                layout = os.listdir(whole)
                shutil.copytree(  # what else lies there, such as a README
                    self.path, whole, symlinks=True, dirs_exist_ok=True,
                    ignore=lambda folder, _: layout if folder == str(self.path) else [],
                )  # fmt: skip
                shutil.rmtree(self.staging / "old", ignore_errors=True)
                os.rename(self.path, self.staging / "old")
            os.replace(whole, self.path)
        for item in self.staging.iterdir():
            if item.is_dir():
                shutil.rmtree(item)
            elif item.name != "lock":
                item.unlink()
        self._hold.release()
        self._closed = True
        return DiskDataset(self.path)

    def __enter__(self) -> "DatasetWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None and not self._closed:
                self.close()
        finally:
            self._hold.release()


def stage_episode(staging: Path, info: DatasetInfo, index: int, episode: Episode) -> None:
    """Put a finished episode where `DatasetWriter.close` finds it; the rows come last."""
    info.check(episode)
    t = len(episode)
    null = flatten_action(info.action_space, null_action(info.action_space))
    columns = {
        "action": np.concatenate([episode.actions, null[None]]),
        "next.reward": np.append(episode.rewards, np.float32(0)),
        "next.done": np.append(episode.terminated, False),
        "next.truncated": np.append(episode.truncated, False),
        "action_known": np.append(episode.action_known, False),
        "task_index": episode.caption_index,
        **{f"state.{key}": values for key, values in episode.state.items()},
    }
    assert all(len(column) == t + 1 for column in columns.values())
    states, there = _state_sizes(columns), _known_states(staging)
    if there not in (None, states):
        raise ValueError(
            f"every episode must have the same states, got those of sizes {states} after {there}; "
            "let the env tell the same in each, or record into another folder"
        )
    about = {
        "captions": episode.captions,
        "scene": episode.scene,
        "seed": episode.seed,
        "image_stats": image_stats(episode.frames),
    }
    name = staging / f"episode-{index:06d}"
    write_video(name.with_suffix(".mp4"), episode.frames, info.fps, quality=info.quality)
    with replacing(name.with_suffix(".npz")) as part, open(part, "wb") as file:
        np.savez(file, about=json.dumps(about), **columns)


def _read_staged(staging: Path, index: int) -> Part:
    name = staging / f"episode-{index:06d}"
    with np.load(name.with_suffix(".npz")) as file:
        columns = dict(file)
    about = json.loads(columns.pop("about").item())
    return Part(columns=columns, video=name.with_suffix(".mp4"), **about)


def _known_states(staging: Path) -> dict[str, int] | None:
    """Return the sizes of the states that a data set's episodes have; None before the first."""
    info = staging.with_suffix("") / "meta/info.json"
    if info.is_file():
        features = json.loads(info.read_text())["features"]
        return {k: f["shape"][0] for k, f in features.items() if k.startswith("state.")}
    for path in staging.glob("episode-*.npz"):
        with np.load(path) as columns:
            return _state_sizes(columns)
    return None


def _state_sizes(columns: Mapping[str, np.ndarray]) -> dict[str, int]:
    names = (name for name in columns if name.startswith("state."))
    return {name: describe_column(name, columns[name])["shape"][0] for name in names}


def _check_same(there: DatasetInfo, new: DatasetInfo, path: Path) -> None:
    """Refuse to mix recordings of different kinds; key bindings may differ."""
    old, now = (replace(info, keys=[]).to_json() for info in (there, new))
    if not (old["recording"] and now["recording"]):
        old["recording"] = now["recording"] = {}
    different = {key: (old[key], now[key]) for key in old if old[key] != now.get(key)}
    if different:
        got = ", ".join(f"{k}={was!r} there, {is_!r} here" for k, (was, is_) in different.items())
        raise ValueError(
            f"{path} can only be continued with the settings it was begun with, got {got}; "
            "use the same settings, or another folder"
        )
