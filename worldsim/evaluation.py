"""Measure a world on recordings that it has not seen.

`rollout_quality` is the short answer, which chooses checkpoints. `evaluate` is the long one: it
takes every measure in `SECTIONS` and writes a report that opens without a server. What needs only
"frames and actions in, frames out" (`measure_fidelity` by way of `compare`) works on any
`Predict`, so another system can be measured by the same code.
"""

import inspect
import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from tqdm import tqdm

from worldsim.benchmark import about_machine
from worldsim.files import write_text
from worldsim.measuring import calibration, control, trials
from worldsim.measuring.card import card_table, write_card
from worldsim.measuring.heldout import HeldOut, cut_clips, film_strip, rollout_quality
from worldsim.measuring.labels import LOOK, true_number
from worldsim.measuring.metrics import (
    Predict,
    changed_fidelity,
    copy_last,
    fidelity,
    frechet_distance,
    macro_f1,
    moving_half,
    psnr,
    r_squared,
    squared_error,
    ssim,
)
from worldsim.measuring.probes import score_probe
from worldsim.measuring.report import Plot, Report, Strip, check_folder
from worldsim.measuring.study import EvaluateConfig, Skip, Study, copy_error
from worldsim.rollout import Rollout
from worldsim.world import World, find_world, load

__all__ = ["EvaluateConfig", "Report", "compare", "cut_clips", "evaluate", "rollout_quality"]


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
    data, probe_data = _open(data), _open(cfg.probe_data) if cfg.probe_data else None
    _check_lengths(data, cfg)
    folder = None if isinstance(world, World) else find_world(world)
    if cfg.keep and folder is None:
        raise ValueError("`keep` writes into a world's folder, got a `World`; pass its folder")
    if not isinstance(world, World):
        world = load(folder, device=cfg.device or None)
    _check_fit(world, data, "data")
    if probe_data is not None:
        _check_fit(world, probe_data, "probe_data")
    Rollout(world, 1, sampler_steps=cfg.sampler_steps or None, frame_size=data.info.frame_size)
    study = Study(world, data, cfg, probe_data, Path(out) if out else None)
    report = Report(_about(study))
    chosen = {name: f for name, f in SECTIONS.items() if not cfg.sections or name in cfg.sections}
    chosen |= extras
    for name, measure in tqdm(chosen.items(), "evaluate", disable=not cfg.progress):
        try:
            report.figures[name] = measure(study)
        except Skip as reason:
            report.figures[name] = {"left out": str(reason)}
        report.notes[name] = " ".join((inspect.getdoc(measure) or "").split())
    report.plots, report.strips = study.plots, study.strips
    report.card = card_table(report.to_json())
    if out:
        report.save(out)
        study.keep_probe()
    if cfg.keep:
        _keep(study, folder, report)
    return report


def _keep(study: Study, folder: Path, report: Report) -> None:
    """Write the card's table and the alarm's calibration into the world's folder."""
    write_card(folder / "README.md", report.card)
    if "doubt" in report.figures:
        config = json.loads((folder / "config.json").read_text())
        write_text(
            folder / "config.json", json.dumps(config | {"doubt": study.doubt}, indent=2) + "\n"
        )


def compare(
    predict: Predict, clips: HeldOut, horizons: tuple[int, ...] = (1, 4, 16)
) -> dict[int, dict[str, float]]:
    """Measure any predictor of frames on held-out clips.

    Args:
        predict: From given frames and actions to frames; see `Predict`.
        clips: Held-out clips.
        horizons: Which predicted frames to judge.

    Returns:
        By horizon: PSNR, copy-last's, the gain, all three on the moving half and on the pixels
        that changed by more than 8 levels, and SSIM of both.
    """
    made = predict(clips.given, clips.actions)
    still = copy_last(clips.given, clips.actions)
    error, copy = squared_error(made, clips.future), squared_error(still, clips.future)
    table = fidelity(error, copy, horizons)
    changed = changed_fidelity(made, clips.future, clips.given[:, -1], horizons)
    for h, row in table.items():
        row |= changed[h]
        row["ssim"] = float(ssim(made[:, h - 1], clips.future[:, h - 1]).mean())
        row["copy_ssim"] = float(ssim(still[:, h - 1], clips.future[:, h - 1]).mean())
    return table


def measure_tokenizer(study: Study) -> dict[str, Any]:
    """Encode and decode the clips' frames: the ceiling of what any rollout can show.

    PSNR of the error pooled over all frames, the 5 % worst frames' PSNR, and SSIM.
    """
    frames = study.clips.frames[:, :: max(1, study.clips.frames.shape[1] // 16)]
    again = _round_trip(study, frames)
    error = squared_error(again, frames)
    return {
        "psnr": float(psnr(error.mean())),
        "psnr_of_worst_5_percent": float(
            psnr(np.sort(error.ravel())[-max(1, error.size // 20) :].mean())
        ),
        "ssim": float(ssim(again[:, ::4], frames[:, ::4]).mean()),
    }


def measure_fidelity(study: Study) -> dict[str, Any]:
    """Give real frames and the true actions; compare imagined frames with what really came.

    The error is pooled over clips before PSNR is taken. "copy" is the last given frame repeated,
    "gain" the difference, "moving" the half of the clips whose copy error at that horizon is above
    the median, "changed" the pixels that differ from the last given frame by more than 8 levels,
    "ceiling" the tokenizer alone. "simulator astray" is the simulator itself under another clip's
    actions, on those clips that it replays: knowing the world without obeying.
    """
    clips, made = study.clips, study.imagined
    table = compare(lambda *_: made, clips, study.horizons)
    at = [h - 1 for h in study.horizons]
    real = clips.future[:, at]
    coded = _round_trip(study, real)
    error, copy = squared_error(made, clips.future), copy_error(clips)
    lines = {"dream": error, "copy last": copy}
    for row, again, truth in zip(
        table.values(), coded.swapaxes(0, 1), real.swapaxes(0, 1), strict=True
    ):
        row["ceiling"] = float(psnr(squared_error(again, truth).mean()))
        row["ceiling_ssim"] = float(ssim(again, truth).mean())
    figures = {"clips": len(clips), "given_frames": clips.context}
    try:
        some, _, other = study.rivals
        lines["simulator astray"] = squared_error(other, some.future)
        for h, row in table.items():
            row["simulator_astray"] = float(psnr(lines["simulator astray"][:, h - 1].mean()))
            row["simulator_astray_ssim"] = float(
                ssim(other[:, h - 1], some.future[:, h - 1]).mean()
            )
    except Skip as reason:
        figures["simulator_astray"] = str(reason)
    frames, fast = list(range(1, clips.horizon + 1)), moving_half(copy.mean(1))
    drawn = {name: (frames, psnr(line.mean(0)).tolist()) for name, line in lines.items()}
    drawn["tokenizer"] = (list(study.horizons), [row["ceiling"] for row in table.values()])
    study.plots["fidelity-all-clips"] = Plot(
        "Fidelity, all clips", "imagined frame", "PSNR, dB", drawn
    )
    lines = {name: lines[name][fast] for name in ("dream", "copy last") if fast.any()}
    study.plots["fidelity-moving-half"] = Plot(
        "Fidelity, moving half", "imagined frame", "PSNR, dB",
        {name: (frames, psnr(line.mean(0)).tolist()) for name, line in lines.items()},
    )  # fmt: skip
    every = max(1, clips.horizon // 12)
    for i in np.linspace(0, len(clips) - 1, min(6, len(clips))).astype(int):
        strip = film_strip([clips.future[i][every - 1 :], made[i][every - 1 :]], every)
        about = f"real above imagined, every {every} frames; {clips.captions[i] or 'no caption'}"
        study.strips[f"fidelity-{i:02d}"] = Strip(about, strip)
    return figures | {"frame": table}


def measure_state(study: Study) -> dict[str, Any]:
    """Read the true state off imagined frames with a probe trained on real frames.

    Root mean square errors against the recorded truth, at the last horizon: read off the dream, off
    the last given frame in its place, and off the real frame itself (the probe's own error).
    Inverse dynamics: how well the actions can be told from imagined frames (R2 of numbers, macro F1
    of classes, 16 frames), beside the same on real frames.
    """
    clips, probe = study.clips, study.probe
    made = np.concatenate([clips.given[:, -LOOK:], study.imagined], 1)
    views = {"dream": made, "copy": clips.given, "real": clips.frames}
    readings = {name: probe.read(frames[:, -LOOK:]).numbers for name, frames in views.items()}
    table = {}
    for number in probe.numbers:
        truth = true_number(clips.state, number)
        if truth is None:
            continue
        truth = probe.within(number, truth[:, -1])
        table[number] = {
            f"error_of_{name}": float(np.sqrt(np.square(r[number][:, -1] - truth).mean()))
            for name, r in readings.items()
        } | {"probe_r2": probe.scores[f"{number}_r2"]}
    figures: dict[str, Any] = {"at_frame": clips.horizon}
    if table:
        figures["number"] = table
    k = min(16, clips.horizon)
    views = made[:, : LOOK + k], clips.frames[:, max(0, clips.context - LOOK) : clips.context + k]
    read = {name: probe.read(view) for name, view in zip(("dream", "real"), views, strict=True)}
    actions = clips.actions[:, clips.context - 1 : clips.context - 1 + k]
    inverse = {}
    for i in range(actions.shape[-1]):
        if f"action.{i}" in probe.numbers:
            inverse[f"action.{i}"] = {
                f"r2_on_{name}": r_squared(
                    r.numbers[f"action.{i}"][:, -k:].ravel(), actions[..., i].ravel()
                )
                for name, r in read.items()
            }
    if "action" in probe.classes:
        known = probe.classes["action"]
        done = actions.argmax(-1).astype(str).ravel()
        inverse["action"] = {
            f"f1_on_{name}": macro_f1(np.array(known)[r.classes["action"][:, -k:].ravel()], done)
            for name, r in read.items()
        }
    return figures | ({"inverse_dynamics": inverse} if inverse else {})


def measure_probe(study: Study) -> dict[str, Any]:
    """Score the probe that judges dreams on real frames that it has not seen.

    R2 of numbers, within the limits that nine in ten lie between, and accuracy of attributes;
    "through the tokenizer" reads the same frames after encoding and decoding, which is the most
    that any imagined frame can offer.
    """

    def through(frames: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(_round_trip(study, frames.numpy()[None])[0])

    scores = study.probe.scores
    coded = score_probe(study.probe, study.probe_check, through)
    rows = {k: {"real": v, "through the tokenizer": coded[k]} for k, v in scores.items()}
    return {"frames_learned_from": study.probe.learned_from, "score": rows}


NOT_ASKED = ("world", "data", "out", "device", "progress", "keep")  # settings that change no figure
SECTIONS: dict[str, Callable[[Study], dict[str, Any]]] = {
    "tokenizer": measure_tokenizer,
    "fidelity": measure_fidelity,
    "actions": control.measure_actions,
    "counterfactual": control.measure_counterfactual,
    "steering": control.measure_steering,
    "driving": control.measure_driving,
    "revisit": control.measure_revisit,
    "state": measure_state,
    "rewards": trials.measure_rewards,
    "text": trials.measure_text,
    "drift": trials.measure_drift,
    "doubt": calibration.measure_doubt,
    "time": trials.measure_time,
    "probe": measure_probe,
}


@torch.inference_mode()
def _round_trip(study: Study, frames: np.ndarray) -> np.ndarray:
    """Encode and decode `(b, t, h, w, 3)`."""
    world, made = study.world, []
    for row in torch.from_numpy(np.ascontiguousarray(frames)):
        made.append(torch.cat([world.decode(world.encode(part)).cpu() for part in row.split(64)]))
    return torch.stack(made).numpy()


def _extras(cfg: EvaluateConfig) -> dict[str, Callable]:
    """Load what the user brought for LPIPS and FVD; fail before any work."""
    extras: dict[str, Callable] = {}
    for name, path, measure in (("lpips", cfg.lpips, _lpips), ("fvd", cfg.fvd, _fvd)):
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


@torch.inference_mode()
def _lpips(study: Study, network: Any) -> dict[str, Any]:
    """Take the user's perceptual distance at each horizon."""
    made, real = _signed(study.imagined), _signed(study.clips.future)  # (b, t, h, w, c)
    made, real = (rearrange(video, "b t h w c -> t b c h w") for video in (made, real))
    return {f"at_{h}": float(network(made[h - 1], real[h - 1]).mean()) for h in study.horizons}


@torch.inference_mode()
def _fvd(study: Study, network: Any) -> dict[str, Any]:
    """Take the Frechet distance between the user's features of real and imagined clips."""
    features = []
    for video in (study.clips.future, study.imagined):
        parts = rearrange(_signed(video), "b t h w c -> b c t h w").split(8)
        features.append(torch.cat([network(part) for part in parts]).numpy())
    return {"fvd": frechet_distance(*features), "clips": len(study.clips)}


def _signed(frames: np.ndarray) -> torch.Tensor:
    """Scale pixels to [-1, 1], as most networks expect them."""
    return torch.from_numpy(frames) / 127.5 - 1


def _about(study: Study) -> dict[str, Any]:
    world, data, cfg = study.world, study.data, study.cfg
    path = Path(getattr(data, "path", "data"))
    place = path.name if path.is_absolute() else path.as_posix()  # no machine's paths in a report
    given = [f"world={world.cfg.name}", f"data={place}", *_overrides(cfg, EvaluateConfig())]
    return {
        "data": f"{path.name}, {len(data)} episodes of {data.info.frame_size[1]}x"
        f"{data.info.frame_size[0]}",
        "sampler_steps": study.steps or world.cfg.sampler_steps,
        "dtype": str(world.dtype).removeprefix("torch."),
        **about_machine(world),
        "command": f"worldsim evaluate {' '.join(given)}",
    }


def _overrides(cfg: Any, default: Any, prefix: str = "") -> list[str]:
    """Write what differs from the default as a command takes it."""
    said = []
    for name in (f.name for f in fields(cfg)):
        value, usual = getattr(cfg, name), getattr(default, name)
        if is_dataclass(value):
            said += _overrides(value, usual, f"{name}.")
        elif value != usual and name not in NOT_ASKED:
            text = f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else value
            said.append(f"{prefix}{name}={text}")
    return said


def _check_fit(world: World, data: Any, role: str) -> None:
    info = data.info
    for name, ours, theirs in (
        ("fps", world.cfg.fps, info.fps),
        ("action space", world.action_space, info.action_space),
    ):
        if ours != theirs:
            raise ValueError(
                f"`{role}` must be of the world's own {name}, {ours}; got {theirs}; record with "
                "the world's env"
            )


def _check_lengths(data: Any, cfg: EvaluateConfig) -> None:
    """Refuse horizons that most episodes are too short for."""
    most = int(np.median(data.lengths or [0])) + 1 - cfg.context
    if max(cfg.horizons) > most:
        fit = [h for h in cfg.horizons if h <= most]
        way = f"set horizons={fit}" if fit else "lower `context` and `horizons`"
        raise ValueError(
            f"`horizons` must lie within what half of the episodes go on for after "
            f"{cfg.context} given frames, {most} frames, got {max(cfg.horizons)}; {way} or record "
            "longer episodes"
        )


def _open(data: Any) -> Any:
    if not isinstance(data, str | Path):
        return data
    from worldsim.data import open_dataset

    return open_dataset(data)
