"""A world as a folder: saved whole, read back as it was, refused with a way out.

`tests/data/world-v7` is a world of format version 7, with what it imagined when it was frozen.
`PYTHONPATH=. python tests/test_world.py` made it, once. A version that was shipped is never made
again: when the format changes, `FORMAT_VERSION` rises and another frozen world joins this one.
"""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import CAPTIONS, DRIVE, make_tiny_world

import worldsim.world
from worldsim.building import GUIDANCE, VARIETY, build_world
from worldsim.datasets.episodes import DatasetInfo, Episode, MemoryDataset
from worldsim.devices import choose_device, has_bf16
from worldsim.env import WorldEnv
from worldsim.formats import FORMAT_VERSION
from worldsim.loading import list_worlds, load
from worldsim.starts import Starts

FROZEN = Path(__file__).parent / "data"
ACTIONS = np.random.default_rng(0).uniform([-1, 0, 0], 1, (4, 3)).astype(np.float32)
FILES = {
    "README.md",
    "config.json",
    "dynamics.safetensors",
    "starts.safetensors",
    "tokenizer.safetensors",
}


def film(world, **options):
    """Return some frames `(t, h, w, 3)` and rewards `(t - 1,)`."""
    env = WorldEnv(world)
    first = env.reset(seed=0, options=options)[0]
    steps = [env.step(action)[:2] for action in ACTIONS]
    return np.stack([first, *(frame for frame, _ in steps)]), np.array([r for _, r in steps])


def freeze(folder):
    """Save a world of today's format and what it imagines, once from nothing, once from a clip."""
    world = make_tiny_world(width=16, dim=32, endless=True)
    world.save(folder, "# A world of random weights\n")
    np.savez_compressed(Path(folder) / "imagined.npz", **imagine(folder))


def imagine(folder):
    world = load(folder, "cpu", torch.float32)
    nothing, clip = film(world, prompt=CAPTIONS[1]), film(world, start=2)
    world.cfg.sampler_steps = 1
    films = {"nothing": nothing[0], "clip": clip[0], "one step": film(world, start=2)[0]}
    return films | {"rewards": np.stack([nothing[1], clip[1]])}


def siblings(folder):
    return {path.name for path in Path(folder).parent.iterdir()}


@pytest.fixture
def folder(tiny_world_path, tmp_path):
    """A copy to damage."""
    return shutil.copytree(tiny_world_path, tmp_path / "tiny")


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6, 7])
def test_a_world_of_every_version_ever_shipped_still_imagines_the_same(version):
    folder = FROZEN / f"world-v{version}"
    assert json.loads((folder / "config.json").read_text())["format_version"] == version
    imagined = imagine(folder)
    with np.load(folder / "imagined.npz") as expected:
        np.testing.assert_allclose(imagined["rewards"], expected["rewards"], atol=1e-4)
        for name in expected.keys() - {"rewards"}:  # before format 6 a single step was not frozen
            assert np.ptp(expected[name]) > 100  # there is something to see
            assert np.abs(imagined[name].astype(int) - expected[name]).max() <= 2, name


# saving


@pytest.mark.parametrize("options", [{"start": 1}, {"prompt": CAPTIONS[2]}])
def test_a_world_survives_the_disk(tmp_path, options):
    """Weights are rounded to bfloat16 on the way, and no further at the second time."""
    world = make_tiny_world(endless=True)
    for model in (world.tokenizer, world.dynamics):
        model.load_state_dict({name: t.bfloat16() for name, t in model.state_dict().items()})
    frames, rewards = film(world, **options)
    for name in ("once", "twice"):
        world = load(world.save(tmp_path / name), "cpu", torch.float32)
        again = film(world, **options)
        np.testing.assert_array_equal(again[0], frames)
        np.testing.assert_array_equal(again[1], rewards)
        assert siblings(tmp_path / name) <= {"once", "twice"}
    assert world.cfg == make_tiny_world().cfg and world.action_space == DRIVE
    assert {path.name for path in (tmp_path / "twice").iterdir()} == FILES


def test_a_world_without_start_clips_or_captions_survives_the_disk(tmp_path, tiny_world):
    """Uncaptioned recordings once gave worlds that could be saved but not loaded."""
    starts, none = tiny_world.starts, torch.zeros(0)
    for name, each in {
        "bare": Starts(none, none, none, (), ()),
        "mute": Starts(starts.latents, starts.actions, starts.known, ("",) * 3, ()),
    }.items():
        world = make_tiny_world()
        world.starts = each
        env = WorldEnv(load(world.save(tmp_path / name), "cpu", torch.float32))
        assert env.reset(seed=0)[1]["prompt"] == ""
        env.step(ACTIONS[0])
        with pytest.raises(ValueError, match="has none of|have none; choose one by its number"):
            env.reset(options={"start": "nearest"})


def test_saving_again_keeps_the_card_and_what_else_lies_there(tmp_path, tiny_world):
    tiny_world.save(tmp_path / "w", "# My world\n")
    (tmp_path / "w" / "picture.png").write_bytes(b"pixels")
    (tmp_path / "w" / "agents").mkdir()
    (tmp_path / "w" / "agents" / "mine.safetensors").write_bytes(b"weights")
    tiny_world.save(tmp_path / "w")
    assert (tmp_path / "w" / "README.md").read_text() == "# My world\n"
    assert (tmp_path / "w" / "picture.png").read_bytes() == b"pixels"
    assert (tmp_path / "w" / "agents" / "mine.safetensors").read_bytes() == b"weights"
    tiny_world.save(tmp_path / "w", "# Another\n")
    assert (tmp_path / "w" / "README.md").read_text() == "# Another\n"


@pytest.mark.parametrize(
    "there, broken",
    [(there, name) for there in (True, False) for name in ("dynamics.safetensors", "new")]
    + [(True, "w")],  # a first save moves no old world aside
)
def test_a_save_that_fails_half_way_leaves_the_old_world_whole(
    tmp_path, tiny_world, monkeypatch, there, broken
):
    """Every file and folder comes to its place by a rename; here one of them fails."""
    if there:
        tiny_world.save(tmp_path / "w", "old")
    before = {path.name: path.read_bytes() for path in (tmp_path / "w").glob("*")}
    works = os.replace

    def replace(source, goal):
        if broken in (Path(source).name, Path(goal).name) and Path(source).name != "old":
            raise OSError("no space left on device")
        works(source, goal)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="no space left"):
        tiny_world.save(tmp_path / "w", "new")
    assert {path.name: path.read_bytes() for path in (tmp_path / "w").glob("*")} == before
    assert siblings(tmp_path / "w") == ({"w"} if there else set())


def test_a_save_cut_off_between_its_two_renames_loses_nothing(tmp_path, tiny_world):
    old = tiny_world.save(tmp_path / "w.part" / "old", "old")
    tiny_world.save(tmp_path / "w")
    assert (tmp_path / "w" / "README.md").read_text() == "old"
    tiny_world.save(old, "older")  # as it is after both renames, before the end
    tiny_world.save(tmp_path / "w")
    assert (tmp_path / "w" / "README.md").read_text() == "old"
    assert siblings(tmp_path / "w") == {"w"}


def test_saving_never_replaces_what_is_no_world(tmp_path, tiny_world):
    """Saving into a folder once removed whatever else was there."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_bytes(b"pixels")
    (tmp_path / "note").write_text("text")
    (tmp_path / "empty").mkdir()
    for name in ("photos", "note"):
        with pytest.raises(FileExistsError, match=f"{name}; choose another folder"):
            tiny_world.save(tmp_path / name)
    tiny_world.save(tmp_path / "empty")
    assert siblings(tmp_path / "note") == {"photos", "note", "empty"}
    assert (tmp_path / "photos" / "one.jpg").exists()


# loading


def test_loading_chooses_dtype_and_device(tiny_world_path):
    for dtype in (torch.float32, torch.bfloat16):
        world = load(tiny_world_path, "cpu", dtype)
        assert world.dtype == dtype and world.device.type == "cpu"
        parameters = [*world.tokenizer.parameters(), *world.dynamics.parameters()]
        assert not any(p.requires_grad for p in parameters)
        assert not world.tokenizer.training and not world.dynamics.training


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_here_is_refused(tiny_world_path, device):
    with pytest.raises(ValueError, match=f"must be available on this machine, got '{device}'"):
        load(tiny_world_path, device)


@pytest.mark.parametrize("file", sorted(FILES - {"README.md"}))
def test_a_missing_file_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=file) as caught:
        load(folder)
    assert "must" in str(caught.value) and str(folder) in str(caught.value)


@pytest.mark.parametrize("file", sorted(FILES - {"README.md"}))
def test_a_truncated_file_is_named(folder, file):
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"{file} must be a whole .* again"):
        load(folder)


@pytest.mark.parametrize("version", [0, FORMAT_VERSION + 1, "one", None])
def test_an_unknown_format_version_is_refused(folder, version):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"format_version": version}))
    with pytest.raises(
        ValueError, match=rf"1 to {FORMAT_VERSION}, got {version!r} .* upgrade worlds"
    ):
        load(folder)


def test_a_world_of_format_4_loads_unless_it_carries_frames_along(folder):
    config = json.loads((folder / "config.json").read_text()) | {"format_version": 4}
    for width in (0, 96):
        config["dynamics"]["carry"] = width
        (folder / "config.json").write_text(json.dumps(config))
        if not width:
            assert load(folder).cfg.format_version == 4
    with pytest.raises(ValueError, match=r"carry frames along .* train it anew"):
        load(folder)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda config: config.pop("fps"), "fps"),
        (lambda config: config.update(colour="red"), "colour"),
        (lambda config: config["dynamics"].update(heads=7), "heads=7"),
    ],
)
def test_a_config_that_describes_no_world_is_refused(folder, change, words):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=rf"config.json must describe a world, got: .*{words}"):
        load(folder)


def test_the_weights_of_another_world_are_refused_in_a_few_words(folder, tmp_path):
    other = make_tiny_world(width=16, dim=32).save(tmp_path / "other")
    for file in ("tokenizer.safetensors", "dynamics.safetensors"):
        mine = (folder / file).read_bytes()
        shutil.copy(other / file, folder)
        with pytest.raises(ValueError, match=rf"{file} must hold the weights") as caught:
            load(folder)
        assert len(str(caught.value)) < 800
        (folder / file).write_bytes(mine)
    shutil.copy(folder / "tokenizer.safetensors", folder / "starts.safetensors")
    with pytest.raises(ValueError, match=r"starts.safetensors must hold start clips"):
        load(folder)


def test_shipped_worlds_are_found_by_name(tmp_path, tiny_world, monkeypatch):
    monkeypatch.setattr(worldsim.loading, "SHIPPED", tmp_path / "none")
    assert list_worlds() == []
    monkeypatch.setattr(worldsim.loading, "SHIPPED", tmp_path)
    for name in ("sea", "moor"):
        tiny_world.save(tmp_path / name)
    (tmp_path / "unfinished").mkdir()
    assert list_worlds() == ["moor", "sea"]
    assert load("sea", "cpu").cfg == tiny_world.cfg
    with pytest.raises(FileNotFoundError, match=r"\(moor, sea\), .*'see'; did you mean 'sea'"):
        load("see")
    with pytest.raises(
        FileNotFoundError, match=r"config.json, got '.*unfinished' without; a training"
    ):
        load(tmp_path / "unfinished")


def test_a_hub_id_comes_from_the_hub(tiny_world_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "snapshot_download", {"me/tiny": tiny_world_path}.__getitem__)
    assert load("me/tiny", "cpu").cfg.name == "tiny"


def test_a_hub_id_says_what_it_would_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as if it were not installed
    with pytest.raises(FileNotFoundError, match=r"'me/tiny'.*`pip install worldsim-sdk\[hub\]"):
        load("me/tiny")


def test_a_hub_id_without_network_says_so(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")

    def fail(name):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(FileNotFoundError, match="'me/tiny'.* no route to host; check the name"):
        load("me/tiny")
    monkeypatch.setattr(hub, "snapshot_download", lambda name: str(tmp_path))
    with pytest.raises(FileNotFoundError, match="config.json must exist"):
        load("me/tiny")


# building


def make_episode(captions, index, style=0.0, brightness=0):
    """Build an episode of `t` = `len(index) - 1` actions whose pixels tell which one it is."""
    t = len(index) - 1
    frames = np.full((t + 1, 32, 32, 3), brightness, np.uint8)
    frames[:, 0, 0, 0] = np.arange(t + 1)
    actions = np.tile(np.float32([0, 0.5, 0]), (t, 1))
    actions[:, 0] = np.linspace(-1, 1, t)
    state = {"style": np.full(t + 1, style, np.float32)}
    return Episode(frames, actions, captions=captions, caption_index=index, state=state)


def make_dataset(*episodes):
    keys = [[["left"], [-1, 0, 0]]]
    info = DatasetInfo(20, (32, 32), DRIVE, "worldsim/Drive-v0", keys, {"camera": "hood"})
    return MemoryDataset(info, episodes)


def built(dataset, **settings):
    """Build a world around the tiny models, whose prompts need no encoder."""
    parts = make_tiny_world()
    words = dict(zip(parts.starts.captions, parts.starts.words, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worldsim.world.World, "words", lambda self, prompt: words[prompt])
        return build_world(dataset, parts.tokenizer, parts.dynamics, name="built", **settings)


def test_a_world_is_built_from_a_data_set_and_survives_the_disk(tmp_path):
    caption = (CAPTIONS[0],)
    dataset = make_dataset(*(make_episode(caption, [0] * 9, 0, 40 * i) for i in range(3)))
    world = built(dataset, frames=4)
    cfg = world.cfg
    assert (cfg.name, cfg.fps, cfg.frame_size, cfg.env_id) == (
        "built", 20, (32, 32), "worldsim/Drive-v0",
    )  # fmt: skip
    assert (cfg.env_kwargs, cfg.keys) == ({"camera": "hood"}, dataset.info.keys)
    assert world.action_space == DRIVE
    assert world.starts.latents.shape == (3, 4, 8, 8, 8)
    again = load(world.save(tmp_path / "built"), "cpu", torch.float32)
    assert again.cfg == cfg and again.starts.captions == caption * 3
    assert WorldEnv(again).reset(options={"start": 2})[1]["prompt"] == CAPTIONS[0]


def test_start_clips_show_what_was_shown_least():
    """Two clips of three scenes, two of which are alike."""
    episodes = [
        replace(make_episode((caption,), [0] * 9), scene={"biome": "city", "time": time})
        for caption, time in zip(CAPTIONS, ("day", "day", "night"), strict=True)
    ]
    assert built(make_dataset(*episodes), starts=2).starts.captions == (CAPTIONS[0], CAPTIONS[2])


def test_start_clips_hold_frames_and_the_actions_that_led_to_them():
    """The stretch under the second caption is the first that is long enough."""
    dataset = make_dataset(make_episode(CAPTIONS[:2], [0, 0, 0, 1, 1, 1, 1, 1]))
    world, episode = built(dataset, frames=4), dataset[0]
    assert world.starts.captions == (CAPTIONS[1],)
    torch.testing.assert_close(world.starts.latents[0], world.encode(episode.frames[3:7]))
    scaled = 2 * episode.actions[2:6] - [0, 1, 1]
    scaled[:, 0] = episode.actions[2:6, 0]
    np.testing.assert_allclose(world.starts.actions[0], scaled, atol=1e-6)


def test_captions_that_never_stay_for_a_clip_still_give_one():
    dataset = make_dataset(make_episode(CAPTIONS[:2], [0] * 4 + [1] * 5))
    world = built(dataset, frames=8)
    assert world.starts.captions == (CAPTIONS[0],) and world.starts.latents.shape[1] == 8


def test_start_clips_are_spread_over_the_captions_cleanly_driven_ones_first():
    """The first episodes of a data set, which may all look alike, once took every place."""
    a, b, c = ((caption,) for caption in CAPTIONS)
    even = [0] * 6
    dataset = make_dataset(
        make_episode(a, even, 0, 10),
        make_episode(a, even, 0, 20),
        make_episode(b, even, 1, 30),  # driven wildly, but there is no other of its caption ...
        make_episode(a, [0] * 3, 0, 40),  # too short
        make_episode(c, even, 2, 50),  # ... as there is here
        make_episode(c, even, 0, 60),
        make_episode(a, even, 0, 70),
    )

    def brightness(world):
        clips = [world.encode(episode.frames[:1])[0] for episode in dataset]
        return [
            (10 * (1 + min(range(7), key=lambda i: (clips[i] - latents[0]).norm())), caption)
            for latents, caption in zip(world.starts.latents, world.starts.captions, strict=True)
        ]

    found = [brightness(built(dataset, starts=n, frames=5)) for n in (3, 32)]
    assert sorted(found[0]) == [(10, *a), (30, *b), (60, *c)]
    assert sorted(shade for shade, _ in found[1]) == [10, 20, 30, 50, 60, 70]


def test_every_second_start_clip_is_cut_from_anywhere_in_its_episode():
    """An agent never saw in a dream what lies further than a hundred frames from a reset."""
    rng = np.random.default_rng(0)
    episodes = [make_episode((CAPTIONS[i % 3],), [0] * 60) for i in range(6)]
    films = [rng.integers(0, 256, (60, *e.frames.shape[1:]), np.uint8) for e in episodes]
    episodes = [replace(e, frames=film) for e, film in zip(episodes, films, strict=True)]
    world = built(make_dataset(*episodes), frames=4)
    first = [world.encode(film[:1])[0] for film in films]
    begins = [
        any(torch.allclose(clip[0], latents) for latents in first) for clip in world.starts.latents
    ]
    assert begins == [True, False] * 3


def test_an_uncaptioned_data_set_gives_a_world_without_words(tmp_path):
    world = built(make_dataset(make_episode(("",), [0] * 6)), frames=4)
    assert world.starts.words == ()
    again = load(world.save(tmp_path / "mute"), "cpu", torch.float32)
    assert WorldEnv(again).reset(options={"start": 0})[1]["prompt"] == ""


def test_short_episodes_make_short_start_clips():
    """As long as half of the episodes are, not as the longest is."""
    lengths = 5, 9, 9, 14
    dataset = make_dataset(*(make_episode((CAPTIONS[0],), [0] * length) for length in lengths))
    world = built(dataset)
    assert world.starts.latents.shape[:2] == (3, 8) == world.starts.actions.shape[:2]


def test_no_start_clip_shows_the_end_of_an_episode():
    """A reset once showed a finished game."""
    episodes = [make_episode((CAPTIONS[0],), [0] * 9, 0, 40 * i) for i in range(2)]
    episodes[1].terminated[-1] = True
    world = built(make_dataset(*episodes), frames=8)
    assert world.starts.latents.shape[:2] == (2, 8)
    with pytest.MonkeyPatch.context() as patch:  # a stretch that only its last frame completes
        patch.setattr(worldsim.building.np, "median", lambda _: 9)
        assert len(built(make_dataset(*episodes), frames=9).starts.latents) == 1


def test_prompts_weigh_more_while_they_are_new_in_a_world_that_was_taught_some():
    told, mute = (
        make_dataset(make_episode((caption,), [0] * 9), make_episode((caption,), [0] * 9))
        for caption in (CAPTIONS[0], "")
    )
    assert built(told, frames=4).cfg.guidance == GUIDANCE > 1 == built(mute, frames=4).cfg.guidance
    assert built(mute, frames=4).cfg.variety == VARIETY


def test_a_world_of_unlabelled_film_reads_no_actions(tmp_path):
    """What a player does once went through layers that had learned nothing."""
    episodes = [make_episode((CAPTIONS[0],), [0] * 9) for _ in range(2)]
    for episode in episodes:
        episode.action_known[:] = False
    world = load(built(make_dataset(*episodes), frames=4).save(tmp_path / "film"), "cpu")
    assert not world.cfg.labelled and not world.starts.known.any()
    env = WorldEnv(world)
    left, right = ((env.reset(seed=0), env.step(np.float32([x, 0, 0])))[1][0] for x in (-1, 1))
    assert (left == right).all()


@pytest.mark.parametrize("major, fast", [(7, False), (8, True)])
def test_a_card_that_only_emulates_bf16_works_in_fp32(monkeypatch, major, fast):
    """A T4 or V100 was taken for one that multiplies bf16 fast, as torch can do it on them."""
    card = SimpleNamespace(major=major)
    for name, answer in (
        ("is_available", True), ("current_device", 0), ("get_device_properties", card),
        ("_check_bf16_tensor_supported", True),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    assert has_bf16(torch.device("cuda")) is fast


def test_a_card_that_cannot_be_used_leaves_the_cpu(monkeypatch):
    """One without kernels in this build of torch stopped every command, and nobody had named it."""

    def broken(*_, **__):
        raise torch.AcceleratorError("CUDA error: no kernel image is available\nmore of it")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", broken)
    with pytest.warns(UserWarning, match="so the CPU is: CUDA error: no kernel image"):
        assert choose_device() == torch.device("cpu")


def test_only_pixels_are_encoded(tiny_world):
    """A picture between 0 and 1 was taken for a black one."""
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    assert tiny_world.encode(list(frames)).shape == tiny_world.encode(frames).shape
    for wrong in (frames / 255, frames[..., 0], frames[..., :1]):
        with pytest.raises(ValueError, match=r"frames must be uint8 \(\.\.\., h, w, 3\)"):
            tiny_world.encode(wrong)


def test_a_caption_of_a_start_is_heard_without_an_encoder(monkeypatch):
    world = make_tiny_world()
    monkeypatch.setattr("worldsim.text.TextEncoder", lambda: pytest.fail("an encoder was loaded"))
    assert world.heard("") == world.heard(CAPTIONS[0]) == ""


if __name__ == "__main__":
    freeze(FROZEN / f"world-v{FORMAT_VERSION}")
