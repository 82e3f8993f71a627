"""Any env to a playable world, within the minutes given: the recipe of `worldsim make`.

    look at the env ── record ── tokenizer ── dynamics ── evaluate ── world folder

Beside the world's folder `out` lies `out.making` with all that led to it: recordings (`data` to
learn from, `data-96x64` for frames of another size, `test` to judge by), a folder for each
training, and `make.json`, which remembers the settings and the minutes spent. What is finished is
not done again, so an interrupted `make` goes on where it stopped.

A make can also go on from a world made before (`init`), as where an agent that learned in that one
acts in new recordings: world and agent get better by turns.

References:
    Dyna, Sutton 1991, https://doi.org/10.1145/122344.122377
    Simulated policy learning, Kaiser et al. 2019, https://arxiv.org/abs/1903.00374, algorithm 1
"""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import Env

from worldsim.building import assemble
from worldsim.clips import action_scaling
from worldsim.corruption import ObjectiveConfig
from worldsim.data import DiskDataset, open_dataset
from worldsim.devices import choose_device, has_bf16
from worldsim.dynamics import Dynamics
from worldsim.evaluation import evaluate
from worldsim.footage import look_at, record_all
from worldsim.loading import load
from worldsim.logs import WandbConfig
from worldsim.machine import cores, median_ms
from worldsim.make_config import MakeConfig, folder_beside, line_of
from worldsim.measuring.heldout import usual_frames
from worldsim.measuring.report import Report
from worldsim.model_card import save_with_card
from worldsim.notes import Notes
from worldsim.preparing import check_text, load_tokenizer
from worldsim.recipes import played, train_dynamics, train_tokenizer
from worldsim.rollout import Rollout
from worldsim.sizes import ModelConfig, model_config
from worldsim.spaces import Policy
from worldsim.world import World

CLIPS = 64  # to judge by
CLIPS_ON_GPU = 16  # that a train step learns from there, at once or one part after another
DREAM = 256  # frames for which a dream is asked to last
MOTION = 0.5  # half of each loss belongs to what moves, however small it is
# what a frame earns, and whether it is the last one, has less time than in a long training
OBJECTIVE = ObjectiveConfig(motion=MOTION, reward_weight=0.2, termination_weight=0.5)


def make_world(
    env: str | Env | Callable[[], Env],
    out: str | Path,
    *,
    init: str | Path = "",
    policy: str | Path | Policy = "",
    progress: bool = True,
    **settings: Any,
) -> World:
    """Make a playable world of an env.

    Args:
        env: An id for `gymnasium.make`, `module:function`, an env that renders `rgb_array`, or a
            callable that makes one, with whatever wrappers. Several sizes or workers need to make
            it more than once. Empty is that of `init`, where it has a name.
        out: Folder of the world; what led to it is kept beside it, in `<out>.making`.
        init: Folder of a world made so before, to go on from: its weights are where this one
            begins, and its recordings are learned from beside the new ones.
        policy: "scripted" (the env's own driver), "random", "sticky", "keys", `module:function`, a
            Stable-Baselines3 file, or `policy(observation, rng) -> action`, which sees the env's
            own observations; chosen if empty.
        progress: Show a progress bar.
        **settings: Other fields of `MakeConfig` (`minutes=30`).

    Returns:
        The world, as saved in `out` with its model card.

    Raises:
        ValueError: If a setting makes no sense, or is not the one that `out` was begun with.
        FileNotFoundError: If `init` is no world that was made so.
        FileExistsError: If `out` holds something that was not made here.
        KeyboardInterrupt: After Ctrl-C; the same call goes on.
    """
    names = {"env": _name(env), "policy": _name(policy), "init": str(init or "")}
    cfg = MakeConfig(out=str(out), **names, **settings)
    device = str(choose_device(cfg.device))
    notes = Notes(cfg)
    if notes.data.get("done") and (Path(cfg.out) / "config.json").exists():
        return load(cfg.out, device)
    most = 96 * 64 if device == "cpu" else 128 * 96
    usual = {"model": choose_model(device, cfg.minutes), "pixels": most}
    chosen = notes.data.setdefault("chosen", usual)  # a make goes on with what it was begun with
    model = cfg.model_size or chosen["model"]
    model_config(model)  # refuses what there is none of
    by_name = isinstance(env, str) and isinstance(policy, str | Path)
    notes.data["by_name"] = isinstance(env, str)
    earlier = recorded_before(cfg)
    seed = max([cfg.seed, *(part.info.recording["seed"] + len(part) for part in earlier)])
    footage = look_at(env or cfg.env, cfg, policy, chosen["pixels"], seed)
    with notes.bar(progress):
        try:
            with notes.stage("recording") as (minutes, show):
                *sets, test = record_all(footage, cfg.folder, minutes, show)
        finally:
            if footage.opened.env is not env:  # somebody else's stays open
                footage.opened.close()
        if np.median(test.lengths) < 2:
            raise ValueError(
                "most episodes must last for 2 steps or more, else there is nothing to predict, "
                f"got a median of {np.median(test.lengths):g}; make a world of an env that goes on"
            )
        sets += earlier
        folder = train(cfg, notes, sets, model, device)
        with notes.stage("evaluating"):
            world = load(folder, device)
            world.cfg = replace(world.cfg, name=Path(out).name, keys=footage.info.keys)
            report = judge(world, test, cfg.folder / "report")
    about = notes.data | {"model": model, "command": cfg.command(by_name)}
    save_with_card(world, Path(cfg.out), report, sets, about)
    notes.write(done=True)
    return load(cfg.out, device)


def recorded_before(cfg: MakeConfig) -> list[DiskDataset]:
    """Open what the world to go on from was made of, and all before it, each in all its sizes."""
    folders = line_of(cfg.init)
    said = [path for made in folders for path in sorted(made.glob("data*/meta/info.json"))]
    return [open_dataset(path.parent.parent) for path in said]


def train(cfg: MakeConfig, notes: Notes, sets: list[DiskDataset], model: str, device: str) -> Path:
    """Train tokenizer and dynamics, or what of it is not done yet; return the world's folder.

    What goes on from another world sees by that one's tokenizer, whose latents its dynamics know.
    """
    check_text(*sets)
    data, *more = sets
    shared = {
        "more": more,
        "model": model_config(model),
        "device": device,
        "threads": max(1, cores() // 2) if device == "cpu" else 0,
        "wandb": WandbConfig("disabled"),
        "save_minutes": 1.0,
    }
    *_, origin = cfg.folder, *line_of(cfg.init)
    tokenizer, dynamics = origin / "tokenizer", cfg.folder / "dynamics"
    if not (tokenizer / "tokenizer.safetensors").exists():
        with notes.stage("tokenizer") as (minutes, show):
            train_tokenizer(
                data, tokenizer, minutes=minutes, motion=MOTION, progress=show,
                batch_size=32 if device == "cpu" else 128, **shared,
            )  # fmt: skip
    if not (dynamics / "world/config.json").exists():
        beside = partial(overhead, sets, tokenizer, shared["model"], device)
        pixels = max(h * w for h, w in (part.info.frame_size for part in sets))
        clips = 4 if device == "cpu" else clips_at_once(device, pixels)
        with notes.stage("dynamics", beside) as (minutes, show):
            train_dynamics(
                data, tokenizer, dynamics, minutes=minutes, progress=show, objective=OBJECTIVE,
                init=folder_beside(cfg.init) / "dynamics" if cfg.init else None,
                evaluate_minutes=minutes, batch_size=clips,
                accumulate=1 if device == "cpu" else CLIPS_ON_GPU // clips, **shared,
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


def clips_at_once(device: str, pixels: int) -> int:
    """Return how many clips of frames of so many pixels a GPU learns from at once.

    One of 64 frames of 64x64, with two drafts of each, keeps 3.5 GiB for the way back through
    `base`.
    """
    room = torch.cuda.mem_get_info(device)[0] / 2**30
    return max(2, min(CLIPS_ON_GPU, int(room / (4.5 * pixels / 64**2))))


def choose_model(device: str, minutes: float) -> str:
    """Choose the size of a model that learns something in the time there is."""
    if minutes < 5:
        return "tiny"
    if device != "cpu":
        return "base" if minutes >= 20 and has_bf16(torch.device(device)) else "small"
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


def _name(given: Any) -> str:
    """Return a name for what was given as an object, to be recognised by at the next start."""
    if isinstance(given, str | Path):
        return str(given)
    if isinstance(given, partial):
        said = [*map(repr, given.args), *(f"{k}={v!r}" for k, v in given.keywords.items())]
        return re.sub(r" at 0x\w+", "", f"{_name(given.func)}({', '.join(said)})")
    if isinstance(given, Env) and given is not given.unwrapped:
        return str(given)  # with its wrappers
    kind = given if hasattr(given, "__qualname__") else type(given)
    return f"{kind.__module__}.{kind.__qualname__}"
