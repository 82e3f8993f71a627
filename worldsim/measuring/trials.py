"""Does the dream last, and does it show what was asked? Text, drift, rewards, endings, time.

Each function is a section of the report: its docstring tells the reader how its figures came
about, so it speaks of what was done, not of code.
"""

import time
from typing import Any

import numpy as np
import torch

from worldsim.doubt import lost_again
from worldsim.measuring.dreaming import Dream, dream, film_strip, read_given
from worldsim.measuring.heldout import HeldOut, cut_clips, hold
from worldsim.measuring.labels import scene_values
from worldsim.measuring.metrics import (
    best_lag,
    f1_score,
    first_failure,
    frame_statistics,
    percentiles,
    r_squared,
    share,
)
from worldsim.measuring.report import Plot, Strip
from worldsim.measuring.study import Skip, Study
from worldsim.rollout import Rollout

HORIZON_TO_SHOW = 24  # frames within which a changed prompt must show
EVERY = 4  # one in so many frames is looked at for drift
WINDOW = 16 // EVERY
KEPT = ("biome", "traffic", "scenario", "monster")  # what a prompt in mid-clip leaves as it is


def measure_text(study: Study) -> dict[str, Any]:
    """Ask for scenes in held-out phrasings; a classifier trained on real frames says what shows.

    "from nothing": the prompt alone, under the world's own policy, judged over the last 16 of 24
    frames. "after a change": from a recorded start, a prompt takes over, for the same biome at
    another time and in other weather, in Doom for another theme and other air; judged over the last
    8 of 24 frames. "kept" is the share that still shows the biome. Shown is what those frames say
    together. "night" is the share of prompts with night that gave night. Beside each the
    classifier's own accuracy, on real clips of 16 frames and on single frames, of episodes that it
    has not seen.
    """
    probe, cfg = study.probe, study.cfg
    attributes = [name for name in cfg.probe.attributes if name in probe.classes]
    if not attributes:
        raise Skip("the recordings hold no attributes of scenes for the classifier to learn")
    rng = np.random.default_rng(cfg.seed)
    wanted, prompts = _asked(study, attributes, cfg.prompts, rng)
    settings = {"autopilot": True, "sampler_steps": study.steps, "guidance": cfg.guidance}
    nothing = None, None, HORIZON_TO_SHOW
    made = dream(study.world, *nothing, prompts=prompts, seed=cfg.seed, **settings)
    from_nothing = _shown(study, made.frames[:, -17:], wanted)
    starts = cut_clips(study.data, cfg.prompts, context=cfg.context, horizon=1, seed=cfg.seed + 2)
    before = _before(study, starts, attributes)
    changed, later = _asked(study, attributes, cfg.prompts, rng, before)
    after = dream(
        study.world, starts.given, starts.actions, HORIZON_TO_SHOW, known=starts.known,
        prompts=list(starts.captions), later_prompts=later, seed=cfg.seed, **settings,
    )  # fmt: skip
    after_change = _shown(study, after.frames[:, -9:], changed)
    table = {
        name: {
            "from nothing": share(from_nothing[name]),
            "kept" if name in KEPT else "after a change": share(after_change[name]),
            "classifier on real clips": probe.scores.get(f"{name}_of_clips", float("nan")),
            "on single frames": probe.scores.get(f"{name}_accuracy", float("nan")),
            "chance": 1 / len(probe.classes[name]),
        }
        for name in attributes
    }
    figures = {
        "asked": len(prompts),
        "shown_from_nothing": share(np.concatenate(list(from_nothing.values()))),
        "shown_after_a_change": share(
            [shown for name in attributes if name not in KEPT for shown in after_change[name]]
        ),
    }
    for name, films, said in (
        ("from-nothing", made.frames, prompts),
        ("changed", after.frames, later),
    ):
        for i in range(min(3, len(films))):
            strip = film_strip([films[i]], 2)
            study.strips[f"text-{name}-{i}"] = Strip(f"{name.replace('-', ' ')}: {said[i]}", strip)
    if "time" in attributes:
        for label, shown, scenes in (
            ("night_from_nothing", from_nothing, wanted),
            ("night_after_a_change", after_change, changed),
        ):
            dark = np.array([scene["time"] == "night" for scene in scenes])
            figures[label] = share(np.asarray(shown["time"])[dark])
    return figures | {"attribute": table}


def _before(study: Study, starts: HeldOut, attributes: list[str]) -> list[dict[str, str]]:
    """Return the scene that each clip's last given frame shows."""
    episodes = sorted(set(starts.place[:, 0].tolist()))
    shown = {name: scene_values(study.data, episodes, name) for name in attributes}
    return [
        scene | {n: v for n in attributes if (v := shown[n][episode][first + starts.context - 1])}
        for scene, (episode, first) in zip(starts.scenes, starts.place.tolist(), strict=True)
    ]


def _asked(
    study: Study,
    attributes: list[str],
    count: int,
    rng: np.random.Generator,
    before: list[dict] | None = None,
) -> tuple[list[dict], list[str]]:
    """Draw scenes and describe them in phrasings held out from training.

    After the scenes `before` each keeps its place, and every other attribute is another one.
    """
    from worldsim.captions import caption

    known = study.probe.classes
    examples = [study.data.outline(i).scene for i in range(len(study.data))]
    scenes, prompts = [], []
    for i in range(count):
        scene = dict(examples[i % len(examples)])
        scene.pop("next_biome", None)
        was = before[i] if before else {}
        for name in attributes:
            scene[name] = str(rng.choice([v for v in known[name] if v != was.get(name)]))
        scene |= {name: was[name] for name in KEPT if was.get(name)}
        scenes.append(scene)
        length = str(rng.choice(["sentence", "paragraph"]))  # short ones may leave things unsaid
        prompts.append(caption(scene, {}, rng, length, split="test"))
    return scenes, prompts


def _shown(study: Study, frames: np.ndarray, scenes: list[dict]) -> dict[str, list[bool]]:
    """Say for each video and attribute whether its frames show what was asked."""
    reading = study.probe.read(frames).shown
    return {
        name: [known[i] == scene.get(name) for i, scene in zip(reading[name], scenes, strict=True)]
        for name, known in study.probe.classes.items()
        if name != "action"
    }


def measure_drift(study: Study) -> dict[str, Any]:
    """Dream on for long: idle, at random (held for ten steps), as recorded, and under autopilot.

    A rollout fails when the median over 16 frames of any statistic leaves the range of real frames
    widened by half: mean and spread of each colour, sharpness, and what is lost when the frame is
    encoded again. Every fourth frame counts. Real recordings under the same rule stand beside.
    """
    cfg, world = study.cfg, study.world
    low, high, real = _real_range(study)
    ways = ("idle", "random", "recorded", "autopilot")
    n, k = cfg.drift_rows, cfg.drift_frames
    rows = len(ways) * n
    some = np.resize(np.arange(len(study.starts)), n)
    starts = study.starts.rows(np.tile(some, len(ways)))
    rollout = Rollout(world, rows, sampler_steps=study.steps, frame_size=study.data.info.frame_size)
    rollout.seed(list(range(rows)), [cfg.seed + i for i in range(rows)])
    read_given(rollout, starts.given, starts.actions, starts.known)
    given = torch.from_numpy(world.scale_actions(_ways(study, n, k))).to(world.device)
    statistics, seen = [], []
    for i in range(k):
        now = rollout.step(torch.cat([given[:, i], world.played(rollout.policy[3 * n :])]))
        if i % EVERY == 0:
            statistics.append(_statistics(study, now.latents))
        if i % max(1, k // 12) == 0:
            seen.append(world.decode(now.latents[::n]).cpu().numpy())  # one row of each way
    films = np.stack(seen, 1)
    about = f"{', '.join(ways)}: every {max(1, k // 12)} frames of {k}"
    study.strips["drift-ways"] = Strip(about, film_strip(list(films)))
    lasted = np.minimum(EVERY * first_failure(np.stack(statistics, 1), low, high, WINDOW), k)
    table = {}
    for name, part in zip(ways, np.split(lasted, len(ways)), strict=True):
        failed = part[part < k]
        table[name] = {
            "survived": share(part >= k),
            "first_failure": int(failed.min()) if len(failed) else k,
            "median_frames": float(np.median(part)),
        }
    frames = list(range(0, k + 1, max(1, k // 64)))
    study.plots["drift-survival"] = Plot(
        "Drift", "imagined frame", "share of rollouts still in the range of real frames",
        {
            name: (frames, [share((part >= f) | (part >= k)) for f in frames])
            for name, part in zip(ways, np.split(lasted, len(ways)), strict=True)
        },
    )  # fmt: skip
    return {
        "frames": k,
        "rollouts": rows,
        "survived": share(lasted >= k),
        "real_episodes_in_range": real,
        "way": table,
    }


def _ways(study: Study, n: int, k: int) -> np.ndarray:
    """Return idle, random and recorded actions, `n` rows of `k` each: `(3 n, k, a)`."""
    rng = np.random.default_rng(study.cfg.seed)
    idle = hold(study.idle, n, k)
    drawn = [
        study.clips.actions[rng.integers(len(study.clips)), 0] for _ in range(n * (k // 10 + 1))
    ]
    space = study.data.info.action_space
    if hasattr(space, "low") and np.isfinite([space.low, space.high]).all():
        drawn = [rng.uniform(space.low, space.high).ravel() for _ in drawn]
    held = np.stack(drawn).reshape(n, -1, idle.shape[-1]).repeat(10, 1)[:, :k]
    recorded = []
    for _ in range(n):
        order = rng.permutation(len(study.data))
        actions = np.concatenate([study.data.outline(int(i)).actions for i in order])
        recorded.append(np.resize(actions, (k, actions.shape[-1])))
    return np.concatenate([idle, held.astype(np.float32), np.stack(recorded)]).astype(np.float32)


@torch.inference_mode()
def _statistics(study: Study, latents: torch.Tensor) -> np.ndarray:
    """Return colour statistics and re-encoding error of latents `(b, c, h, w)`: `(b, 8)`."""
    frames, lost = study.world.decode(latents), lost_again(study.world, latents)
    return np.concatenate([frame_statistics(frames.cpu().numpy()), lost[:, None].cpu().numpy()], 1)


def _real_range(study: Study) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the range of real frames' statistics, and the share of real episodes that keep it.

    The range comes from every second episode, the share from the others; they are spread over all.
    """
    parts = []
    for index in np.linspace(0, len(study.data) - 1, min(64, len(study.data))).astype(int):
        frames = study.data[int(index)].frames[::EVERY]
        latents = study.world.encode(frames)
        parts.append(np.concatenate([_statistics(study, part) for part in latents.split(64)]))
    known, unseen = np.concatenate(parts[::2]), parts[1::2] or parts
    low, high = known.min(0), known.max(0)
    margin = 0.25 * (high - low)
    low, high = low - margin, high + margin
    low[-1] = 0.0  # losing nothing when encoded again is no fault
    kept = [first_failure(part[None], low, high, WINDOW)[0] >= len(part) for part in unseen]
    return low, high, share(kept)


def measure_rewards(study: Study) -> dict[str, Any]:
    """Compare imagined rewards and endings with the recorded ones, under the recorded actions.

    Rewards over 16 imagined frames. "lag" is the shift at which both correlate best: 0 is right.
    Endings 1 and 8 imagined frames ahead: clips that end an episode among as many that do not; one
    counts as found when its probability passes one half at most one frame off.
    """
    clips = study.short_clips
    real, made = clips.rewards[:, clips.context - 1 :], _play(study, clips)
    figures = {
        "reward_mean_error": float(np.abs(made.rewards - real).mean()),
        "reward_mean_error_of_guessing_the_mean": float(np.abs(real - real.mean()).mean()),
        "reward_r2": r_squared(made.rewards.ravel(), real.ravel()),
        "reward_lag": best_lag(made.rewards, real),
    }
    ended = clips.terminated[:, clips.context - 1 :].any(1)
    try:
        for frames in (1, min(8, clips.horizon)):
            figures[f"endings_in_{frames}"] = _endings(study, frames, made.terminated[~ended])
    except ValueError as error:
        figures["endings"] = str(error)
    return figures


def _play(study: Study, clips: HeldOut) -> Dream:
    settings = {"sampler_steps": study.steps, "seed": study.cfg.seed}
    return dream(
        study.world, clips.given, clips.actions, clips.horizon, known=clips.known, **settings
    )


def _endings(study: Study, frames: int, others: np.ndarray) -> dict[str, Any]:
    """Look for endings so many imagined frames ahead, and in dreams of what did not end."""
    clips = cut_clips(study.data, 32, context=study.cfg.context, horizon=frames, ends=True)
    n = min(len(clips), len(others))
    found = (_play(study, clips).terminated > 0.5)[:n, -2:].any(1)
    false = (others[:n, :frames] > 0.5).any(1)
    truth = np.concatenate([np.ones(len(found), bool), np.zeros(len(false), bool)])
    f1 = f1_score(np.concatenate([found, false]), truth)
    return {"clips": n, "f1": f1, "found": share(found), "false": share(false)}


def measure_time(study: Study) -> dict[str, Any]:
    """Time one world, frame by frame: action in, pixels, reward and termination out."""
    starts = study.starts.rows(np.arange(1))
    rollout = Rollout(
        study.world, 1, sampler_steps=study.steps, frame_size=study.data.info.frame_size
    )
    read_given(rollout, starts.given, starts.actions, starts.known)
    durations, warm = [], 20
    with torch.inference_mode():
        for i in range(warm + 120):
            begin = time.perf_counter()
            rollout.step(rollout.policy)
            rollout.frames().cpu()
            if i >= warm:
                durations.append(time.perf_counter() - begin)
    return percentiles(durations) | {
        "frames_per_second": float(1 / np.mean(durations)),
        "sampler_steps": study.steps or study.world.cfg.sampler_steps,
        "threads": torch.get_num_threads(),
    }
