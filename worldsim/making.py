"""Any env to a playable world, within the minutes given: the recipe of `worldsim make`.

    look at the env ── record ── tokenizer ── dynamics ── evaluate ── world folder

Beside the world's folder `out` lies `out.making` with all that led to it: recordings (`data` to
learn from, `test` to judge by), a folder for each training, and `make.json`, which remembers the
settings and the minutes spent. What is finished is not done again, so an interrupted `make` goes on
where it stopped.
"""

import itertools
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import Env
from omegaconf import MISSING

from worldsim.data import DatasetWriter, DiskDataset, open_dataset
from worldsim.datasets.episodes import DatasetInfo
from worldsim.datasets.observing import describe
from worldsim.evaluation import evaluate
from worldsim.filmed import ENV_ID, STRIDE, Filmed, choose_size, open_env
from worldsim.measuring.report import Report
from worldsim.model_card import save_with_card
from worldsim.notes import Notes
from worldsim.objective import ObjectiveConfig
from worldsim.policies import choose_policy
from worldsim.recipes import model_config, train_dynamics, train_tokenizer
from worldsim.recording import record_episode
from worldsim.spaces import Policy
from worldsim.training import WandbConfig
from worldsim.world import World, load

MOST_FRAMES = 30_000  # to learn from: more than a short training can look at
CLIPS = 64  # to judge by
TEST_SHARE, TEST_SEED = 0.1, 1_000_000  # of the recordings, and where their seeds begin
MOTION = 0.5  # half of each loss belongs to what moves, however small it is
# convolutions alone learn how things move at an eighth of the cost: most of a short training
OBJECTIVE = ObjectiveConfig(motion=MOTION, local_until=0.6, bootstrap_from=0.6)


@dataclass
class MakeConfig:
    """What to make a world of, and how long it may take."""

    env: str = MISSING
    """Id of an env such as ALE/Breakout-v5, or module:function that makes one."""
    out: str = MISSING
    """Folder of the world; an interrupted make goes on where it stopped."""
    minutes: float = 30.0
    """For everything, from the first recording to the last measure."""
    policy: str = ""
    """scripted, random, sticky, module:function, or a Stable-Baselines3 .zip; chosen if empty."""
    size: str = ""
    """Width x height of the frames such as 64x64; chosen if empty."""
    model_size: str = ""
    """tiny, quick, small or base; chosen if empty."""
    max_steps: int = 500
    """Truncate episodes after so many actions."""
    seed: int = 0
    device: str = ""
    """Where to train; chosen if empty."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the env, such as env_kwargs.mode=4."""

    def __post_init__(self) -> None:
        for name, usual in (("minutes", 30), ("max_steps", 500)):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"`{name}` must be above 0, got {getattr(self, name)}; try {usual}"
                )
        _ = self.frame_size  # refuses what cannot be read

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """`(h, w)` of `size`."""
        if not self.size:
            return None
        sides = self.size.lower().split("x")
        if len(sides) != 2 or not all(
            n.isdigit() and int(n) and not int(n) % STRIDE for n in sides
        ):
            raise ValueError(
                f"`size` must be width x height, multiples of {STRIDE} such as 96x64, got "
                f"{self.size!r}"
            )
        return int(sides[1]), int(sides[0])

    @property
    def folder(self) -> Path:
        """Where lies what leads to the world."""
        return Path(f"{self.out}.making")


def make_world(
    env: str | Env | Callable[[], Env],
    out: str | Path,
    *,
    policy: str | Policy = "",
    progress: bool = True,
    **settings: Any,
) -> World:
    """Make a playable world of an env.

    Args:
        env: An id for `gymnasium.make`, `module:function`, an env that renders `rgb_array`, or a
            callable that makes one, with whatever wrappers.
        out: Folder of the world; what led to it is kept beside it, in `<out>.making`.
        policy: "scripted" (the env's own driver), "random", "sticky", `module:function`, a
            Stable-Baselines3 file, or `policy(observation, rng) -> action`, which sees the env's
            own observations; chosen if empty.
        progress: Show a progress bar.
        **settings: Other fields of `MakeConfig` (`minutes=30`).

    Returns:
        The world, as saved in `out` with its model card.

    Raises:
        ValueError: If a setting makes no sense, or is not the one that `out` was begun with.
        FileExistsError: If `out` holds something that was not made here.
        KeyboardInterrupt: After Ctrl-C; the same call goes on.
    """
    cfg = MakeConfig(env=_name(env), out=str(out), policy=_name(policy), **settings)
    notes = Notes(cfg)
    if notes.data.get("done"):
        return load(cfg.out, cfg.device or None)
    device = cfg.device or ("cuda" if torch.cuda.is_available() else "cpu")
    filmed = film(env, cfg, most_pixels=96 * 64 if device == "cpu" else 128 * 96)
    acting = choose_policy(policy, filmed)
    info = describe_film(filmed, cfg, isinstance(env, str), acting)
    model = cfg.model_size or choose_model(device, cfg.minutes)
    shared = {
        "model": model_config(model),
        "device": device,
        "threads": max(1, _cores() // 2) if device == "cpu" else 0,
        "wandb": WandbConfig("disabled"),
        "save_minutes": 1.0,
    }
    tokenizer, dynamics = cfg.folder / "tokenizer", cfg.folder / "dynamics"
    with notes.bar(progress):
        with notes.stage("recording") as (minutes, show):
            data, test = record_both(filmed, acting, info, cfg, minutes, show)
        if not (tokenizer / "tokenizer.safetensors").exists():
            with notes.stage("tokenizer") as (minutes, show):
                train_tokenizer(
                    data, tokenizer, minutes=minutes, motion=MOTION, progress=show, **shared
                )
        if not (dynamics / "world/config.json").exists():
            with notes.stage("dynamics") as (minutes, show):
                train_dynamics(
                    data, tokenizer, dynamics, minutes=minutes, progress=show,
                    objective=OBJECTIVE, evaluate_minutes=minutes,
                    batch_size=4 if device == "cpu" else 16, **shared,
                )  # fmt: skip
        with notes.stage("evaluating"):
            world = load(dynamics / "world", device)
            world.cfg = replace(world.cfg, name=Path(out).name, keys=info.keys)
            report = judge(world, test, cfg.folder / "report")
    save_with_card(world, Path(cfg.out), report, data, notes.data | {"model": model})
    notes.write(done=True)
    filmed.close()
    return load(cfg.out, cfg.device or None)


def film(env: str | Env | Callable[[], Env], cfg: MakeConfig, most_pixels: int) -> Filmed:
    """Open an env in the size and at the pace of a world: at most 30 frames a second.

    Raises:
        TypeError: If it is no env and makes none.
    """
    if isinstance(env, str):
        env = open_env(env, **cfg.env_kwargs)
    elif not isinstance(env, Env):
        env = env()
    if not isinstance(env, Env):
        raise TypeError(
            f"`env` must be an id, a gymnasium.Env or a callable that makes one, got {env!r}"
        )
    size = cfg.frame_size or choose_size(Filmed(env).frame_size, most_pixels)
    return Filmed(env, size, repeat=int(np.ceil((env.metadata.get("render_fps") or 30) / 30)))


def choose_model(device: str, minutes: float) -> str:
    """Choose the size of a model that learns something in the time there is."""
    if minutes < 5:
        return "tiny"
    if device != "cpu":
        return "base"
    return "small" if minutes * _cores() >= 480 else "quick"


def describe_film(env: Filmed, cfg: MakeConfig, by_name: bool, policy: str | Policy) -> DatasetInfo:
    """Say what the recordings share; an env that has a name can be rebuilt from it."""
    from worldsim.viewing.keyboard import named_bindings

    info = describe(env, policy, cfg.seed, cfg.max_steps)
    made = {"env": cfg.env, "frame_size": list(info.frame_size), "repeat": env.repeat}
    return replace(
        info,
        env_id=ENV_ID if by_name else "",
        env_kwargs=made | cfg.env_kwargs if by_name else {},
        keys=named_bindings(env),
        recording={"policy": cfg.policy or policy, "seed": cfg.seed, "max_steps": cfg.max_steps},
    )


def record_both(
    env: Filmed,
    policy: str | Policy,
    info: DatasetInfo,
    cfg: MakeConfig,
    minutes: float,
    show: Callable[[float], None],
) -> tuple[DiskDataset, DiskDataset]:
    """Record what to judge by, then what to learn from."""
    parts = {
        "test": (TEST_SEED + cfg.seed, TEST_SHARE, lambda x: show(TEST_SHARE * x)),
        "data": (cfg.seed, 1 - TEST_SHARE, lambda x: show(TEST_SHARE + (1 - TEST_SHARE) * x)),
    }
    sets = {}
    for name, (seed, share, tell) in parts.items():
        info = replace(info, recording=info.recording | {"seed": seed})
        frames, seconds = round(share * MOST_FRAMES), 60 * share * minutes
        sets[name] = record_for(env, policy, info, cfg.folder / name, frames, seconds, tell)
    return sets["data"], sets["test"]


def record_for(
    env: Filmed,
    policy: str | Policy,
    info: DatasetInfo,
    path: Path,
    frames: int,
    seconds: float,
    show: Callable[[float], None],
) -> DiskDataset:
    """Record episodes until there are enough frames or the time is over, but at least four."""
    if (path / "meta/info.json").exists():
        return open_dataset(path)
    writer, tally = DatasetWriter(path, info), path.with_name(f"{path.name}.json")
    done = json.loads(tally.read_text()) if tally.exists() else {"frames": 0, "seconds": 0.0}
    first, max_steps = info.recording["seed"], info.recording["max_steps"]
    for index in itertools.count(writer.written):
        share = max(done["frames"] / frames, done["seconds"] / seconds)
        if share >= 1 and index >= 4:
            break
        show(share)
        began = time.monotonic()
        episode = record_episode(env, policy, first + index, max_steps)
        writer.append(episode)
        done["frames"] += len(episode) + 1
        done["seconds"] += time.monotonic() - began
        tally.write_text(json.dumps(done))
    return writer.close()


def judge(world: World, test: DiskDataset, out: Path) -> Report:
    """Measure a world on the recordings kept for that, as far as their episodes are long enough."""
    longest = int(np.median(test.lengths)) + 1
    context = min(16, longest // 2)
    horizons = tuple(h for h in (1, 4, 16) if h <= longest - context)
    return evaluate(
        world, test, out, sections=("tokenizer", "fidelity", "actions"), horizons=horizons,
        clips=CLIPS, context=context, replays=0, progress=False,
    )  # fmt: skip


def _name(given: Any) -> str:
    """Return a name for what was given as an object, to be recognised by at the next start."""
    if isinstance(given, str | Path):
        return str(given)
    kind = given if hasattr(given, "__qualname__") else type(getattr(given, "unwrapped", given))
    return f"{kind.__module__}.{kind.__qualname__}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
