"""Does the dream obey? Measures of what actions do to imagined frames.

Each function is a section of the report: its docstring tells the reader how its figures came
about, so it speaks of what was done, not of code.
"""

from typing import Any

import numpy as np

from worldsim.heldout import HeldOut, dream
from worldsim.metrics import psnr, squared_error
from worldsim.spaces import action_bounds
from worldsim.study import Skip, Study, distance, hold, share


def measure_actions(study: Study) -> dict[str, Any]:
    """Predict the same clips under true, shuffled, no-op and one-frame-shifted actions.

    Shuffled actions are another clip's. "nearer" is the share of clips in which the dream under the
    true actions is nearer to the true future than the dream under another clip's.
    """
    clips = study.short_clips
    if len(clips) < 2:
        raise Skip("needs at least 2 clips")
    c, own = clips.context, clips.actions
    changed = {"shuffled": own.copy(), "no-op": own.copy(), "shifted": own.copy()}
    changed["shuffled"][:, c - 1 :] = np.roll(own, len(own) // 2, 0)[:, c - 1 :]
    changed["no-op"][:, c - 1 :] = study.idle
    changed["shifted"][:, c - 1 :] = own[:, c - 2 : -1]
    error = {"true": squared_error(study.imagined[:, : clips.horizon], clips.future)}
    for name, actions in changed.items():
        error[name] = squared_error(study.predict(clips.given, actions), clips.future)
    horizons = [h for h in study.horizons if h <= clips.horizon]
    table = {
        h: {f"{name} dB": float(psnr(e[:, h - 1].mean())) for name, e in error.items()}
        | {"nearer": share(error["true"][:, h - 1] < error["shuffled"][:, h - 1])}
        for h in horizons
    }
    last = table[horizons[-1]]
    return {"gap_dB": last["true dB"] - last["shuffled dB"], "frame": table}


def measure_counterfactual(study: Study) -> dict[str, Any]:
    """From one start, run the simulator under actions A (recorded) and B (another clip's).

    A pair matches when the dream under A is nearer to real A than to real B, and the dream under B
    nearer to real B. "visible" counts only pairs in which the real futures differ by more than
    4 of 255. The simulator's own gap is the PSNR between real A and real B: what acting otherwise
    costs. Frames come from replaying each recording by its seed.
    """
    clips, real_a, real_b = _counterfactuals(study)
    c = clips.context
    other = np.roll(clips.actions, 1, 0)
    acts_b = np.concatenate([clips.actions[:, : c - 1], other[:, c - 1 :]], 1)
    dream_a, dream_b = (study.predict(clips.given, acts) for acts in (clips.actions, acts_b))
    table = {}
    for h in (h for h in study.horizons if h <= clips.horizon):
        a, b, da, db = (x[:, h - 1] for x in (real_a, real_b, dream_a, dream_b))
        first = squared_error(da, a) < squared_error(da, b)
        second = squared_error(db, b) < squared_error(db, a)
        visible = distance(a, b) > 4
        table[h] = {
            "match": share(np.concatenate([first, second])),
            "match_visible": share(np.concatenate([first[visible], second[visible]])),
            "visible_pairs": int(visible.sum()),
            "simulator_gap dB": float(psnr(squared_error(a, b).mean())),
            "dream_gap dB": float(psnr(squared_error(da, db).mean())),
        }
    return {"pairs": len(clips), "frame": table}


def _counterfactuals(study: Study, most: int = 40) -> tuple[HeldOut, np.ndarray, np.ndarray]:
    """Return clips and the simulator's frames under their own and under others' actions."""
    clips = study.short_clips
    early = np.argsort(clips.place[:, 1], kind="stable")[:most]  # late starts take long to replay
    clips = clips.rows(np.sort(early))
    seeds = [study.data.outline(int(i)).seed for i in clips.place[:, 0]]
    if None in seeds:
        raise Skip("the recordings hold no seeds to replay them by")
    if len(clips) < 2:
        raise Skip("needs at least 2 clips")
    real, c, keep = ([], []), clips.context, clips.horizon
    other = np.roll(clips.actions, 1, 0)
    for i, (episode, first) in enumerate(clips.place):
        past = study.data.outline(int(episode)).actions[: first + c - 1]
        for futures, actions in zip(real, (clips.actions, other), strict=True):
            run = np.concatenate([past, actions[i, c - 1 :]])
            futures.append(study.simulator.run(seeds[i], run, keep))
    real_a, real_b = map(np.stack, real)
    if psnr(squared_error(real_a, clips.future).mean()) < 28:
        raise Skip(
            "replaying a recording by its seed gave other frames; was the simulator changed?"
        )
    return clips, real_a, real_b


def measure_steering(study: Study, within: int = 5) -> dict[str, Any]:
    """From each start, hold full left and full right for five frames.

    They part *visibly* when the frames differ by more than twice what two dreams under the same
    action and other noise differ by, and by more than 3 of 255. The direction is right when the
    probe's inverse dynamics read more left in the left dream. The simulator's own difference, where
    it can be replayed, stands beside.
    """
    left, right = _left_right(study)
    starts = study.starts
    rows, given = len(starts), starts.given
    past = starts.actions[:, : starts.context - 1]

    def held(action: np.ndarray, seed: int) -> np.ndarray:
        actions = np.concatenate([past, hold(action, rows, within)], 1)
        made = dream(
            study.world, given, actions, within, sampler_steps=study.steps, seed=seed, agent=False
        )
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
        figures["simulator_difference_of_255"] = _real_difference(study, left, right, within)
    except Skip as reason:
        figures["simulator_difference_of_255"] = str(reason)
    return figures


def _left_right(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """Return the flat actions of full left and full right, with gas where the keys say so.

    What the keys mean, but with the axis that tells them apart at its bounds.
    """
    for with_gas in (["up"], []):
        left, right = (study.held(side, *with_gas) for side in ("left", "right"))
        if left is None or right is None:
            continue
        low, high = action_bounds(study.data.info.action_space)
        turned, up = left != right, left > right
        full_left = np.where(turned, np.where(up, high, low), left)
        full_right = np.where(turned, np.where(up, low, high), right)
        return full_left.astype(np.float32), full_right.astype(np.float32)
    raise Skip('the recordings have no key bindings for "left" and "right"')


def _real_difference(study: Study, left: np.ndarray, right: np.ndarray, within: int) -> float:
    """Return how far real frames part, over a few starts."""
    starts, parted = study.starts.rows(np.arange(len(study.starts)) < 8), []
    for episode, first in starts.place:
        recording = study.data.outline(int(episode))
        if recording.seed is None:
            raise Skip("the recordings hold no seeds")
        past = recording.actions[: first + starts.context - 1]
        runs = [np.concatenate([past, hold(action, 1, within)[0]]) for action in (left, right)]
        frames = [study.simulator.run(recording.seed, run, 1) for run in runs]
        parted.append(distance(*frames)[0])
    return float(np.mean(parted))


def measure_driving(study: Study, patience: int = 10) -> dict[str, Any]:
    """Let the world's own policy drive from each start; a probe says where the car is.

    A drive is on the road when the probe never reads less than half of the car on the road for ten
    frames in a row (a second). The same rule on recorded frames, read by the probe and by the
    ground truth, says what the probe's word is worth.
    """
    probe, n = study.probe, study.cfg.drive_frames
    if "on_road" not in probe.numbers:
        raise Skip("the recordings hold no state.on_road for the probe to learn")
    starts = study.starts
    made = dream(
        study.world, starts.given, starts.actions, n,
        autopilot=True, sampler_steps=study.steps, seed=study.cfg.seed,
    )  # fmt: skip
    on = probe.read(made.frames).numbers["on_road"] > 0.5
    reads, truths = [], []
    for index in range(min(len(study.data), 12)):
        episode = study.data[index]
        reads.append(_stays(probe.read(episode.frames[None]).numbers["on_road"] > 0.5, patience)[0])
        truths.append(_stays(episode.state["on_road"][None, 1:] > 0.5, patience)[0])
    return {
        "starts": len(starts),
        "on_road_throughout": int(_stays(on, patience).sum()),
        "share_of_frames_on_road": float(on.mean()),
        "frames": n,
        "imagined_reward_per_frame": float(made.rewards.mean()),
        "imagined_endings": int((made.terminated > 0.5).any(1).sum()),
        "probe_agrees_on_real_episodes": share(np.array(reads) == np.array(truths)),
        "probe_on_road_accuracy": probe.scores.get("on_road_accuracy", float("nan")),
    }


def _stays(on: np.ndarray, patience: int) -> np.ndarray:
    """Return `(b,)`: whether `on` `(b, t)` is never False for `patience` frames in a row."""
    if on.shape[1] < patience:
        return on.any(1)
    windows = np.lib.stride_tricks.sliding_window_view(on, patience, axis=1)
    return windows.any(-1).all(1)


def measure_parking(study: Study, settle: int = 48, wait: int = 64) -> dict[str, Any]:
    """Brake, then wait: a parked world should stay as it is.

    After braking for `settle` frames, PSNR between the first parked frame and the last of the wait.
    Held brake where the recordings have a "down" key, nothing done otherwise.
    """
    brake = study.held("down")
    brake = study.idle if brake is None else brake
    starts = study.starts
    past = starts.actions[:, : starts.context - 1]
    actions = np.concatenate([past, hold(brake, len(starts), settle + wait)], 1)
    made = dream(
        study.world, starts.given, actions, settle + wait,
        sampler_steps=study.steps, seed=study.cfg.seed, agent=False,
    )  # fmt: skip
    parked = made.frames[:, settle:]
    return {
        "psnr_after_the_wait": float(psnr(squared_error(parked[:, 0], parked[:, -1]).mean())),
        "change_per_frame_of_255": float(distance(parked[:, 1:], parked[:, :-1]).mean()),
        "change_per_frame_when_driving_of_255": float(
            distance(starts.given[:, 1:], starts.given[:, :-1]).mean()
        ),
    }
