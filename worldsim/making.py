"""Any env to a playable world, within the minutes given: the recipe of `worldsim make`.

    look at the env ── record ── tokenizer ── dynamics ── evaluate ── world folder

Beside the world's folder `out` lies `out.making` with all that led to it: recordings (`data` to
learn from, `data-96x64` for frames of another size, `test` to judge by), a folder for each
training, and `make.json`, which remembers the settings and the minutes spent. What is finished is
not done again, so an interrupted `make` goes on where it stopped.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import Env
from omegaconf import MISSING

from worldsim.building import assemble
from worldsim.clips import action_scaling
from worldsim.data import DiskDataset
from worldsim.dynamics import Dynamics
from worldsim.evaluation import evaluate
from worldsim.filmed import STRIDE
from worldsim.footage import look_at, record_all
from worldsim.limits import check_cells, read_size
from worldsim.loading import load
from worldsim.logs import WandbConfig
from worldsim.machine import cores, median_ms
from worldsim.measuring.heldout import usual_frames
from worldsim.measuring.report import Report
from worldsim.model_card import save_with_card
from worldsim.notes import Notes
from worldsim.objective import ObjectiveConfig
from worldsim.preparing import check_text, load_tokenizer
from worldsim.recipes import ModelConfig, model_config, played, train_dynamics, train_tokenizer
from worldsim.rollout import Rollout
from worldsim.spaces import Policy
from worldsim.world import World, choose_device

CLIPS = 64  # to judge by
DREAM = 256  # frames for which a dream is asked to last
MOTION = 0.5  # half of each loss belongs to what moves, however small it is
# what a frame earns, and whether it is the last one, has less time than in a long training
OBJECTIVE = ObjectiveConfig(motion=MOTION, reward_weight=0.2, termination_weight=0.5)


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
    """scripted, random, sticky, keys, module:function, or a Stable-Baselines3 .zip; chosen if
    empty."""
    size: str = ""
    """Width x height of the frames such as 64x64, or several such as 64x64,96x64 for a world of all
    of them, the first one in the main; chosen if empty."""
    model_size: str = ""
    """tiny, quick, small or base; chosen if empty."""
    max_steps: int = 500
    """Truncate episodes after so many actions."""
    workers: int = 1
    """Processes that record."""
    seed: int = 0
    device: str = ""
    """Where to train; chosen if empty."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the env, such as env_kwargs.mode=4."""

    def __post_init__(self) -> None:
        for name, usual in (("minutes", 30), ("max_steps", 500), ("workers", 2)):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"`{name}` must be above 0, got {getattr(self, name)}; try {usual}"
                )
        _ = self.sizes  # refuses what cannot be read
        taken = {"frame_size", "env", "repeat", "render_mode"} & set(self.env_kwargs)
        if taken:
            raise ValueError(
                f"`env_kwargs` must leave {', '.join(sorted(taken))} to `make`, got "
                f"{self.env_kwargs}; the size of frames is set by size=96x64"
            )

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """`(h, w)` of each size in `size`."""
        texts = self.size.replace(" ", "").split(",") if self.size else ()
        sizes = tuple(map(read_size, texts))
        for size in sizes:
            check_cells(size, STRIDE)
        if len(set(sizes)) < len(sizes):
            raise ValueError(f"`size` must not name a size twice, got {self.size!r}")
        return sizes

    def said(self, by_name: bool) -> str:
        """Return the command that makes the same, or the call, where env or policy has no name."""
        usual, words = MakeConfig(), []
        asked = {k: v for k, v in vars(self).items() if k == "minutes" or v != getattr(usual, k)}
        if not by_name:
            objects = [f"{k}={asked.pop(k)}" for k in ("env", "policy") if k in asked]
            words = objects + [f"{k}={v!r}" for k, v in asked.items()]
            return f"worldsim.make_world({', '.join(words)})"
        for name, value in asked.items():
            if name == "env_kwargs":
                words += _dotted(name, value)
            else:
                words.append(f"{name}={value:g}" if name == "minutes" else f"{name}={value}")
        return shlex.join(["worldsim", "make", *words])

    @property
    def folder(self) -> Path:
        """Where lies what leads to the world."""
        return Path(f"{Path(self.out)}.making")


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
            callable that makes one, with whatever wrappers. Several sizes or workers need to make
            it more than once.
        out: Folder of the world; what led to it is kept beside it, in `<out>.making`.
        policy: "scripted" (the env's own driver), "random", "sticky", "keys", `module:function`, a
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
    device = str(choose_device(cfg.device))
    notes = Notes(cfg)
    if notes.data.get("done") and (Path(cfg.out) / "config.json").exists():
        return load(cfg.out, device)
    most = 96 * 64 if device == "cpu" else 128 * 96
    usual = {"model": choose_model(device, cfg.minutes), "pixels": most}
    chosen = notes.data.setdefault("chosen", usual)  # a make goes on with what it was begun with
    model = cfg.model_size or chosen["model"]
    model_config(model)  # refuses what there is none of
    footage = look_at(env, cfg, policy, chosen["pixels"])
    with notes.bar(progress):
        try:
            with notes.stage("recording") as (minutes, show):
                data, more, test = record_all(footage, cfg.folder, minutes, show)
        finally:
            if footage.opened.env is not env:  # somebody else's stays open
                footage.opened.close()
        if np.median(test.lengths) < 2:
            raise ValueError(
                "most episodes must last for 2 steps or more, else nothing can be foreseen, got "
                f"a median of {np.median(test.lengths):g}; make a world of an env that goes on"
            )
        folder = train(cfg.folder, notes, data, more, model, device)
        with notes.stage("evaluating"):
            world = load(folder, device)
            world.cfg = replace(world.cfg, name=Path(out).name, keys=footage.info.keys)
            report = judge(world, test, cfg.folder / "report")
    by_name = isinstance(env, str) and isinstance(policy, str | Path)
    about = notes.data | {"model": model, "command": cfg.said(by_name)}
    save_with_card(world, Path(cfg.out), report, [data, *more], about)
    notes.write(done=True)
    return load(cfg.out, device)


def train(
    out: Path, notes: Notes, data: DiskDataset, more: list[DiskDataset], model: str, device: str
) -> Path:
    """Train tokenizer and dynamics, or what of it is not done yet; return the world's folder."""
    check_text(data, *more)
    shared = {
        "more": more,
        "model": model_config(model),
        "device": device,
        "threads": max(1, cores() // 2) if device == "cpu" else 0,
        "wandb": WandbConfig("disabled"),
        "save_minutes": 1.0,
    }
    tokenizer, dynamics = out / "tokenizer", out / "dynamics"
    if not (tokenizer / "tokenizer.safetensors").exists():
        with notes.stage("tokenizer") as (minutes, show):
            train_tokenizer(
                data, tokenizer, minutes=minutes, motion=MOTION, progress=show, **shared
            )
    if not (dynamics / "world/config.json").exists():
        beside = partial(overhead, [data, *more], tokenizer, shared["model"], device)
        with notes.stage("dynamics", beside) as (minutes, show):
            train_dynamics(
                data, tokenizer, dynamics, minutes=minutes, progress=show, objective=OBJECTIVE,
                evaluate_minutes=minutes, batch_size=4 if device == "cpu" else 16, **shared,
            )  # fmt: skip
    return dynamics / "world"


def overhead(data: list[DiskDataset], tokenizer: Path, model: ModelConfig, device: str) -> float:
    """Estimate the minutes that it takes to encode recordings and to judge a world, by a sample."""
    eyes = load_tokenizer(tokenizer).to(device)
    arch = replace(
        model.dynamics, channels=eyes.cfg.channels, action_dim=len(action_scaling(data[0])[0])
    )
    world = assemble(data[0], *played(eyes, Dynamics(arch).to(device)), name="untrained")
    rollout = Rollout(world, CLIPS)
    films = torch.zeros(CLIPS, *world.cfg.frame_size, 3, dtype=torch.uint8, device=device)
    calls = partial(world.encode, films), partial(rollout.step, torch.zeros_like(rollout.action))
    encoding, stepping = (median_ms(call, 0.5, world.device) / 60_000 for call in calls)
    frames = sum(sum(part.lengths) + len(part) for part in data)
    judged = 5 * 16 + DREAM + DREAM / 4  # of five ways to act, of dreams, and those encoded again
    return 1.2 * (frames / CLIPS * encoding + judged * stepping)


def choose_model(device: str, minutes: float) -> str:
    """Choose the size of a model that learns something in the time there is."""
    if minutes < 5:
        return "tiny"
    if device != "cpu":
        return "base"
    return "small" if minutes * cores() >= 480 else "quick"


def judge(world: World, test: DiskDataset, out: Path) -> Report:
    """Measure a world on the recordings kept for that, as far as their episodes are long enough."""
    longest = usual_frames(test)
    context = max(2, min(16, longest // 2))
    horizons = tuple(h for h in (1, 4, 16) if h <= longest - context)
    drift = ("drift",) if longest > DREAM else ()  # after an ending nothing is right or wrong
    return evaluate(
        world, test, out, sections=("tokenizer", "fidelity", "actions", *drift), horizons=horizons,
        clips=CLIPS, context=context, replays=0, drift_frames=DREAM, progress=False,
    )  # fmt: skip


def _dotted(name: str, value: Any) -> list[str]:
    """Write a setting, which may hold others, as words of a command."""
    if isinstance(value, dict):
        return [word for key, part in value.items() for word in _dotted(f"{name}.{key}", part)]
    return [f"{name}={'null' if value is None else value}"]


def _name(given: Any) -> str:
    """Return a name for what was given as an object, to be recognised by at the next start."""
    if isinstance(given, str | Path):
        return str(given)
    kind = given if hasattr(given, "__qualname__") else type(getattr(given, "unwrapped", given))
    return f"{kind.__module__}.{kind.__qualname__}"
