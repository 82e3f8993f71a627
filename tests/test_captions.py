import itertools
import re

import numpy as np
import pytest
from worldsim.envs.scenes import CHOICES

from worldsim.captions import (
    EXAMPLE_PROMPTS,
    LENGTHS,
    WORDS,
    attributes,
    caption,
    expand_prompt,
    recaption,
)

SCENE = {"biome": "desert", "time": "night", "weather": "rain", "traffic": "busy"}
SCENES = [
    dict(zip(WORDS, values, strict=True))
    for values in itertools.product(*map(list, WORDS.values()))
]
STATES = [
    {"speed": 15.0, "curvature": 0.0},
    {"speed": 25.0, "curvature": 0.6, "nearest_car": 10.0},
    {"speed": 5.0, "curvature": -0.6},
    {"speed": 0.2, "brake": 1.0},
    {"speed": 12.0, "brake": 0.8},
    {"speed": 12.0, "offset": 11.0},
]


def many(length=None, split="train", scenes=SCENES, seeds=3):
    """Yield (scene, caption) over all scenes and some states."""
    for k, scene in enumerate(scenes):
        for seed in range(seeds):
            rng = np.random.default_rng((k, seed))
            state = STATES[(k + seed) % len(STATES)]
            if seed == 1:
                scene = scene | {"camera": "hood", "simulator": "drive"}
            yield scene, caption(scene, state, rng, length, split)


def test_every_scene_value_has_wordings():
    assert {key: set(values) for key, values in WORDS.items()} == {
        key: set(values) for key, values in CHOICES.items()
    }


@pytest.mark.parametrize(
    "length, least, most", [("short", 3, 25), ("sentence", 8, 35), ("paragraph", 36, 135)]
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_captions_have_three_lengths(length, least, most, split):
    counts = [len(text.split()) for _, text in many(length, split)]
    assert least <= min(counts) and max(counts) <= most


def test_lengths_are_drawn_40_40_20():
    counts = [len(text.split()) for _, text in many(seeds=10)]
    assert np.mean(np.array(counts) > 35) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("length, least", [("short", 750), ("sentence", 950), ("paragraph", 990)])
def test_one_scene_is_described_in_many_ways(length, least):
    rng = np.random.default_rng(0)
    texts = {caption(SCENE, STATES[1], rng, length) for _ in range(1000)}
    assert len(texts) > least


def test_a_caption_is_prose_and_no_list_of_attributes():
    for scene, text in many():
        assert not re.search(r"biome|simulator|camera:|weather:|[_={}\[\]]|chase|hood|None", text)
        assert not set(text.lower().split(", ")) <= set(scene.values())


def test_sentences_begin_with_a_capital_and_end_with_a_stop():
    for length in ("sentence", "paragraph"):
        for _, text in many(length, seeds=1):
            assert text[0].isupper() and text.endswith(".") and "  " not in text


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("length", LENGTHS)
def test_attributes_can_be_read_back(length, split):
    """What a caption says is true; a short one may leave out clear weather, any one the traffic."""
    for scene, text in many(length, split):
        said = attributes(text)
        asked = {key: scene[key] for key in WORDS}
        assert said.items() <= asked.items(), text
        unsaid = set(asked) - set(said)
        free = {"traffic"} if length != "paragraph" else set()
        if length == "short" and scene["weather"] == "clear":
            free |= {"weather"}
        assert unsaid <= free, text


def test_the_next_biome_is_named_as_such():
    for biome, following in itertools.permutations(WORDS["biome"], 2):
        scene = SCENE | {"biome": biome, "next_biome": following}
        said = attributes(caption(scene, {}, np.random.default_rng(0), "paragraph"))
        assert said == scene


@pytest.mark.parametrize(
    "state, words",
    [
        ({"speed": 0.2}, "still|stopped|waits"),
        ({"speed": 12.0, "offset": 11.0}, "off the road|left the asphalt|off-road"),
        ({"speed": 12.0, "brake": 0.8}, "brakes|slows"),
        ({"speed": 12.0, "curvature": 0.5}, "left"),
        ({"speed": 12.0, "curvature": -0.5}, "right"),
        ({"speed": 30.0}, "fast"),
        ({"speed": 4.0}, "slowly"),
    ],
)
def test_a_sentence_tells_the_manoeuvre(state, words):
    for seed in range(20):
        assert re.search(words, caption(SCENE, state, np.random.default_rng(seed), "sentence"))


def test_held_out_wordings_never_appear_in_training():
    held = [wordings[4::5] for values in WORDS.values() for wordings in values.values()]
    training = " | ".join(text for _, text in many(seeds=12)).lower()
    for wordings in held:
        assert wordings and not any(wording in training for wording in wordings)


def test_held_out_captions_use_only_held_out_wordings():
    rest = [w for values in WORDS.values() for ws in values.values() for i, w in enumerate(ws)
            if i % 5 != 4 and " " in w]  # fmt: skip
    held = [w for values in WORDS.values() for ws in values.values() for w in ws[4::5]]
    for _, text in many("sentence", "test"):
        text = text.lower()
        for wording in held:
            text = text.replace(wording, "")
        assert not [wording for wording in rest if wording in text]


def test_the_same_seed_gives_the_same_caption():
    def words(seed):
        return recaption(SCENE, STATES[0], np.random.default_rng(seed))

    assert words(3) == words(3)
    assert len({words(seed) for seed in range(20)}) > 15


def test_a_scene_without_wordings_is_named():
    """A simulator of somebody else may call its own things "biome"; this was a KeyError once."""
    rng = np.random.default_rng(0)
    text = caption({"map": "maze", "biome": "jungle", "simulator": "mine", "mode": ""}, {}, rng)
    assert sorted(text.split(", ")) == ["jungle", "maze"]
    assert caption({}, {}, rng) == ""
    odd = caption(SCENE | {"camera": "drone", "traffic": "convoy"}, {}, rng, "paragraph")
    assert attributes(odd) == {key: SCENE[key] for key in ("biome", "time", "weather")}


def test_unknown_lengths_and_splits_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="short, sentence, paragraph.* got 'long'"):
        caption(SCENE, {}, rng, "long")
    with pytest.raises(ValueError, match="train or test, got .*'validation'"):
        caption(SCENE, {}, rng, split="validation")


@pytest.mark.parametrize(
    "prompt, named",
    [
        ("a snowy forest road at night", {"biome": "snowy forest", "time": "night"}),
        ("Snowy city streets", {"biome": "city", "weather": "snow"}),
        ("a deserted road in the fog", {"traffic": "empty", "weather": "fog"}),
        ("soft evening light, brake lights ahead", {"time": "sunset"}),
        ("fog in a winter forest", {"biome": "snowy forest", "weather": "fog"}),
        ("the Desert, rainy, busy", {"biome": "desert", "weather": "rain", "traffic": "busy"}),
        ("a cat on a sofa", {}),
        ("", {}),
    ],
)
def test_prompts_are_read_by_whole_words(prompt, named):
    """The snow in "snowy forest" was weather once, brake lights were light traffic."""
    assert attributes(prompt) == named


@pytest.mark.parametrize("prompt", EXAMPLE_PROMPTS)
def test_example_prompts_name_a_place_and_more(prompt):
    assert "biome" in attributes(prompt) and len(attributes(prompt)) >= 2


@pytest.mark.parametrize("prompt", [*EXAMPLE_PROMPTS, "busy", "night", "heavy traffic in the rain"])
def test_expanded_prompts_keep_what_was_asked(prompt):
    """The traffic was left out two times in five once."""
    for seed in range(25):
        text = expand_prompt(prompt, np.random.default_rng(seed))
        assert attributes(prompt).items() <= attributes(text).items()


def test_expanded_prompts_are_in_the_style_of_captions():
    """They are sentences that `caption` writes for the scene they name."""
    for prompt in EXAMPLE_PROMPTS:
        text = expand_prompt(prompt)
        scene = {"traffic": "light"} | attributes(text)
        written = {
            caption(scene, {}, np.random.default_rng(seed), "sentence") for seed in range(60)
        }
        shapes = {_shape(one) for one in written}
        assert _shape(text) in shapes
        assert text == expand_prompt(prompt)


def test_a_prompt_that_names_nothing_known_is_left_alone():
    assert expand_prompt("two dragons over a lake") == "two dragons over a lake"
    with pytest.raises(TypeError, match="must be a string, got int"):
        expand_prompt(3)


def _shape(text):
    """Return a caption's sentence with its wordings taken out."""
    wordings = [w for values in WORDS.values() for ws in values.values() for w in ws]
    for wording in sorted(wordings, key=len, reverse=True):
        text = re.sub(re.escape(wording), "*", text, flags=re.I)
    verbs = "drives straight on|drives along|rolls down the road|cruises"
    text = re.sub(verbs, "#", re.sub("(a|the|a small) red car", "car", text, flags=re.I))
    return text.removesuffix(".").removesuffix(", *")


@pytest.mark.parametrize(
    "prompt, asked",
    [
        ("a desert road, no rain", {"biome": "desert"}),
        ("a city, but not at night", {"biome": "city"}),
        ("a road without fog in the rain", {"weather": "rain"}),
        ("no other cars in the city", {"biome": "city", "traffic": "empty"}),
    ],
)
def test_what_a_prompt_denies_is_not_asked_for(prompt, asked):
    assert attributes(prompt) == asked
