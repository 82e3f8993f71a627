"""What `worldsim/Doom-v0` says of its scenes."""

import itertools

import numpy as np
import pytest
from worldsim.envs.doom_captions import (
    EVENTS,
    EXAMPLE_PROMPTS,
    LOOKS,
    WORDS,
    attributes,
    event,
)
from worldsim.envs.doom_scenes import CHOICES

from worldsim.captions import LENGTHS, caption, expand_prompt

SCENES = [
    {"simulator": "doom"} | dict(zip(WORDS, values, strict=True))
    for values in itertools.product(*map(list, WORDS.values()))
]
STATES = {
    "dead": {"health": 0.0, "hit": 1.0},
    "goal": {"goal": 1.0, "pickup": 1.0},
    "hit": {"hit": 1.0, "balls": 1.0, "nearest_ball": 50.0},
    "killed": {"killed": 1.0},
    "pickup": {"pickup": 1.0},
    "ball": {"balls": 2.0, "nearest_ball": 100.0, "action": 9.0},
    "fire": {"action": 12.0, "ammo": 20.0},
    "foe": {"foes": 1.0, "nearest_foe": 100.0},
    "": {"foes": 1.0, "nearest_foe": 900.0, "action": 9.0, "ammo": 0.0},
}


def test_every_scene_value_has_wordings():
    assert {key: set(values) for key, values in WORDS.items()} == {
        key: set(values) for key, values in CHOICES.items()
    }
    assert set(LOOKS) == set(CHOICES["theme"])


@pytest.mark.parametrize("name", STATES)
def test_the_most_telling_event_is_told(name):
    assert set(STATES) == set(EVENTS) and event(STATES[name]) == name
    text = caption(SCENES[0], STATES[name], np.random.default_rng(0), "sentence").lower()
    assert any(wording in text for wording in EVENTS[name])


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("length, most", [("short", 40), ("sentence", 60), ("paragraph", 135)])
def test_what_a_caption_says_can_be_read_back(length, most, split):
    """All it says is true; the scenario and a plain air may go unsaid."""
    states = list(STATES.values())
    for k, scene in enumerate(SCENES[::3]):
        text = caption(scene, states[k % len(states)], np.random.default_rng(k), length, split)
        said = attributes(text)
        assert said.items() <= scene.items(), text
        free = {"scenario"} if length == "short" else set()
        free |= {"air"} if scene["air"] == "plain" else set()
        assert set(WORDS) - set(said) <= free, text
        assert 3 <= len(text.split()) <= most


def test_held_out_wordings_are_not_trained_on():
    def said(split):
        rng = np.random.default_rng(0)
        texts = [caption(s, {}, rng, length, split) for s in SCENES for length in LENGTHS]
        return " ".join(texts).lower()

    train, test = said("train"), said("test")
    for wordings in (w for values in WORDS.values() for w in values.values()):
        assert wordings[4].lower() in test and wordings[4].lower() not in train


def test_one_scene_is_described_in_many_ways():
    rng = np.random.default_rng(0)
    assert len({caption(SCENES[5], {}, rng, "sentence") for _ in range(500)}) > 350


def test_prompts_are_put_into_the_style_of_doom():
    text = expand_prompt("a lava cave full of imps")
    assert attributes(text).items() >= {"theme": "lava hell", "monster": "imp"}.items()
    for prompt in EXAMPLE_PROMPTS:
        assert attributes(expand_prompt(prompt)).items() >= attributes(prompt).items(), prompt
    for key in ("theme", "monster"):  # much of it is green, and became countryside
        for value, wordings in WORDS[key].items():
            for wording in wordings:
                named = attributes(wording)
                if named.get(key) == value and {"theme", "monster"} & set(named):
                    assert attributes(expand_prompt(wording)).get(key) == value, wording
    drive = expand_prompt("a snowy forest road in fog")
    assert {"theme", "monster"}.isdisjoint(attributes(drive))


def test_what_a_doom_prompt_denies_is_not_asked_for():
    assert attributes("a sewer without imps, no fog") == {"theme": "toxic sewer"}
