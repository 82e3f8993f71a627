"""Whether a dream shows what a prompt asks for."""

from typing import Any

import numpy as np

from worldsim.measuring.dreaming import dream, film_strip
from worldsim.measuring.heldout import HeldOut, cut_clips
from worldsim.measuring.labels import scene_values
from worldsim.measuring.metrics import share
from worldsim.measuring.report import Strip
from worldsim.measuring.study import Skip, Study

HORIZON_TO_SHOW = 24  # frames within which a changed prompt must show
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
