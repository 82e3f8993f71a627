"""Does the dream obey? Measures of what actions do to imagined frames.

Each function is a section of the report: its docstring tells the reader how its figures came
about, so it speaks of what was done, not of code.
"""

from typing import Any

import numpy as np

from worldsim.measuring.dreaming import dream, film_strip
from worldsim.measuring.heldout import HeldOut, hold, other_actions
from worldsim.measuring.metrics import distance, nearer, psnr, share, squared_error
from worldsim.measuring.plots import Plot
from worldsim.measuring.report import Strip
from worldsim.measuring.study import Skip, Study

HELD = 5  # frames of full left and full right
PATIENCE = 10  # frames off the road in a row that end a drive


def measure_actions(study: Study) -> dict[str, Any]:
    """Predict the same clips under true, shuffled, no-op and one-frame-shifted actions.

    Shuffled actions are another clip's. "nearer" is the share of clips in which the dream under the
    true actions is nearer to the true future than the dream under another clip's. The gap is how
    many dB the shuffled actions cost the dream at the last frame. The simulator's, on those clips
    that it replays: how far its frames under another clip's actions, which are sharp and elsewhere,
    lie below the dream under the true ones.
    """
    clips = study.short_clips
    if len(clips) < 2:
        raise Skip("needs at least 2 clips")
    need_actions(clips)
    c, own = clips.context, clips.actions
    changed = {"shuffled": other_actions(clips), "no-op": own.copy(), "shifted": own.copy()}
    changed["no-op"][:, c - 1 :] = study.idle
    changed["shifted"][:, c - 1 :] = own[:, c - 2 : -1]
    error = {"true": squared_error(study.imagined[:, : clips.horizon], clips.future)}
    for name, actions in changed.items():
        error[name] = squared_error(study.predict(clips.given, actions), clips.future)
    frames = list(range(1, clips.horizon + 1))
    lines = {f"dream, {name}": psnr(e.mean(0)) for name, e in error.items()}
    figures = {"gap_dB": float(lines["dream, true"][-1] - lines["dream, shuffled"][-1])}
    try:
        some, _, other = study.rivals
        k = clips.horizon
        real = psnr(squared_error(other[:, :k], some.future[:, :k]).mean(0))
        lines["simulator, shuffled"] = real
        figures["simulator_shuffled dB"] = float(real[-1])
        same = psnr(error["true"][study.early, -1].mean())
        figures["simulator_gap_dB"] = float(same - real[-1])
    except Skip as reason:
        figures["simulator_gap_dB"] = str(reason)
    study.plots["actions-psnr"] = Plot(
        "What other actions cost", "imagined frame", "PSNR to what really came, dB",
        {name: (frames, line.tolist()) for name, line in lines.items()},
    )  # fmt: skip
    table = {
        h: {f"{name} dB": float(psnr(e[:, h - 1].mean())) for name, e in error.items()}
        | {"nearer": share(error["true"][:, h - 1] < error["shuffled"][:, h - 1])}
        for h in study.cfg.horizons
        if h <= clips.horizon
    }
    return figures | {"frames": clips.horizon, "frame": table}


def measure_counterfactual(study: Study) -> dict[str, Any]:
    """From one start, run the simulator under actions A (recorded) and B (another clip's).

    "match" is the share of dreams that are nearer to the real future of their own actions than to
    the other's, chance being a half and a tie, as where both futures look alike, too; "A" and "B"
    are the two kinds by themselves. "visible" counts only pairs in which the real futures differ by
    more than 4 of 255. "jointly" asks of both dreams at once whether they lie nearer to their own
    futures than to each other's, which forgives an error that both have in common. The gaps are the
    PSNR between real A and real B, and between the two dreams. Frames come from replaying each
    recording by its seed.
    """
    need_actions(study.clips)
    clips, real_a, real_b = study.rivals
    k = min(16, clips.horizon)
    clips, real_a, real_b = clips.first(k), real_a[:, :k], real_b[:, :k]
    dream_a, dream_b = (
        study.predict(clips.given, a) for a in (clips.actions, other_actions(clips))
    )
    aa, ab, ba, bb = (
        squared_error(dreamt, real) for dreamt in (dream_a, dream_b) for real in (real_a, real_b)
    )
    first, second, joint = nearer(aa, ab), nearer(bb, ba), nearer(aa + bb, ab + ba)
    visible = distance(real_a, real_b) > 4
    apart, dreamt = squared_error(real_a, real_b).mean(0), squared_error(dream_a, dream_b).mean(0)
    both, frames = (first.mean(0) + second.mean(0)) / 2, list(range(1, k + 1))
    lines = {"match": both, "A alone": first.mean(0), "B alone": second.mean(0)}
    lines |= {"jointly": joint.mean(0)}
    study.plots["counterfactual-match"] = Plot(
        "Counterfactual match", "imagined frame", "share nearer to their own future",
        {name: (frames, line.tolist()) for name, line in lines.items()},
    )  # fmt: skip
    for i in np.linspace(0, len(clips) - 1, min(3, len(clips))).astype(int):
        rows = [
            np.concatenate([clips.given[i, -1:], x[i, ::2]])
            for x in (real_a, dream_a, real_b, dream_b)
        ]
        about = "from the top: real A, dream A, real B, dream B; last given frame, every second"
        study.strips[f"counterfactual-{i:02d}"] = Strip(about, film_strip(rows))
    table = {}
    for h in (h for h in study.cfg.horizons if h <= k):
        seen = visible[:, h - 1]
        halves = [flags[:, h - 1] for flags in (first, second)]
        table[h] = {
            "match": share(np.concatenate(halves)),
            "match_visible": share(np.concatenate([half[seen] for half in halves])),
            "visible_pairs": int(seen.sum()),
            "A": share(halves[0]),
            "B": share(halves[1]),
            "jointly": share(joint[:, h - 1]),
            "simulator_gap dB": float(psnr(apart[h - 1])),
            "dream_gap dB": float(psnr(dreamt[h - 1])),
        }
    return {"pairs": len(clips), "frame": table}


def measure_steering(study: Study) -> dict[str, Any]:
    """From each start, hold full left and full right for five frames.

    They part *visibly* when the frames differ by more than twice what two dreams under the same
    action and other noise differ by, and by more than 3 of 255. The direction is right when the
    probe's inverse dynamics read more left in the left dream. The simulator's own difference, where
    it can be replayed, stands beside.
    """
    left, right = left_and_right(study)
    starts = study.starts
    rows, given = len(starts), starts.given
    past = starts.actions[:, : starts.context - 1]

    def held(action: np.ndarray, seed: int) -> np.ndarray:
        actions = np.concatenate([past, hold(action, rows, HELD)], 1)
        made = dream(study.world, given, actions, HELD, sampler_steps=study.steps, seed=seed)
        return made.frames

    seed = study.cfg.seed
    lefts, rights, again = held(left, seed), held(right, seed), held(left, seed + 1000)
    apart, noise = distance(lefts, rights)[:, -1], distance(lefts, again)[:, -1]
    visible = apart > np.maximum(2 * noise, 3)
    figures = {
        "starts": rows,
        "visibly_apart": int(visible.sum()),
        "difference_of_255": float(apart.mean()),
        "noise_of_255": float(noise.mean()),
    }
    axis = np.abs(left - right).argmax()
    readings = [study.probe.read(frames).numbers for frames in (lefts, rights)]
    if f"action.{axis}" in readings[0]:
        a, b = (r[f"action.{axis}"][:, -3:].mean(1) for r in readings)
        direct = np.sign(a - b) == np.sign(left[axis] - right[axis])
        figures["right_direction"] = int(direct.sum())
        figures["apart_in_right_direction"] = int((visible & direct).sum())
    try:
        figures["simulator_difference_of_255"] = _real_difference(study, left, right)
    except Skip as reason:
        figures["simulator_difference_of_255"] = str(reason)
    return figures


def left_and_right(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """Return the flat actions of full left and full right, with gas where the keys say so.

    What the keys mean, but with the axis that tells them apart at its bounds; where it has none, at
    the least and the greatest value that the world was trained with.
    """
    for with_gas in (["up"], []):
        left, right = (study.held(side, *with_gas) for side in ("left", "right"))
        if left is None or right is None:
            continue
        low, high = study.world.cfg.action_low, study.world.cfg.action_high
        turned, up = left != right, left > right
        full_left = np.where(turned, np.where(up, high, low), left)
        full_right = np.where(turned, np.where(up, low, high), right)
        return full_left.astype(np.float32), full_right.astype(np.float32)
    raise Skip('the recordings have no key bindings for "left" and "right"')


def _real_difference(study: Study, left: np.ndarray, right: np.ndarray) -> float:
    """Return how far real frames part, over a few starts."""
    starts, parted = study.starts.rows(np.arange(len(study.starts)) < 8), []
    for place, actions in zip(starts.place, starts.actions, strict=True):
        past = actions[: starts.context - 1]
        runs = [np.concatenate([past, hold(a, 1, HELD)[0]]) for a in (left, right)]
        frames = [study.replay(place, run, starts.context)[-1] for run in runs]
        parted.append(distance(*frames))
    return float(np.mean(parted))


def measure_driving(study: Study) -> dict[str, Any]:
    """Let the world's own policy drive from each start; a probe says where the car is.

    A drive is on the road when the probe never reads less than half of the car on the road for ten
    frames in a row (a second). So many dreams stay there under another recording's actions, which
    know nothing of this road: those do not hear the wheel. The same rule on recorded frames, read
    by the probe and by the ground truth, says what the probe's word is worth.
    """
    probe, n = study.probe, study.cfg.drive_frames
    if "on_road" not in probe.numbers:
        raise Skip("the recordings hold no state.on_road for the probe to learn")
    starts = study.starts
    made = dream(
        study.world, starts.given, starts.actions, n, known=starts.known,
        autopilot=True, sampler_steps=study.steps, seed=study.cfg.seed,
    )  # fmt: skip
    on = probe.read(made.frames).numbers["on_road"] > 0.5
    blind = np.concatenate(
        [starts.actions[:, : starts.context - 1], study.astray(len(starts), n)], 1
    )
    other = study.played(study.cfg.seed)(starts.given, blind)
    astray = probe.read(other).numbers["on_road"] > 0.5
    reads, truths = [], []
    known = "on_road" in study.data.state_keys
    for index in study.unseen[:12] if known else ():
        episode = study.data[index]
        reads.append(_stays(probe.read(episode.frames[None]).numbers["on_road"] > 0.5)[0])
        truths.append(_stays(episode.state["on_road"][None, 1:] > 0.5)[0])
    return {
        "starts": len(starts),
        "on_road_throughout": int(_stays(on).sum()),
        "on_road_under_other_actions": int(_stays(astray).sum()),
        "share_of_frames_on_road": float(on.mean()),
        "frames": n,
        "imagined_reward_per_frame": float(made.rewards.mean()),
        "imagined_endings": int((made.terminated > 0.5).any(1).sum()),
        "probe_agrees_on_real_episodes": share(np.array(reads) == np.array(truths)),
        "probe_on_road_accuracy": probe.scores.get("on_road_accuracy", float("nan")),
    }


def _stays(on: np.ndarray) -> np.ndarray:
    """Return `(b,)`: whether `on` `(b, t)` is never False for `PATIENCE` frames in a row."""
    if on.shape[1] < PATIENCE:
        return on.any(1)
    windows = np.lib.stride_tricks.sliding_window_view(on, PATIENCE, axis=1)
    return windows.any(-1).all(1)


def need_actions(clips: HeldOut) -> None:
    """Refuse to ask what actions do where they were not recorded."""
    if not clips.known.all():
        raise Skip("needs recordings with all their actions")
