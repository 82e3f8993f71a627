"""From what a simulator knows of a scene to what a person would say of it.

A caption has one of three lengths: a few words, a sentence, or a paragraph. It is put together from
phrases, each with many wordings; every fifth wording is held out for tests, so that a score on
held-out phrasings says something. Prompts that people type are short and plain: `expand_prompt`
turns them into the style the world was trained on, as Sora does with its recaptioner.

References:
    Video generation models as world simulators, Brooks et al. 2024 (recaptioning)
    DALL-E 3, Betker et al. 2023 (training on descriptive synthetic captions)
"""

import re

import numpy as np

from worldsim.envs import doom_captions, drive_captions
from worldsim.envs.drive_captions import EXAMPLE_PROMPTS, LIKELY, WORDS, attributes  # noqa: F401

LENGTHS = ("short", "sentence", "paragraph")


def caption(
    scene: dict,
    state: dict,
    rng: np.random.Generator,
    length: str | None = None,
    split: str = "train",
) -> str:
    """Describe a moment of an episode.

    Args:
        scene: Attributes; those of `Drive-v0` and `Doom-v0` have wordings, others are named.
        state: Ground truth, of which speed, curvature, offset and cars become manoeuvres.
        rng: Chooses length and wording.
        length: "short", "sentence" or "paragraph"; by default drawn, 40 : 40 : 20.
        split: "train", or "test" for the held-out wordings.

    Raises:
        ValueError: If `length` or `split` is unknown.
    """
    if length is None:
        length = LENGTHS[int(rng.choice(3, p=(0.4, 0.4, 0.2)))]
    if length not in LENGTHS or split not in ("train", "test"):
        raise ValueError(
            f"`length` must be one of {', '.join(LENGTHS)} and `split` train or test, "
            f"got {length!r}, {split!r}"
        )
    if scene.get("simulator") == "doom":
        return doom_captions.caption(scene, state, rng, length, split)
    if all(scene.get(key) in WORDS[key] for key in ("biome", "time", "weather")):
        return drive_captions.caption(scene, state, rng, length, split)
    return _plain(scene, rng)


def recaption(dataset_scene: dict, state: dict, rng: np.random.Generator) -> str:
    """Describe the same moment in other words of any length."""
    return caption(dataset_scene, state, rng)


def expand_prompt(prompt: str, rng: np.random.Generator | None = None) -> str:
    """Turn a short prompt into a caption in the trained style; what it does not name is likely.

    A prompt that names no known attribute comes back as it is.

    Raises:
        TypeError: If the prompt is not a string.
    """
    if not isinstance(prompt, str):
        raise TypeError(f"a prompt must be a string, got {type(prompt).__name__}: {prompt!r}")
    named, rng = attributes(prompt), rng or np.random.default_rng(0)
    in_doom = doom_captions.attributes(prompt)
    biome = "biome" in attributes(re.sub(r"\bgreen\b", "", prompt.lower()))  # so is slime
    if {"theme", "monster"} & set(in_doom) and not biome:
        return doom_captions.caption(doom_captions.LIKELY | in_doom, {}, rng, "sentence")
    if not named:
        return prompt
    for _ in range(20):  # a sentence may leave out the traffic
        text = drive_captions.caption(LIKELY | named, {}, rng, "sentence")
        if named.items() <= attributes(text).items():
            break
    return text


def _plain(scene: dict, rng: np.random.Generator) -> str:
    """Name the attributes of a scene that has no wordings of its own."""
    parts = [str(value) for key, value in scene.items() if key != "simulator" and value != ""]
    rng.shuffle(parts)
    return ", ".join(parts)
