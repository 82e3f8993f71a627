"""What a probe trained on real frames reads off imagined ones: the state, the actions."""

from typing import Any

import numpy as np
import torch

from worldsim.measuring.labels import LOOK, true_number
from worldsim.measuring.likeness import round_trip
from worldsim.measuring.metrics import macro_f1, r_squared
from worldsim.measuring.probes import score_probe
from worldsim.measuring.study import Skip, Study


def measure_state(study: Study) -> dict[str, Any]:
    """Read the true state off imagined frames with a probe trained on real frames.

    Root mean square errors against the recorded truth, at the last horizon: read off the dream, off
    the last given frame in its place, and off the real frame itself (the probe's own error).
    Inverse dynamics: how well the actions can be told from imagined frames (R2 of numbers, macro F1
    of classes, 16 frames), beside the same on real frames. On clips of episodes that the probe has
    not learned from.
    """
    probe, unseen = study.probe, np.isin(study.clips.place[:, 0], study.unseen)
    clips = study.clips.rows(unseen)
    if not len(clips):
        raise Skip("needs clips of episodes that the probe has not learned from")
    made = np.concatenate([clips.given[:, -LOOK:], study.imagined[unseen]], 1)
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
        } | {"probe_r2": probe.scores.get(f"{number}_r2", float("nan"))}
    figures: dict[str, Any] = {"at_frame": clips.horizon}
    if table:
        figures["number"] = table
    k = min(16, clips.horizon)
    views = (
        made[:, : min(LOOK, clips.context) + k],
        clips.frames[:, max(0, clips.context - LOOK) : clips.context + k],
    )
    read = {name: probe.read(view) for name, view in zip(("dream", "real"), views, strict=True)}
    done = slice(clips.context - 1, clips.context - 1 + k)
    actions, told = clips.actions[:, done], clips.known[:, done]
    inverse = {}
    for i in range(actions.shape[-1]):
        if f"action.{i}" in probe.numbers:
            inverse[f"action.{i}"] = {
                f"r2_on_{name}": r_squared(
                    r.numbers[f"action.{i}"][:, -k:][told], actions[..., i][told]
                )
                for name, r in read.items()
            }
    if "action" in probe.classes:
        known = probe.classes["action"]
        done = actions.argmax(-1).astype(str)[told]
        inverse["action"] = {
            f"f1_on_{name}": macro_f1(np.array(known)[r.classes["action"][:, -k:][told]], done)
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
        return torch.from_numpy(round_trip(study, frames.numpy()[None])[0])

    scores = study.probe.scores
    coded = score_probe(study.probe, study.probe_check, through)
    rows = {k: {"real": v, "through the tokenizer": coded[k]} for k, v in scores.items()}
    return {"frames_learned_from": study.probe.learned_from, "score": rows}
