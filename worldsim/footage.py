"""What a make learns from and is judged by: an env filmed for as long as there is time.

An env that has a name can be rebuilt, so several processes record it at once. One whose constructor
takes `frame_size`, as those of worldsim do, then draws every size itself; others are resized.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from gymnasium import Env

from worldsim.data import DiskDataset, open_dataset
from worldsim.datasets.episodes import DatasetInfo
from worldsim.datasets.observing import describe
from worldsim.datasets.writing import DatasetWriter
from worldsim.files import write_text
from worldsim.filmed import ENV_ID, Filmed, choose_size, open_any, open_filmed
from worldsim.make_config import MakeConfig
from worldsim.policies import choose_policy
from worldsim.recording import Job, open_setup, run_job
from worldsim.spaces import Policy

MOST_FRAMES = 30_000  # for each process that records: more than a short training can look at
LEAST_EPISODES = 4  # in each data set
TEST_SHARE, TEST_SEED = 0.1, 1_000_000  # of the recordings, and where their seeds begin
OTHER_SEEDS = 100_000  # by how much those of another size are others
OTHER_SIZES = 0.2  # of what is learned from, where frames of several sizes are


@dataclass(frozen=True)
class Footage:
    """How to record an env.

    Attributes:
        opened: The env, filmed in the first size.
        reopen: Makes it in a size `(h, w)`; goes to other processes by pickle.
        policy: Who acts, as `choose_policy` takes it.
        info: What recordings in the first size share.
        sizes: `(h, w)` of the frames.
        workers: Processes that record.
    """

    opened: Filmed
    reopen: Callable[[tuple[int, int]], Filmed]
    policy: str | Policy
    info: DatasetInfo
    sizes: tuple[tuple[int, int], ...]
    workers: int


def look_at(
    env: str | Env | Callable[[], Env],
    cfg: MakeConfig,
    policy: str | Policy,
    pixels: int,
    seed: int,
) -> Footage:
    """Open an env in the sizes and at the pace of a world: at most 30 frames a second.

    Args:
        env: As `make_world` takes it.
        cfg: Its settings.
        policy: As `make_world` takes it.
        pixels: How many a frame may have whose size is not given.
        seed: Of the first episode.

    Raises:
        TypeError: If it is no env and makes none.
        ValueError: If it cannot be made a second time where that is needed.
    """
    if cfg.env_kwargs and not isinstance(env, str):
        raise ValueError(
            f"`env_kwargs` are for an env made by name, got {cfg.env_kwargs}; make yours with them"
        )
    first = open_any(env, **cfg.env_kwargs)
    repeat = int(np.ceil((first.metadata.get("render_fps") or 30) / 30))
    sizes = cfg.sizes or (choose_size(Filmed(first).frame_size, pixels),)
    if isinstance(env, str):
        reopen = partial(open_filmed, env, repeat=repeat, **cfg.env_kwargs)
        first.close()
        filmed = reopen(sizes[0])
    elif isinstance(env, Env) and (len(sizes) > 1 or cfg.workers > 1):
        raise ValueError(
            "an env object can only be filmed in one size, by one process, got "
            f"{len(sizes)} sizes and workers={cfg.workers}; pass a callable that makes it"
        )
    else:
        reopen = partial(_film, env, repeat)
        filmed = Filmed(first, sizes[0], repeat)
    chosen = choose_policy(policy, filmed)  # refuses what this env does not know
    info = _describe(filmed, cfg, isinstance(env, str), cfg.policy or chosen, seed)
    return Footage(filmed, reopen, policy or chosen, info, sizes, cfg.workers)


def record_all(
    footage: Footage, folder: Path, minutes: float, show: Callable[[float], None]
) -> list[DiskDataset]:
    """Record what to learn from, the same in other sizes, and last what to judge by.

    Args:
        footage: What to record, and how.
        folder: Of the data sets; finished ones are taken as they are, others go on.
        minutes: For all of them.
        show: Told the share of the time that is spent.
    """
    first, *others = footage.sizes
    rest = OTHER_SIZES / len(others) if others else 0.0
    plan = [("test", TEST_SEED, first, TEST_SHARE)]
    plan += [("data", 0, first, (1 - TEST_SHARE) * (1 - (OTHER_SIZES if others else 0)))]
    plan += [
        (f"data-{w}x{h}", OTHER_SEEDS * i, (h, w), (1 - TEST_SHARE) * rest)
        for i, (h, w) in enumerate(others, 1)
    ]
    sets, before = [], 0.0
    for name, seed, size, share in plan:
        tell = lambda x, before=before, share=share: show(before + share * x)  # noqa: E731
        sets.append(_record(footage, folder / name, seed, size, share, 60 * minutes, tell))
        before += share
    test, *learned = sets
    return [*learned, test]


def _record(
    footage: Footage,
    path: Path,
    seed: int,
    size: tuple[int, int],
    share: float,
    seconds: float,
    show: Callable[[float], None],
) -> DiskDataset:
    """Record episodes until there are enough frames or the time is over, but at least four."""
    if (path / "meta/info.json").exists():
        return open_dataset(path)
    most = round(share * MOST_FRAMES * footage.workers)
    recording = footage.info.recording
    seed += recording["seed"]
    info = replace(footage.info, frame_size=size, recording=recording | {"seed": seed})
    if "frame_size" in info.env_kwargs:
        info = replace(info, env_kwargs=info.env_kwargs | {"frame_size": list(size)})
    writer, tally = DatasetWriter(path, info), path.with_name(f"{path.name}.json")
    done = json.loads(tally.read_text()) if tally.exists() else {"frames": 0, "seconds": 0.0}
    spent = lambda: max(done["frames"] / most, done["seconds"] / (share * seconds))  # noqa: E731

    begun = max(LEAST_EPISODES, writer.reach)  # a gap before what is there would cost it

    def pieces() -> Iterator[int]:
        for index in writer.missing(most + LEAST_EPISODES):
            if spent() >= 1 and index >= begun:
                return
            yield index

    stage = partial(open_setup, find=choose_policy, policy=footage.policy)
    again = partial(stage, partial(footage.reopen, size))
    job = Job(again, seed, recording["max_steps"], (writer.staging, info))
    here = stage(lambda: footage.opened) if size == footage.sizes[0] else None
    last = time.monotonic()
    with writer:
        for _, length in run_job(job, pieces(), footage.workers, here):
            done["frames"] += length + 1
            done["seconds"] += -last + (last := time.monotonic())
            write_text(tally, json.dumps(done))
            show(spent())
        return writer.close()


def _film(make: Callable[[], Env], repeat: int, size: tuple[int, int]) -> Filmed:
    return Filmed(make(), size, repeat)


def _describe(env: Filmed, cfg: MakeConfig, by_name: bool, policy: str, seed: int) -> DatasetInfo:
    """Say what the recordings share; an env that has a name can be rebuilt from it."""
    from worldsim.keyboard import key_bindings, name_bindings

    info = describe(env, policy, seed, cfg.max_steps)
    made = {"env": cfg.env, "frame_size": list(info.frame_size), "repeat": env.repeat}
    return replace(
        info,
        env_id=ENV_ID if by_name else "",
        env_kwargs=made | cfg.env_kwargs if by_name else {},
        keys=name_bindings(key_bindings(env)),
    )
