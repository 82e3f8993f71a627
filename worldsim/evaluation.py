"""Measure a world on recordings that it has not seen.

`rollout_quality` is the short answer, which chooses checkpoints. `evaluate` is the long one: it
takes every measure in `SECTIONS` and writes a report that opens without a server. What needs only
"frames and actions in, frames out" (`measure_fidelity` by way of `compare`) works on any
`Predict`, so another system can be measured by the same code.
"""

import inspect
import json
import shlex
import warnings
from collections.abc import Callable
from contextlib import closing
from copy import copy
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from worldsim.datasets.subsets import UNKNOWN, fingerprint, opened, tags
from worldsim.files import write_text
from worldsim.loading import as_world, find_world
from worldsim.machine import about_machine
from worldsim.measuring import calibration, control, drift, revisits, texts, trials
from worldsim.measuring.card import card_table, write_card
from worldsim.measuring.completing import measure_completion
from worldsim.measuring.draws import measure_draws
from worldsim.measuring.heldout import check_fit
from worldsim.measuring.likeness import (
    measure_fidelity,
    measure_fvd,
    measure_lpips,
    measure_tokenizer,
)
from worldsim.measuring.readings import measure_probe, measure_state
from worldsim.measuring.report import Report, check_folder
from worldsim.measuring.settings import EvaluateConfig
from worldsim.measuring.study import Skip, Study
from worldsim.rollout import Rollout
from worldsim.world import World


def evaluate(
    world: str | World,
    data: Any,
    out: str | Path | None = None,
    cfg: EvaluateConfig | None = None,
    **overrides: Any,
) -> Report:
    """Take all measures of a world.

    Args:
        world: A world, or a name, folder or Hub id.
        data: Held-out data set, or its path.
        out: Folder of the report; None writes nothing.
        cfg: What to measure.
        **overrides: Fields of `EvaluateConfig`, for short (`clips=16`).

    Returns:
        The report; `str(report)` prints its figures.

    Raises:
        FileNotFoundError: If there is no such world or data set.
        ValueError: If world and data do not fit each other, or episodes are too short.
        FileExistsError: If `out` holds something else than a report.
    """
    cfg = replace(cfg or EvaluateConfig(), **overrides)
    unknown = set(cfg.sections) - set(SECTIONS)
    if unknown:
        raise ValueError(
            f"`sections` must be among {', '.join(SECTIONS)}, got {', '.join(sorted(unknown))}"
        )
    extras = _extras(cfg)
    if out:
        check_folder(out)
    asked, folder = world, None if isinstance(world, World) else find_world(world)
    data, probe_data = _open(data), _open(cfg.probe_data) if cfg.probe_data else None
    _check_lengths(data, cfg)
    if cfg.keep and folder is None:
        raise ValueError("`keep` writes into a world's folder, got a `World`; pass its folder")
    world = as_world(folder or world, cfg.device)
    cfg = replace(cfg, world=str(asked) if folder else world.cfg.name)
    world = _as_played(world, cfg)
    check_fit(world, data, "data")
    if probe_data is not None:
        check_fit(world, probe_data, "probe_data")
        if fingerprint(probe_data) == fingerprint(data):
            raise ValueError(
                "`probe_data` is what the probe learns from and must be other recordings than "
                f"`data`, which it is tested on, got {cfg.probe_data} for both; record some more "
                "with another seed"
            )
    Rollout(world, 1, sampler_steps=cfg.sampler_steps or None, frame_size=data.info.frame_size)
    study = Study(world, data, cfg, probe_data, Path(out) if out else None)
    report = Report(_about(study))
    chosen = {name: f for name, f in SECTIONS.items() if not cfg.sections or name in cfg.sections}
    chosen |= extras
    with closing(study):
        for name, measure in tqdm(chosen.items(), "evaluate", disable=not cfg.progress):
            try:
                report.figures[name] = measure(study)
            except Skip as reason:
                report.figures[name] = {"left out": str(reason)}
            report.notes[name] = " ".join((inspect.getdoc(measure) or "").split())
    report.plots, report.strips = study.plots, study.strips
    report.card = card_table(report.to_json())
    doubt = report.figures.get("doubt", {})
    if cfg.keep and study.doubt:
        doubt["kept"] = _reason_not_to_keep(study, doubt) or "yes"
    if out:
        report.save(out)
        study.keep_probe()
    if cfg.keep:
        _keep(study, folder, report)
    return report


def _as_played(world: World, cfg: EvaluateConfig) -> World:
    """Return the world at the `variety` that is asked for, if any."""
    if cfg.variety is None:
        return world
    world = copy(world)
    world.cfg = replace(world.cfg, variety=cfg.variety)
    return world


def _reason_not_to_keep(study: Study, figures: dict[str, Any]) -> str:
    """Say why a world is better off with the alarm that it has."""
    usual = study.world.cfg.sampler_steps
    if study.cfg.variety is not None:
        return f"no: it was calibrated at variety={study.cfg.variety}; leave that out"
    if study.cfg.sampler_steps not in (0, usual):
        return f"no: it was calibrated at sampler_steps={study.cfg.sampler_steps}, not {usual}"
    auroc = figures["sign"]["doubt"]["auroc"]
    return "" if auroc > 0.5 else f"no: it does not tell wrong frames from right ones ({auroc:.2f})"


def _keep(study: Study, folder: Path, report: Report) -> None:
    """Write the card's table and the alarm's calibration into the world's folder."""
    if not study.cfg.sections:  # else rows would be missing
        write_card(folder / "README.md", report.card)
    if report.figures.get("doubt", {}).get("kept") == "yes":
        config = json.loads((folder / "config.json").read_text())
        write_text(
            folder / "config.json", json.dumps(config | {"doubt": study.doubt}, indent=2) + "\n"
        )


PATHS = ("probe_data", "lpips", "fvd")
NOT_ASKED = ("world", "data", "out", "device", "progress", "keep")  # settings that change no figure
SECTIONS: dict[str, Callable[[Study], dict[str, Any]]] = {
    "tokenizer": measure_tokenizer,
    "fidelity": measure_fidelity,
    "draws": measure_draws,
    "completion": measure_completion,
    "actions": control.measure_actions,
    "counterfactual": control.measure_counterfactual,
    "steering": control.measure_steering,
    "driving": control.measure_driving,
    "revisit": revisits.measure_revisit,
    "state": measure_state,
    "rewards": trials.measure_rewards,
    "text": texts.measure_text,
    "drift": drift.measure_drift,
    "doubt": calibration.measure_doubt,
    "time": trials.measure_time,
    "probe": measure_probe,
}


def _extras(cfg: EvaluateConfig) -> dict[str, Callable]:
    """Load what the user brought for LPIPS and FVD; fail before any work."""
    extras: dict[str, Callable] = {}
    for name, path, measure in (("lpips", cfg.lpips, measure_lpips), ("fvd", cfg.fvd, measure_fvd)):
        if not path:
            continue
        rule = f"`{name}` must be a TorchScript file of the metric's network, got {path!r}"
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"{rule}, which is not there; nothing is downloaded here: export it with "
                "torch.jit.save, or leave it empty"
            )
        try:
            network = torch.jit.load(path, map_location="cpu").eval()
        except RuntimeError as error:
            raise ValueError(f"{rule}, which is none; export it with torch.jit.save") from error
        extras[name] = lambda study, network=network, measure=measure: measure(study, network)
    return extras


def _place(path: Path) -> str:
    """Return a path as it may stand in a report: from where we are, without a machine's folders."""
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return path.name if path.is_absolute() else path.as_posix()


def _about(study: Study) -> dict[str, Any]:
    world, data, cfg = study.world, study.data, study.cfg
    path = Path(getattr(data, "path", "data"))
    given = [f"world={_place(Path(cfg.world))}", f"data={_place(path)}"]
    given += _overrides(cfg, EvaluateConfig())
    return {
        "data": f"{path.name}, {len(data)} episodes of {data.info.frame_size[1]}x"
        f"{data.info.frame_size[0]}{_learned_from(world, data)}",
        "sampler_steps": study.steps or world.cfg.sampler_steps,
        "variety": world.cfg.variety if study.draws else 0.0,
        "dtype": str(world.dtype).removeprefix("torch."),
        **about_machine(world),
        "command": f"worldsim evaluate {shlex.join(given)}",
    }


def _learned_from(world: World, data: Any) -> str:
    """Say how many of the episodes a world has learned from, if that is known; warn if any."""
    if not world.learned_from - {UNKNOWN}:
        return ""
    learned = sum(tag in world.learned_from for tag in tags(data))
    if learned:
        warnings.warn(
            f"`data` must be recordings that the world has not learned from, got {len(data)} of "
            f"which it has learned from {learned}: what is measured on those is no foresight; "
            "record some with another seed",
            stacklevel=4,
        )
    if not learned and UNKNOWN in world.learned_from:
        return ""
    return f", {learned or 'none'} of them learned from"


def _overrides(cfg: Any, default: Any, prefix: str = "") -> list[str]:
    """Write what differs from the default as a command takes it."""
    said = []
    for name in (f.name for f in fields(cfg)):
        value, usual = getattr(cfg, name), getattr(default, name)
        if is_dataclass(value):
            said += _overrides(value, usual, f"{name}.")
        elif value != usual and name not in NOT_ASKED:
            text = f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else value
            said.append(f"{prefix}{name}={_place(Path(text)) if name in PATHS else text}")
    return said


def _check_lengths(data: Any, cfg: EvaluateConfig) -> None:
    """Refuse horizons that most episodes are too short for."""
    most = int(np.median(data.lengths or [0])) + 1 - cfg.context
    if max(cfg.horizons) > most:
        fit = [h for h in cfg.horizons if h <= most]
        way = f"set horizons={','.join(map(str, fit))}" if fit else "lower `context` and `horizons`"
        raise ValueError(
            f"`horizons` must lie within what half of the episodes go on for after "
            f"{cfg.context} given frames, {most} frames, got {max(cfg.horizons)}; {way} or record "
            "longer episodes"
        )


def _open(data: Any) -> Any:
    try:
        return opened(data)
    except FileNotFoundError as error:
        error.add_note("seed=3000000 starts at episodes that no shipped world has learned from")
        raise
