"""Whether a dream finds again what it has seen: turn round and back, park and wait."""

import numpy as np

from worldsim.measuring.control import left_and_right, need_actions
from worldsim.measuring.dreaming import film_strip
from worldsim.measuring.heldout import hold
from worldsim.measuring.metrics import distance, psnr, share, squared_error
from worldsim.measuring.report import Strip
from worldsim.measuring.study import Skip, Study

SETTLE, WAIT, TURN = 48, 64, 10  # frames of braking and of waiting, and of turning to either side
REVISITED = 12  # starts that the simulator replays for the revisit section


def measure_revisit(study: Study) -> dict:
    """Turn round and back; park and wait. What was there before should be there again.

    Turning: full left for ten frames, then full right for ten. Parking: brake for 48 frames (the
    key "down" where there is one, else nothing done), then wait 64. "psnr" is the accuracy of the
    last frame against the simulator's under the same actions, on a few starts; "copy" that of the
    last given frame (turning) or of the first parked one (parking) in its place. "found again" is
    the share of starts whose last dreamt frame is nearer to their own real last frame than to any
    other start's, "found by copying" that of the frame in its place; one guess in as many as there
    are starts is right by chance. "change while parked" compares frames in a row, of 255; "after
    the wait" is the PSNR between the first parked frame and the last.
    """
    need_actions(study.starts)
    plans, starts = _turns_and_waits(study), study.starts
    c, few = starts.context, min(REVISITED, len(starts))
    past, table = starts.actions[:, : c - 1], {}
    for name, plan in plans.items():
        led = np.concatenate([past, np.repeat(plan[None], len(past), 0)], 1)
        made = study.played(study.cfg.seed)(starts.given, led)
        try:
            truth = np.stack([study.replay(starts.place[i], led[i], c) for i in range(few)])
        except Skip as reason:
            table["simulator"] = {"left out": str(reason)}
            truth = made[:0]
        parked = SETTLE if name == "park and wait" else None
        table[name] = _revisited(made, truth, starts.given[:few, -1], parked)
        if len(truth):
            every = max(1, made.shape[1] // 10)
            rows = [film[0, every - 1 :: every] for film in (truth, made)]
            rows = [np.concatenate([starts.given[0, -1:], row]) for row in rows]
            about = f"{name}: real above imagined, the last given frame, every {every} frames"
            study.strips[f"revisit-{name.replace(' ', '-')}"] = Strip(about, film_strip(rows))
    moving = float(distance(starts.given[:, 1:], starts.given[:, :-1]).mean())
    return {"starts": few, "change_when_driving_of_255": moving, "way": table}


def _turns_and_waits(study: Study) -> dict[str, np.ndarray]:
    """Return the actions `(k, a)` of each way to leave a place and come back."""
    brake = study.held("down")
    brake = study.idle if brake is None else brake
    plans = {"park and wait": hold(brake, 1, SETTLE + WAIT)[0]}
    try:
        sides = [hold(side, 1, TURN)[0] for side in left_and_right(study)]
    except Skip:  # actions without sides
        return plans
    return {"turn and back": np.concatenate(sides)} | plans


def _revisited(
    made: np.ndarray, truth: np.ndarray, given: np.ndarray, parked: int | None
) -> dict[str, float]:
    """Compare places found again: dreams `(n, k, h, w, 3)`, and what really came of the first few.

    `given` `(few, h, w, 3)` are the frames before, `parked` is the frame from which all stands
    still, if any does.
    """
    row, few = {}, len(truth)
    if parked is not None:
        change = distance(made[:, parked + 1 :], made[:, parked:-1])
        row["change while parked"] = float(change.mean())
        row["after the wait dB"] = float(psnr(squared_error(made[:, parked], made[:, -1]).mean()))
    if few:
        before = given if parked is None else truth[:, parked]
        row["psnr"] = float(psnr(squared_error(made[:few, -1], truth[:, -1]).mean()))
        row["copy"] = float(psnr(squared_error(before, truth[:, -1]).mean()))
        each = squared_error(made[:few, None, -1], truth[None, :, -1])
        row["found again"] = share(each.argmin(1) == np.arange(few))
        each = squared_error(before[:, None], truth[None, :, -1])
        row["found by copying"] = share(each.argmin(1) == np.arange(few))
    return row
