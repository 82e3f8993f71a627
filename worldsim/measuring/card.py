"""The table of figures in a world's model card, written from a report: nothing is typed by hand."""

import math
import re
from pathlib import Path
from typing import Any

from worldsim.files import write_text
from worldsim.measuring.drift import WAYS

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
FRAMES = "fidelity/frame/"

ROWS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("tokenizer, PSNR of encoding and decoding", "{:.1f} dB", ("tokenizer/psnr",)),
    (
        "PSNR at 1 / 4 / 16 frames", "{:.1f} / {:.1f} / {:.1f} dB",
        tuple(f"{FRAMES}{h}/psnr" for h in (1, 4, 16)),
    ),
    (
        "above copy-the-last-frame at 1 / 4 / 16 frames", "{:+.1f} / {:+.1f} / {:+.1f} dB",
        tuple(f"{FRAMES}{h}/gain" for h in (1, 4, 16)),
    ),
    (
        "95 % interval of that, drawing the episodes anew, at 1 / 4 / 16 frames",
        "{:+.1f} to {:+.1f} / {:+.1f} to {:+.1f} / {:+.1f} to {:+.1f} dB",
        tuple(f"{FRAMES}{h}/gain_{end}" for h in (1, 4, 16) for end in ("low", "high")),
    ),
    (
        "the gain on the half of the clips in which most moves", "{:+.1f} / {:+.1f} / {:+.1f} dB",
        tuple(f"{FRAMES}{h}/moving_gain" for h in (1, 4, 16)),
    ),
    (
        "the gain at 32 / 64 frames, all clips", "{:+.1f} / {:+.1f} dB",
        tuple(f"{FRAMES}{h}/gain" for h in (32, 64)),
    ),
    (
        "SSIM at 1 / 16 frames, copy-last's", "{:.2f} / {:.2f}, {:.2f} / {:.2f}",
        tuple(f"{FRAMES}{h}/{name}" for name in ("ssim", "copy_ssim") for h in (1, 16)),
    ),
    (
        "a draw, as it is played, above copy-the-last-frame", "{:+.1f} / {:+.1f} / {:+.1f} dB",
        tuple(f"draws/frame/{h}/gain" for h in (1, 4, 16)),
    ),
    (
        "two draws apart, of how far one is off (1: as varied as what may come)",
        "{:.2f} / {:.2f} / {:.2f}", tuple(f"draws/frame/{h}/spread" for h in (1, 4, 16)),
    ),
    (
        "sharpness of draws / of what is expected, of that of real frames, at 16 frames",
        "{:.0%} / {:.0%}",
        tuple(f"draws/frame/16/{name}" for name in ("sharpness_of_draws", "sharpness_of_expected")),
    ),
    (
        "a gap of {completion/frames} frames filled, PSNR; a cross-fade's / the nearest frame's",
        "{:.1f} dB; {:.1f} / {:.1f} dB",
        tuple(f"completion/way/gap filled/{name}" for name in ("imagined", "crossfade", "nearest")),
    ),
    (
        "{completion/frames} frames put before, PSNR; the first frame's", "{:.1f} dB; {:.1f} dB",
        tuple(f"completion/way/put before/{name}" for name in ("imagined", "nearest")),
    ),
    (
        "counterfactual match at 1 / 4 / 16 frames, {counterfactual/pairs} pairs",
        "{:.0%} / {:.0%} / {:.0%}",
        tuple(f"counterfactual/frame/{h}/match" for h in (1, 4, 16)),
    ),
    (
        "of dreams under the recorded actions, under another clip's, at 16 frames",
        "{:.0%}, {:.0%}",
        tuple(f"counterfactual/frame/16/{who}" for who in "AB"),
    ),
    (
        "the same, both dreams judged jointly", "{:.0%} / {:.0%} / {:.0%}",
        tuple(f"counterfactual/frame/{h}/jointly" for h in (1, 4, 16)),
    ),
    (
        "PSNR at 16 frames under true / shuffled / no / late actions",
        "{:.1f} / {:.1f} / {:.1f} / {:.1f} dB",
        tuple(f"actions/frame/16/{way} dB" for way in ("true", "shuffled", "no-op", "shifted")),
    ),
    (
        "what shuffled actions cost the dream at frame {actions/frames}", "{:.1f} dB",
        ("actions/gap_dB",),
    ),
    (
        "how far the simulator under those lies below the dream", "{:.1f} dB",
        ("actions/simulator_gap_dB",),
    ),
    (
        "full left and full right part, in the right direction", "{:.0f} of {:.0f} starts",
        ("steering/apart_in_right_direction", "steering/starts"),
    ),
    (
        "on the road for {driving/frames} frames: its own policy, another recording's actions",
        "{:.0f} and {:.0f} of {:.0f} starts",
        ("driving/on_road_throughout", "driving/on_road_under_other_actions", "driving/starts"),
    ),
    (
        "turned and back / parked and waited: found again, of {revisit/starts} places",
        "{:.0%} / {:.0%}",
        tuple(f"revisit/way/{way}/found again" for way in ("turn and back", "park and wait")),
    ),
    (
        "the same by copying the frame before", "{:.0%} / {:.0%}",
        tuple(f"revisit/way/{way}/found by copying" for way in ("turn and back", "park and wait")),
    ),
    *(
        (
            f"{name} at the last frame, error off the dream / off copy-last",
            "{:.2f} / {:.2f}",
            tuple(f"state/number/{name}/error_of_{view}" for view in ("dream", "copy")),
        )
        for name in ("heading", "offset", "speed")
    ),
    (
        "attributes shown, held-out phrasings, from nothing / after a change", "{:.0%} / {:.0%}",
        ("text/shown_from_nothing", "text/shown_after_a_change"),
    ),
    (
        "biome / time / weather from nothing", "{:.0%} / {:.0%} / {:.0%}",
        tuple(f"text/attribute/{name}/from nothing" for name in ("biome", "time", "weather")),
    ),
    *(
        (
            f"theme / air {when}", "{:.0%} / {:.0%}",
            tuple(f"text/attribute/{name}/{when}" for name in ("theme", "air")),
        )
        for when in ("from nothing", "after a change")
    ),
    (
        "the classifier itself on real clips of themes / airs", "{:.1%} / {:.1%}",
        tuple(f"text/attribute/{n}/classifier on real clips" for n in ("theme", "air")),
    ),
    (
        "the classifier itself on real clips", "{:.1%} / {:.1%} / {:.1%}",
        tuple(f"text/attribute/{n}/classifier on real clips" for n in ("biome", "time", "weather")),
    ),
    (
        "rollouts of {drift/frames} frames that last, of {drift/starts} each: "
        "idle / random / recorded / autopilot",
        "{:.0%} / {:.0%} / {:.0%} / {:.0%}",
        tuple(f"drift/way/{way}/survived" for way in WAYS),
    ),
    (
        "recordings by the same rule: as they are / blurred / all grey", "{:.0%} / {:.0%} / {:.0%}",
        tuple(f"drift/{what}_in_range" for what in ("real_episodes", "blurred", "grey")),
    ),
    (
        "sharpness at their end, of the given frames'; of recordings'",
        "{:.0%} / {:.0%} / {:.0%} / {:.0%}; {:.0%}",
        (*(f"drift/way/{way}/detail" for way in WAYS), "drift/real_detail"),
    ),
    ("reward, R2", "{:.2f}", ("rewards/reward_r2",)),
    *(
        (
            f"endings {frames} imagined frames ahead, F1 (always saying yes: 0.67)", "{:.2f}",
            (f"rewards/endings_in_{frames}/f1",),
        )
        for frames in (1, 8)
    ),
    (
        "alarm: a wrong frame gets more doubt than a right one; of equal age", "{:.0%}; {:.0%}",
        tuple(f"doubt/sign/doubt/{name}" for name in ("auroc", "at_the_same_age")),
    ),
    (
        "time of a frame, p50 / p95 / p99", "{:.0f} / {:.0f} / {:.0f} ms",
        ("time/p50_ms", "time/p95_ms", "time/p99_ms"),
    ),
)  # fmt: skip


def card_table(report: dict[str, Any]) -> str:
    """Return the table as Markdown.

    Args:
        report: What `Report.to_json` returns; measures that were not taken have no row.
    """
    figures, about = report["figures"], report["about"]
    lines = ["| measure | value |", "| --- | --- |"]
    for label, form, paths in ROWS:
        values = [_find(figures, path) for path in paths]
        if all(isinstance(value, int | float) and math.isfinite(value) for value in values):
            label = re.sub(r"\{(.*?)\}", lambda at: str(_find(figures, at[1])), label)
            lines.append(f"| {label} | {form.format(*values).replace('%', ' %')} |")
    lines += [
        "",
        f"Every line: `{about.get('command', '')}`, on {about.get('data', 'recordings')}.",
    ]
    return "\n".join(lines) + "\n"


def write_card(card: Path, table: str) -> None:
    """Put the table between the card's two markers, or at its end if it has none."""
    text = card.read_text() if card.exists() else ""
    block = f"{BEGIN}\n{table}{END}\n"
    before, begin, rest = text.partition(f"{BEGIN}\n")
    after = rest.partition(f"{END}\n")[2] if begin else ""
    write_text(card, before + block + after if begin else f"{text.rstrip()}\n\n{block}".lstrip())


def _find(figures: dict[str, Any], path: str) -> Any:
    """Return the figure at `section/group/name`; None if there is none."""
    value: Any = figures
    for name in path.split("/"):
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value
