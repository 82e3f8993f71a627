"""`worldsim record` and `worldsim data ...`: recordings made, described, drawn, joined, parted."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import MISSING

import worldsim  # its public names load what they need when they are used
from worldsim.limits import read_size


@dataclass
class RecordConfig:
    """What to record, and how."""

    env: str = "worldsim/Drive-v0"
    """Id of the env, such as `worldsim/Drive-v0`, or module:function that makes one."""
    out: str = MISSING
    """Folder of the data set; an interrupted recording goes on where it stopped."""
    episodes: int = 100
    """Episodes that the data set holds in the end."""
    policy: str = "scripted"
    """scripted (the env's own driver), random, sticky (random, held for some ten steps), keys
    (what up to two random keys stand for, held as long), module:function, or a Stable-Baselines3
    .zip."""
    workers: int = 1
    """Processes that record."""
    seed: int = 0
    """Episode `i` is recorded with `seed + i`."""
    max_steps: int | None = None
    """Truncate episodes after so many steps; null leaves it to the env."""
    quality: str = "training"
    """Of the videos: training, lossless, or people."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the env, such as env_kwargs.scene.biome=desert."""


def record(cfg: RecordConfig) -> None:
    """Record a data set and describe it."""
    from worldsim.filmed import open_env

    env = partial(open_env, cfg.env, **cfg.env_kwargs) if cfg.env_kwargs else cfg.env
    dataset = worldsim.record(
        env, cfg.out, episodes=cfg.episodes, policy=cfg.policy, workers=cfg.workers,
        seed=cfg.seed, max_steps=cfg.max_steps, quality=cfg.quality,
    )  # fmt: skip
    _tell(cfg.out, dataset, look=True)


@dataclass
class InspectConfig:
    """Which data set to describe."""

    path: str = MISSING
    """Folder of the data set."""


def inspect_data(cfg: InspectConfig) -> None:
    """Print a table of features, episodes, captions and actions."""
    print(worldsim.inspect(worldsim.open_dataset(cfg.path)))


@dataclass
class PreviewConfig:
    """Which data set to draw, and where to."""

    path: str = MISSING
    """Folder of the data set."""
    out: str = "out/preview.png"
    """A .png or .jpg gets a contact sheet, an .mp4 gets a film; both show the actions."""
    episodes: int = 6
    """Episodes to draw, evenly spaced."""
    columns: int = 8
    """Frames per episode on a contact sheet."""
    seconds: float = 20.0
    """Length of a film."""


def preview_data(cfg: PreviewConfig) -> None:
    """Draw episodes of a data set into a file."""
    path = worldsim.preview(
        worldsim.open_dataset(cfg.path), cfg.out,
        episodes=cfg.episodes, columns=cfg.columns, seconds=cfg.seconds,
    )  # fmt: skip
    print(path)


@dataclass
class ConvertConfig:
    """What to convert, and into what."""

    path: str = MISSING
    """A folder of videos with what is known of them, or a LeRobot v3 data set."""
    out: str = MISSING
    """Folder of the new data set; an interrupted conversion goes on where it stopped."""
    fps: int = 0
    """Frames per second; 0 takes the slowest video's, at most 30."""
    size: str | None = None
    """Width x height such as 96x64; null chooses."""
    video_key: str | None = None
    """Which of a LeRobot data set's videos to take; null takes the first."""


def convert_data(cfg: ConvertConfig) -> None:
    """Convert recordings."""
    size = read_size(cfg.size) if cfg.size else None
    dataset = worldsim.convert(
        cfg.path, cfg.out, fps=cfg.fps, frame_size=size, video_key=cfg.video_key
    )
    _tell(cfg.out, dataset, look=True)


@dataclass
class MergeConfig:
    """Which data sets to join."""

    paths: tuple[str, ...] = ()
    """Folders of data sets, such as [data/a,data/b]."""
    out: str = MISSING
    """Folder of the new data set."""


def merge_data(cfg: MergeConfig) -> None:
    """Join data sets."""
    _tell(cfg.out, worldsim.merge(cfg.paths, cfg.out))


@dataclass
class SplitConfig:
    """How to part a data set."""

    path: str = MISSING
    """Folder of the data set, which stays as it is."""
    out: str = ""
    """The parts become <out>-train and <out>-test; `path` if empty."""
    test: float = 0.1
    """Share of the episodes to judge by."""
    seed: int = 0
    """Chooses them."""


def split_data(cfg: SplitConfig) -> None:
    """Part a data set in two."""
    for part in worldsim.split(cfg.path, cfg.out or cfg.path, test=cfg.test, seed=cfg.seed):
        _tell(part.path, part)


def _tell(path: str | Path, dataset: Any, look: bool = False) -> None:
    """Say what a data set holds, and where to look at it."""
    print(f"{path}: {len(dataset)} episodes, {sum(dataset.lengths):,} steps")
    if look:
        print(f"look at them: worldsim data preview path={path}")
