"""The model card of a world that `make_world` made: what it is, how true it is, how to play it."""

import shlex
from pathlib import Path
from typing import Any

from worldsim.data import DiskDataset
from worldsim.images import write_image
from worldsim.machine import about_machine
from worldsim.measuring.report import Report
from worldsim.world import World

STRIPS = 3  # film strips in a card
OBEYS = 0.6  # of clips nearer to the truth under their own actions than under others; by chance 0.5


def save_with_card(
    world: World, out: Path, report: Report, data: list[DiskDataset], notes: dict[str, Any]
) -> None:
    """Save a world with its card and film strips.

    Args:
        world: The world.
        out: Its folder.
        report: Its evaluation, of the sections "tokenizer", "fidelity", "actions" and
            perhaps "drift".
        data: What it learned from.
        notes: "settings" and "command" of the make, the "model"'s size, seconds "spent" by stage.
    """
    strips = dict(list(report.strips.items())[:STRIPS])
    parts = [_what(world, data, notes), _measures(report, out), _play(out, strips)]
    world.save(out, "\n".join([f"# {world.cfg.name}", "", *parts]))
    for name, strip in strips.items():
        write_image(out / f"{name}.png", strip.image)


def _what(world: World, data: list[DiskDataset], notes: dict[str, Any]) -> str:
    cfg = world.cfg
    counts = [
        sum(p.numel() for p in m.parameters()) / 1e6 for m in (world.tokenizer, world.dynamics)
    ]
    seconds = notes["spent"]
    times = ", ".join(f"{name} {value / 60:.1f}" for name, value in seconds.items())
    lengths = [length for part in data for length in part.lengths]
    sizes = dict.fromkeys(f"{p.info.frame_size[1]}x{p.info.frame_size[0]}" for p in data)
    who = dict.fromkeys(str(part.info.recording["policy"]) for part in data)
    rows = {
        "frames": f"{' or '.join(sizes)} RGB, {cfg.fps} a second",
        "actions": f"`{world.action_space}`",
        "models": f"tokenizer {counts[0]:.2f} M parameters, dynamics {counts[1]:.2f} M "
        f"(`{notes['model']}`), bfloat16",
        "learned from": f"{len(lengths)} episodes, {sum(lengths) + len(lengths):,} frames, "
        f"policy {' and '.join(who)}",
        "minutes": f"{sum(seconds.values()) / 60:.1f}: {times}",
        "machine": about_machine(world)["device"],
        "made by": f"`{notes['command']}`",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    what = f"What `{notes['settings']['env']}` shows, imagined by a network."
    return f"{what}\n\n|  |  |\n| --- | --- |\n{table}\n"


def _measures(report: Report, out: Path) -> str:
    fidelity, actions = report.figures["fidelity"], report.figures["actions"]
    frame, acted = fidelity["frame"], actions.get("frame", {})
    drift = report.figures.get("drift")
    horizons = " / ".join(map(str, frame))

    def row(what: str, table: dict, key: str, sign: str = "+", scale: float = 1.0) -> str:
        values = [f"{scale * r[key]:{sign}.1f}" if key in r else "-" for r in table.values()]
        return f"| {what} | {' / '.join(values)} |" if set(values) - {"-"} else ""

    lines = [
        f"| tokenizer, PSNR, dB | {report.figures['tokenizer']['psnr']:.1f} |",
        row("PSNR, dB", frame, "psnr", ""),
        row("above copy-the-last-frame, dB", frame, "gain"),
        row("the same on pixels that changed by more than 8 levels, dB", frame, "changed_gain"),
        row("such pixels, %", frame, "changed_share", "", 100),
        row("PSNR under the true actions, dB", acted, "true dB", ""),
        row("under another clip's actions, dB", acted, "shuffled dB", ""),
        row("clips nearer to the truth than under those, %", acted, "nearer", "", 100),
    ]
    if drift:
        what = f"dreams of {drift['frames']} frames that last, {' / '.join(drift['way'])}, %"
        lines.append(row(what, drift["way"], "survived", "", 100))
        what = "sharpness at their end, of the given frames', %"
        lines.append(row(what, drift["way"], "detail", "", 100))
    sections = ",".join(report.figures)
    command = shlex.join(
        ["worldsim", "evaluate", f"world={out}", f"data={out}.making/test", "replays=0"]
        + [f"context={fidelity['given_frames']}", f"sections={sections}"]
        + [f"horizons={','.join(map(str, frame))}"]
        + ([f"drift_frames={drift['frames']}"] if drift else [])
    )
    return (
        f"## How true it is\n\n{fidelity['clips']} clips of episodes kept for this, "
        f"{fidelity['given_frames']} real frames given, true actions, figures at {horizons} "
        f"imagined frames; errors pooled over clips. All by\n`{command}`.\n\n"
        "| measure | value |\n| --- | --- |\n" + "\n".join(filter(None, lines)) + "\n\n"
        f"In words: {_verdict(frame, acted, drift, out)}\n"
    )


def _verdict(frame: dict, acted: dict, drift: dict | None, out: Path) -> str:
    """Say what the figures come to, and the way out where they come to little."""
    good = [h for h, row in frame.items() if row["gain"] > 0 or row.get("changed_gain", 0) > 0]
    nearer = [row["nearer"] for row in acted.values() if "nearer" in row]
    obeys = bool(nearer) and max(nearer) > OBEYS
    lasted = [row["survived"] for row in drift["way"].values()] if drift else [1.0]
    lasts = sum(lasted) >= len(lasted) / 2
    sees = "nearer" if good else "no nearer"
    until = f", up to frame {good[-1]}" if good else ""
    said = f"its frames are {sees} to what came than the last frame is{until}, and "
    said += "answer to actions" if obeys else "hardly answer to actions"
    if not lasts:
        said += f"; most dreams of {drift['frames']} frames come to look like nothing real"
    if not (good and obeys and lasts):
        said += f"; more minutes: `worldsim make init={out} out={out}2 minutes=30`"
    return f"{said}."


def _play(out: Path, strips: dict[str, Any]) -> str:
    pictures = "\n\n".join(f"![{s.title}]({name}.png)" for name, s in strips.items())
    return (
        f"Real frames above imagined ones:\n\n{pictures}\n\n"
        f"## How to play\n\n`{shlex.join(['worldsim', 'play', f'world={out}'])}`\n\n"
        "The weights may be used as the env's licence and its assets' allow; the code that made "
        "them is Apache-2.0.\n"
    )
