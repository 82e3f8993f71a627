"""Prompts in words of their own are read in taught ones; all others stay as they are."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_tiny_world
from worldsim.envs import doom_captions

from worldsim import captions, load
from worldsim.captions import EXAMPLE_PROMPTS, WORDS, caption
from worldsim.rewording import Rewording
from worldsim.text import TextEncoder, find_weights
from worldsim.wordings import DOOM_SYNONYMS, SYNONYMS, taught


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    try:
        find_weights()
    except FileNotFoundError:
        pytest.skip("the text encoder's weights are not installed; run `make text`")
    return TextEncoder()


@pytest.fixture(scope="module")
def drive(encoder) -> Rewording:
    return Rewording("worldsim/Drive-v0", encoder)


def scenes(n):
    rng = np.random.default_rng(0)
    return [{key: str(rng.choice(list(WORDS[key]))) for key in WORDS} for _ in range(n)]


@pytest.mark.parametrize(
    "words, synonyms", [(WORDS, SYNONYMS), (doom_captions.WORDS, DOOM_SYNONYMS)]
)
def test_no_synonym_is_a_wording_that_is_kept_for_tests(words, synonyms):
    for key, values in synonyms.items():
        for value, others in values.items():
            assert not set(others) & {w for options in words[key].values() for w in options}, value


@pytest.mark.parametrize(
    "prompt, wanted, never",
    [
        ("a desert at dawn", "sunset", "night"),
        ("snow at daybreak", "sunset", "night"),
        ("early morning in a city", "sunset", "noon"),
        ("a highway in the desert", "desert", "lonely"),
        ("a motorway in the rain", "rain", "lonely"),
        ("a freeway at night", "night", "lonely"),
    ],
)
def test_other_words_say_no_more_than_they_do(drive, prompt, wanted, never):
    assert wanted in drive(prompt) and never not in drive(prompt)


def test_people_are_told_what_is_made_of_their_words(drive, encoder):
    assert drive.heard("a desert at night") == ""
    assert drive.heard("the sahara at night") == f"read as {drive('the sahara at night')!r}"
    assert "nothing that this world was taught is named in 'zzz qqq'" in drive.heard("zzz qqq")
    assert Rewording("Other-v0", encoder).heard("zzz qqq") == ""


def test_held_out_wordings_are_read_as_what_they_mean(drive):
    right = total = 0
    for i, scene in enumerate(scenes(40)):
        text = drive(caption(scene, {}, np.random.default_rng(i), "sentence", "test"))
        for key in ("biome", "time", "weather"):
            said = [v for v, words in WORDS[key].items() if any(w in text for w in taught(words))]
            right, total = right + (scene[key] in said), total + 1
    assert right / total > 0.9


def test_held_out_wordings_of_doom_are_read_as_what_they_mean(encoder):
    reword, rng = Rewording("worldsim/Doom-v0", encoder), np.random.default_rng(0)
    known = doom_captions.WORDS
    right = total = 0
    for i in range(40):
        scene = {
            key: str(rng.choice(list(doom_captions.WORDS[key]))) for key in doom_captions.WORDS
        }
        said = doom_captions.caption(scene, {}, np.random.default_rng(i), "sentence", "test")
        text = reword(said)
        for key in ("theme", "air"):
            words = known[key][scene[key]]
            if any(w in said.lower() for w in words):  # plain air need not be named
                total, right = total + 1, right + any(w in text.lower() for w in taught(words))
    assert total > 60 and right / total > 0.9


def test_captions_of_the_kind_that_was_taught_stay_as_they_are(drive):
    texts = [caption(s, {}, np.random.default_rng(i)) for i, s in enumerate(scenes(40))]
    assert [drive(text) for text in texts] == texts


@pytest.mark.parametrize(
    "prompt, wanted",
    [
        ("driving through the sahara at midnight", ("desert", "night")),
        ("a thunderstorm over maple trees in fall", ("rain", "golden leaves")),
        ("two dragons over a lake", ("two dragons over a lake",)),
        ("a forest road at night", ("a forest road at night",)),  # of which of them, nobody said
        ("no sun", ("no sun",)),
        ("a desert road without snow", ("a desert road without snow",)),
        ("", ("",)),
    ],
)
def test_prompts_of_people(drive, prompt, wanted):
    assert all(word in drive(prompt) for word in wanted), drive(prompt)


def test_a_world_that_has_read_a_prompt_can_be_copied(encoder):
    """It held a module: futures in the viewer and `pickle` failed from its first prompt on."""
    world = make_tiny_world()
    world.cfg, world.encoder = replace(world.cfg, env_id="worldsim/Drive-v0"), encoder
    said = world.reworded("the sahara at midnight")
    assert copy.deepcopy(world).reworded("the sahara at midnight") == said
    assert pickle.loads(pickle.dumps(world)).reworded("the sahara at midnight") == said


def test_other_worlds_read_prompts_as_they_are(encoder):
    for prompt in EXAMPLE_PROMPTS:
        assert Rewording("ALE/Breakout-v5", encoder)(prompt) == prompt


def test_a_world_made_of_a_filmed_simulator_rewords_as_its_simulator_does(encoder):
    world = make_tiny_world()
    world.cfg = replace(
        world.cfg, env_id="worldsim/Filmed-v0", env_kwargs={"env": "worldsim:worldsim/Drive-v0"}
    )
    world.encoder = encoder
    assert "desert" in world.reworded("driving through the sahara at midnight")


@pytest.mark.parametrize(
    "name, place, attributes",
    [("drive", "biome", captions.attributes), ("doom", "theme", doom_captions.attributes)],
)
def test_the_nearest_start_is_at_the_place_that_a_prompt_names(name, place, attributes, encoder):
    """Words in common chose a wooden house for a lava cave, as both had imps."""
    world = load(name)
    world.encoder = encoder
    asked = [attributes(world.reworded(prompt)) for prompt in world.cfg.prompts]
    starts = [world.starts.captions[world.nearest_start(prompt)] for prompt in world.cfg.prompts]
    assert sum(place in one for one in asked) >= 7
    for one, start in zip(asked, starts, strict=True):
        assert attributes(start)[place] == one.get(place, attributes(start)[place]), start


def test_the_nearest_start_to_a_caption_of_a_start_is_that_start():
    world = load("drive")
    assert world.nearest_start(world.starts.captions[7]) == 7


@pytest.mark.parametrize(
    "prompt, wanted, never",
    [
        ("a hall full of monsters", "monsters", "no monsters"),
        ("many enemies in a sewer", "many enemies", "no enemies"),
        ("a monster in a blue tech base", "monster", "no monsters"),
        ("a cave full of enemies", "full of enemies", "no enemies"),
        ("a sewer without enemies", "green sewer", "full"),
    ],
)
def test_who_asks_for_monsters_is_not_read_as_asking_for_none(encoder, prompt, wanted, never):
    """To an encoder both are about the same, and worlds are taught no plain "monsters"."""
    text = Rewording("worldsim/Doom-v0", encoder)(prompt)
    assert wanted in text and never not in text, text


def test_an_open_sky_is_no_darkness(encoder):
    assert "dark" not in Rewording("worldsim/Doom-v0", encoder)("a temple under the open sky")
