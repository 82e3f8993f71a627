"""Measures of a world, on a few short recordings of the real simulator and a tiny, random world."""

import json
import re
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from conftest import make_tiny_world
from gymnasium import spaces

import worldsim
from worldsim.datasets.subsets import UNKNOWN, Subset, tags
from worldsim.datasets.writing import DatasetWriter
from worldsim.evaluation import SECTIONS, _place, evaluate
from worldsim.measuring import completing
from worldsim.measuring.card import card_table, write_card
from worldsim.measuring.dreaming import WorldPredict, dream, rollout_quality
from worldsim.measuring.drift import RealFrames
from worldsim.measuring.heldout import HeldOut, cut_clips, cut_usual
from worldsim.measuring.labels import LOOK, Labelled, collect, look_back, true_number
from worldsim.measuring.likeness import compare
from worldsim.measuring.metrics import copy_last
from worldsim.measuring.plots import Plot, draw_plot
from worldsim.measuring.probes import Probe, ProbeConfig, score_probe, train_probe
from worldsim.measuring.report import Report, Strip
from worldsim.measuring.settings import EvaluateConfig
from worldsim.measuring.simulator import Simulator
from worldsim.measuring.study import Skip, Study
from worldsim.measuring.texts import _asked
from worldsim.space_json import action_from_json
from worldsim.spaces import flatten_action

QUICK = {
    "clips": 4, "context": 4, "horizons": (1, 4), "starts": 3, "drive_frames": 12,
    "drift_frames": 8, "drift_rows": 1, "prompts": 3, "progress": False,
    "probe": ProbeConfig(episodes=0, frames=200, train_steps=3, batch_size=8),
}  # fmt: skip


@pytest.fixture(scope="session")
def drives():
    """Four short drives through scenes that differ, in memory."""
    env = gymnasium.make("worldsim/Drive-v0", frame_size=(32, 32), render_mode="rgb_array")
    return worldsim.record(env, episodes=4, max_steps=24, seed=5, progress=False)


@pytest.fixture(scope="module")
def world():
    """A world whose prompts need no text encoder."""
    world = make_tiny_world()
    world.words = lambda prompt: torch.ones(1 + len(prompt) % 3, 384)
    return world


@pytest.fixture(scope="module")
def report(world, drives, tmp_path_factory):
    """All measures at once, and the folder that they were written to."""
    folder = tmp_path_factory.mktemp("evaluation") / "report"
    return evaluate(world, drives, folder, **QUICK), folder


@pytest.fixture(scope="module")
def clips(drives):
    return cut_clips(drives, 6, context=4, horizon=8)


def test_the_report_is_written_with_figures_plots_strips_and_a_page(report):
    report, folder = report
    figures = json.loads((folder / "report.json").read_text())["figures"]
    assert list(figures) == list(SECTIONS)
    pictures = {path.stem for path in folder.glob("*.png")}
    assert pictures == set(report.plots) | set(report.strips)
    drawn = {name.split("-")[0] for name in pictures}
    assert drawn == {
        "fidelity", "actions", "counterfactual", "revisit", "text", "drift", "doubt"
    }  # fmt: skip
    assert not folder.with_name("report.part").exists()


def test_no_section_is_left_out_on_recordings_that_have_everything(report):
    left_out = {name: f for name, f in report[0].figures.items() if "left out" in f}
    assert set(left_out) == {"draws"}  # which this world, of two steps a frame, has none of


def test_draws_are_as_far_apart_as_chance_takes_them(drives):
    world = make_tiny_world()
    world.dynamics.near.chance.weight.data *= 100
    one_step = QUICK | {"sections": ("draws",), "sampler_steps": 1}
    rows = evaluate(world, drives, **one_step).figures["draws"]["frame"]
    assert all(row["spread"] > 0.01 and row["gain"] != row["expected"] for row in rows.values())
    none = evaluate(world, drives, **one_step | {"variety": 0.0}).figures["draws"]
    assert "left out" in none and world.cfg.variety == 1


def test_the_page_needs_nothing_outside_itself(report):
    page = (report[1] / "index.html").read_text()
    links = re.findall(r"(?:src|href|url|import)\s*[=(]\s*['\"]?([^'\"\s>)]{0,40})", page)
    assert links and all(link.startswith("data:image/png;base64,") for link in links)
    addresses = set(re.findall(r"https?://[^\s'\"<>]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # the name of a format, never fetched
    assert "<script" not in page


def test_the_page_and_the_text_show_every_section_and_how_it_was_measured(report):
    page, text = (report[1] / "index.html").read_text(), str(report[0])
    for name, measure in SECTIONS.items():
        assert f"<h2>{name}</h2>" in page and f"\n{name}\n" in text
        assert " ".join(measure.__doc__.split())[:40] in text


def test_the_report_says_where_it_comes_from_and_how_to_get_it_again(report):
    about = report[0].about
    assert {"world", "data", "device", "versions", "sampler_steps", "dtype"} <= set(about)
    assert "clips=4" in about["command"] and "horizons=[1,4]" in about["command"]
    assert "probe.train_steps=3" in about["command"] and "progress" not in about["command"]


def test_recordings_that_a_world_has_learned_from_are_told_from_held_out_ones(drives):
    world, some = make_tiny_world(), QUICK | {"sections": ("tokenizer",)}
    assert "learned" not in evaluate(world, drives, **some).about["data"]  # it does not say
    world.learned_from = frozenset(["00000000"])
    assert "none of them learned from" in evaluate(world, drives, **some).about["data"]
    world.learned_from |= set(tags(Subset(drives, [0, 2])))
    with pytest.warns(UserWarning, match="got 4 of which it has learned from 2"):
        report = evaluate(world, drives, **some)
    assert ", 2 of them learned from." in report.card
    world.learned_from = frozenset([UNKNOWN, "00000000"])  # none that is known, which says little
    assert "learned" not in evaluate(world, drives, **some).about["data"]


def test_a_recording_has_the_same_tag_wherever_it_lies(drives, tmp_path):
    """Its frames may be stored with losses; one without a seed is known by its first frame."""
    assert len(set(tags(drives))) == 4
    whole = [replace(episode, seed=np.int64(episode.seed)) for episode in drives]
    assert tags(worldsim.MemoryDataset(drives.info, whole)) == tags(drives)
    own = [replace(episode, seed=None) for episode in drives]
    still = np.zeros_like(own[0].actions), np.zeros_like(own[0].rewards)
    films = [replace(e, actions=still[0], rewards=still[1]) for e in own]
    assert len(set(tags(worldsim.MemoryDataset(drives.info, films)))) == 4
    with DatasetWriter(tmp_path / "copy", drives.info) as writer:
        for episode in drives:
            writer.append(episode)
    copy = worldsim.open_dataset(tmp_path / "copy")
    assert tags(copy) == tags(drives) and tags(Subset(copy, [2])) == tags(drives)[2:3]


def test_the_same_seed_gives_the_same_figures(world, drives, report):
    sections = ("fidelity", "actions", "rewards", "drift", "state")
    again = evaluate(world, drives, **QUICK | {"sections": sections}).to_json()["figures"]
    first = report[0].to_json()["figures"]
    assert again == {name: first[name] for name in again} and set(again) == set(sections)


def unlabelled(dataset):
    """The same recordings without their actions."""
    bare = [
        replace(e, actions=0 * e.actions, action_known=np.zeros_like(e.action_known))
        for e in dataset
    ]
    return worldsim.MemoryDataset(dataset.info, bare)


def test_without_recorded_actions_none_is_obeyed_and_none_is_judged(world, drives):
    clips = cut_clips(unlabelled(drives), 2, context=4, horizon=4)
    films = [
        dream(world, clips.given, actions, 4, known=clips.known).frames
        for actions in (clips.actions, clips.actions + 1)
    ]
    assert np.array_equal(*films)
    none = copy(world)
    none.cfg = replace(world.cfg, labelled=False)  # never learned what an action is
    films = [dream(none, clips.given, a, 4).frames for a in (clips.actions, clips.actions + 1)]
    assert np.array_equal(*films)
    sections = ("fidelity", "actions", "counterfactual", "revisit", "state")
    figures = evaluate(world, unlabelled(drives), **QUICK | {"sections": sections}).figures
    for name in ("actions", "counterfactual", "revisit"):
        assert figures[name]["left out"] == "needs recordings with all their actions"
    assert figures["fidelity"]["frame"] and "inverse_dynamics" not in figures["state"]


def test_a_changed_prompt_asks_for_another_scene_in_the_same_place(world, drives):
    study = Study(world, drives, EvaluateConfig(**QUICK))
    study.probe = Probe({}, {"biome": ("a", "b"), "time": ("day", "night", "dusk")}, {})
    before = [{"biome": "b", "time": time} for time in ("day", "night", "dusk") * 20]
    wanted, _ = _asked(study, ["biome", "time"], 60, np.random.default_rng(0), before)
    assert all(scene["biome"] == "b" for scene in wanted)
    asked = {(was["time"], scene["time"]) for was, scene in zip(before, wanted, strict=True)}
    assert len(asked) == 6 and all(was != now for was, now in asked)


def test_one_long_episode_does_not_stand_for_all(drives):
    env = gymnasium.make("worldsim/Drive-v0", frame_size=(32, 32), render_mode="rgb_array")
    short = worldsim.record(env, episodes=4, max_steps=11, progress=False)
    data = worldsim.MemoryDataset(drives.info, [*short, drives[0]])
    clips = cut_usual(data, 16)
    assert clips.context == clips.horizon == 6 and len(set(clips.place[:, 0])) == 5


def test_a_wrapped_simulator_is_not_asked(drives):
    with pytest.raises(Skip, match="wrapped"):
        Simulator(replace(drives.info, frame_size=(16, 16)))


def test_starts_come_from_many_episodes(world, drives):
    study = Study(world, drives, EvaluateConfig(**QUICK | {"starts": 6}))
    assert len(set(study.starts.place[:, 0])) > 1


def test_the_share_on_the_road_is_read_as_it_is():
    """With one frame in fifty off the road, that frame still counts as off it."""
    on = np.ones(100, np.float32)
    on[::50], on[::9] = 0, 0.8
    frames, rows = torch.zeros(100, 8, 8, 3, dtype=torch.uint8), look_back(100)
    labelled = Labelled(frames, rows, {"on_road": on}, {}, {}, np.zeros(100))
    probe = train_probe(labelled, labelled, ProbeConfig(train_steps=1, batch_size=2), False)
    assert probe.within("on_road", np.zeros(1)) == 0


def test_another_seed_cuts_other_clips(drives):
    places = [cut_clips(drives, 6, context=4, horizon=4, seed=seed).place for seed in (0, 0, 1)]
    assert (places[0] == places[1]).all() and (places[0] != places[2]).any()


def test_a_perfect_predictor_has_nothing_to_gain(clips):
    def perfect(frames, actions):
        assert actions.shape[1] == frames.shape[1] - 1 + clips.horizon
        return clips.future

    table = compare(perfect, clips, (1, 8))
    for row in table.values():
        assert row["psnr"] == row["moving_psnr"] == pytest.approx(100)
        assert row["ssim"] == pytest.approx(1, abs=1e-5)
        assert row["gain"] == pytest.approx(100 - row["copy"]) and row["gain"] > 50


def test_copy_last_gains_nothing(clips):
    for row in compare(copy_last, clips, (1, 8)).values():
        assert row["gain"] == row["moving_gain"] == 0
        assert row["ssim"] == row["copy_ssim"]


def test_a_world_can_be_compared_like_any_predictor(world, clips, report, drives):
    """By hand, what the fidelity section does."""
    study = Study(world, drives, EvaluateConfig(**QUICK))
    table = compare(WorldPredict(world, variety=0.0), study.clips, study.cfg.horizons)
    rows = report[0].figures["fidelity"]["frame"]
    for h, row in table.items():
        assert row == pytest.approx({name: rows[h][name] for name in row})


def test_rollout_quality_is_the_mean_gain(world, clips):
    scores = rollout_quality(world, clips, (1, 4))
    table = compare(WorldPredict(world, variety=0.0), clips.first(4), (1, 4))
    gains = [table[h][name] for h in (1, 4) for name in ("gain", "moving_gain", "changed_gain")]
    assert scores["score"] == pytest.approx(np.mean(gains))
    assert scores["psnr_4"] == pytest.approx(table[4]["psnr"])


def test_clips_are_aligned_like_the_episodes_they_are_cut_from(drives, clips):
    for i, (episode, first) in enumerate(clips.place):
        whole = drives[episode]
        assert (clips.frames[i] == whole.frames[first : first + 12]).all()
        assert (clips.actions[i] == whole.actions[first : first + 11]).all()
        assert (clips.state["speed"][i] == whole.state["speed"][first : first + 12]).all()
    assert clips.given.shape[1] == 4 and clips.future.shape[1] == 8


def test_clips_that_end_an_episode_end_with_it(drives):
    ended = [replace(e, terminated=np.arange(24) == 23) for e in drives.episodes[:2]]
    data = worldsim.MemoryDataset(drives.info, [*ended, drives[2]])
    found = cut_clips(data, 8, context=4, horizon=4, ends=True)
    assert found.place.tolist() == [[0, 17], [1, 17]]
    assert found.terminated[:, -1].all() and not found.terminated[:, :-1].any()


def test_a_row_of_a_dream_does_not_depend_on_the_others(world, clips):
    both = dream(world, clips.given[:2], clips.actions[:2], 3, seed=4)
    second = dream(world, clips.given[1:2], clips.actions[1:2], 3, seed=5)
    assert np.abs(both.frames[1].astype(int) - second.frames[0]).max() <= 1
    assert both.rewards[1] == pytest.approx(second.rewards[0], abs=1e-4)


class Cheat:
    """The simulator as a predictor: it knows the recordings by their first frames."""

    def __init__(self, study):
        self.study = study
        data, c = study.data, study.cfg.context
        self.places = {
            data[i].frames[first : first + c].tobytes(): (i, first)
            for i in range(len(data))
            for first in range(len(data[i]) + 2 - c)
        }

    def __call__(self, frames, actions, known=None):
        c, made = frames.shape[1], []
        for given, acts in zip(frames, actions, strict=True):
            episode, first = self.places[given.tobytes()]
            recording = self.study.data.outline(episode)
            past = recording.actions[: first + c - 1]
            run = np.concatenate([past, acts[c - 1 :]])
            made.append(self.study.simulator.run(recording.seed, run, actions.shape[1] - c + 1))
        return np.stack(made)


@pytest.fixture(scope="module")
def honest(world, drives):
    """A study of the simulator itself in place of a world."""
    study = Study(world, drives, EvaluateConfig(**QUICK | {"horizons": (1, 8)}))
    study.predict = Cheat(study)
    return study


def test_the_simulator_itself_passes_every_counterfactual(honest):
    row = SECTIONS["counterfactual"](honest)["frame"][8]
    assert row["match"] == row["match_visible"] == 1 and row["visible_pairs"] > 0
    assert row["dream_gap dB"] == pytest.approx(row["simulator_gap dB"])


def test_the_simulator_itself_is_perfect_under_true_actions_only(honest):
    figures = SECTIONS["actions"](honest)
    last = figures["frame"][8]
    assert last["true dB"] == pytest.approx(100) and last["nearer"] == 1
    assert max(last["shuffled dB"], last["no-op dB"], last["shifted dB"]) < 60
    assert figures["gap_dB"] == pytest.approx(100 - last["shuffled dB"])


def test_a_predictor_that_is_deaf_to_actions_matches_no_counterfactual(honest):
    """Under both actions the same frames come: nearer to one future, never to both: chance."""
    deaf = Study(honest.world, honest.data, honest.cfg)
    deaf.predict = lambda frames, actions, *_: copy_last(frames, actions)
    deaf._simulator = honest.simulator
    row = SECTIONS["counterfactual"](deaf)["frame"][8]
    assert row["match"] == 0.5
    figures = SECTIONS["actions"](deaf)
    assert figures["gap_dB"] == 0 and figures["frame"][8]["nearer"] == 0


def test_without_replays_the_simulator_is_asked_nothing(world, drives):
    chosen = QUICK | {"sections": ("fidelity", "actions", "counterfactual"), "replays": 0}
    figures = evaluate(world, drives, **chosen).figures
    assert "`replays`" in figures["fidelity"]["simulator_astray"]
    assert "`replays`" in figures["actions"]["simulator_gap_dB"]
    assert "`replays`" in figures["counterfactual"]["left out"]
    assert figures["fidelity"]["clips"] == 4 and figures["actions"]["frame"]


def test_recordings_that_the_simulator_does_not_repeat_are_left_out(world, drives):
    """Another seed drives through another scene."""
    wrong = [replace(episode, seed=episode.seed + 100) for episode in drives]
    data = worldsim.MemoryDataset(drives.info, wrong)
    figures = evaluate(world, data, **QUICK | {"sections": ("counterfactual",)}).figures
    assert "was the simulator changed" in figures["counterfactual"]["left out"]


def test_a_dataset_without_scene_state_or_keys_is_measured_as_far_as_it_goes(world, drives):
    bare = [replace(e, state={}, scene={}, seed=None) for e in drives]
    data = worldsim.MemoryDataset(replace(drives.info, keys=[], env_id="Nowhere-v0"), bare)
    sections = tuple(name for name in SECTIONS if name not in ("time", "drift", "draws"))
    figures = evaluate(world, data, **QUICK | {"sections": sections}).figures
    left_out = {name for name, section in figures.items() if "left out" in section}
    assert left_out == {"counterfactual", "steering", "driving", "text"}


def test_a_world_of_discrete_actions_is_measured(drives):
    space = spaces.Discrete(3)
    info = replace(drives.info, action_space=space, keys=[])
    acts = np.eye(3, dtype=np.float32)[np.arange(24) % 3]
    data = worldsim.MemoryDataset(info, [replace(e, actions=acts) for e in drives])
    sections = ("fidelity", "actions", "revisit", "state", "drift", "probe")
    figures = evaluate(make_tiny_world(space), data, **QUICK | {"sections": sections}).figures
    assert not [name for name, section in figures.items() if "left out" in section]
    assert "action_f1" in figures["probe"]["score"]


@pytest.mark.parametrize(
    "space, held",
    [
        (spaces.Tuple([spaces.Box(0, np.inf, (2,)), spaces.Discrete(2)]), [[0.5, 2.0], 1]),
        (spaces.Box(0, np.inf, (3,)), [1, 0, 2]),
    ],
)
def test_frames_of_another_size_and_odd_actions_are_measured(space, held):
    env = gymnasium.make("worldsim/Drive-v0", frame_size=(32, 48), render_mode="rgb_array")
    drives = worldsim.record(env, episodes=2, max_steps=24, seed=5, progress=False)
    width = flatten_action(space, action_from_json(space, held)).size
    acts = np.random.default_rng(0).random((24, width), dtype=np.float32)
    info = replace(drives.info, action_space=space, keys=[[["left"], held], [["right"], held]])
    data = worldsim.MemoryDataset(info, [replace(e, actions=acts) for e in drives])
    sections = ("fidelity", "steering", "revisit", "drift", "time")
    world = make_tiny_world(space)
    world._high = np.minimum(world._high, 4)  # as the recordings would bound it
    figures = evaluate(world, data, **QUICK | {"sections": sections}).figures
    assert {"fidelity", "drift", "time"} <= {n for n, f in figures.items() if "left out" not in f}


@pytest.fixture
def no_work(monkeypatch):
    """Fail if anything is measured."""

    def refuse(study):
        raise AssertionError("work began")

    for name in SECTIONS:
        monkeypatch.setitem(SECTIONS, name, refuse)


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"sections": ("fidelity", "beauty")}, "`sections` must be among tokenizer.*got beauty"),
        (
            {"horizons": (1, 4, 64)},
            r"`horizons` must lie.*21 frames, got 64; set horizons=1,4",
        ),
        ({"horizons": (1,), "context": 40}, "lower `context` and `horizons`"),
        ({"horizons": (0, 1)}, "`horizons` must name frames from 1 on"),
        ({"clips": 0}, "`clips` must be at least 1, got 0"),
        ({"context": 1}, "`context` must be at least 2, got 1"),
        ({"sampler_steps": 3}, "`sampler_steps` must be .*power of two.*got 3"),
    ],
)
def test_a_wrong_setting_is_one_clear_error_before_any_work(
    world, drives, no_work, overrides, message
):
    with pytest.raises(ValueError, match=message):
        evaluate(world, drives, **QUICK | overrides)


@pytest.mark.parametrize("name", ["lpips", "fvd"])
def test_a_missing_network_is_refused_before_any_work(world, drives, no_work, name):
    with pytest.raises(FileNotFoundError, match=f"`{name}` must be a TorchScript.*'no/such.pt'"):
        evaluate(world, drives, **QUICK | {name: "no/such.pt"})


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_file_that_is_no_network_is_refused_before_any_work(world, drives, no_work, tmp_path):
    (tmp_path / "bad.pt").write_text("no network")
    with pytest.raises(ValueError, match="`lpips` must be a TorchScript file"):
        evaluate(world, drives, **QUICK | {"lpips": str(tmp_path / "bad.pt")})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"fps": 15}, "must be of the world's own fps, 10; got 15"),
        ({"action_space": spaces.Box(-1, 1, (3,), np.float32)}, "must be of .*own action space"),
    ],
)
def test_data_of_another_kind_is_refused_before_any_work(world, drives, no_work, change, message):
    other = worldsim.MemoryDataset(replace(drives.info, **change), drives.episodes)
    with pytest.raises(ValueError, match=f"`data` {message}"):
        evaluate(world, other, **QUICK)
    with pytest.raises(ValueError, match=f"`probe_data` {message}"):
        evaluate(world, drives, **QUICK | {"probe_data": other})


def test_a_probe_is_not_tested_on_what_it_has_learned(world, drives, no_work):
    with pytest.raises(ValueError, match="`probe_data`.*must be other recordings than `data`"):
        evaluate(world, drives, **QUICK | {"probe_data": drives})


def test_flat_and_glowing_pictures_are_unlike_real_ones():
    """A grey picture lasted for a thousand frames, by the rule that dreams were judged by."""
    env = gymnasium.make("worldsim/Drive-v0", render_mode="rgb_array")
    drives = worldsim.record(env, episodes=6, max_steps=60, seed=5, progress=False)
    real = RealFrames.of(Study(worldsim.load("drive"), drives, EvaluateConfig(**QUICK)))
    changes = {
        "grey": lambda frames: np.full_like(frames, 128),
        "one colour": lambda frames: 0 * frames + frames.mean((1, 2), keepdims=True).astype("u1"),
        "glowing": lambda frames: (127 + frames // 2).astype("u1"),
        "torn": lambda frames: np.random.default_rng(0).permuted(frames, axis=2),
    }
    assert {name: real.control(change) for name, change in changes.items()} == dict.fromkeys(
        changes, 0.0
    )
    assert real.kept > 0


def test_a_folder_of_other_things_is_refused_before_any_work(world, drives, no_work, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="choose another `out`"):
        evaluate(world, drives, tmp_path, **QUICK)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_report_takes_the_place_of_an_old_one(tmp_path):
    plot = Plot("a", "x", "y", {"line": ([1, 2], [0.5, float("nan")])})
    strip = Strip("<a strip>", np.zeros((8, 8, 3), np.uint8))
    old = Report({"world": "<drive>"}, {"s": {"n": 1}}, {}, {"s-plot": plot}, {"s": strip})
    old.save(tmp_path / "report")
    (tmp_path / "report/notes").mkdir()
    (tmp_path / "report/notes/mine.txt").write_text("precious")
    Report({"world": "drive"}, {"s": {"n": float("inf")}}).save(tmp_path / "report")
    assert (tmp_path / "report/notes/mine.txt").read_text() == "precious"
    left = {path.name for path in (tmp_path / "report").iterdir()}
    assert left == {"report.json", "index.html", "notes"} and len(list(tmp_path.iterdir())) == 1
    assert (
        json.loads((tmp_path / "report" / "report.json").read_text())["figures"]["s"]["n"] is None
    )


def test_words_from_the_data_are_shown_and_never_run(tmp_path):
    folder = Report({"world": "<script>alert(1)</script>"}, {"s": {"<b>": 1}}).save(tmp_path / "r")
    page = (folder / "index.html").read_text()
    assert "<script" not in page and "<b>" not in page and "&lt;b&gt;" in page


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_own_networks_are_measured_with(world, drives, tmp_path):
    class Distance(torch.nn.Module):
        def forward(self, x, y):
            return (x - y).abs().mean((1, 2, 3))

    class Features(torch.nn.Module):
        def forward(self, x):
            return x.mean((2, 3, 4))

    for network, name in ((Distance(), "lpips"), (Features(), "fvd")):
        torch.jit.save(torch.jit.script(network), str(tmp_path / f"{name}.pt"))
    files = {name: str(tmp_path / f"{name}.pt") for name in ("lpips", "fvd")}
    figures = evaluate(world, drives, **QUICK | files | {"sections": ("tokenizer",)}).figures
    assert set(figures) == {"tokenizer", "lpips", "fvd"}
    study = Study(world, drives, EvaluateConfig(**QUICK))
    gap = np.abs(study.imagined[:, 3].astype(float) - study.clips.future[:, 3]).mean() / 127.5
    assert figures["lpips"]["at_4"] == pytest.approx(gap, rel=1e-4)
    assert figures["fvd"]["fvd"] > 0


def test_a_probe_reads_what_it_was_taught():
    """Frames whose brightness is the number; steps of it are the action."""
    rng, info = np.random.default_rng(0), None
    episodes = []
    for i in range(4):
        level = rng.uniform(0.2, 0.8, 40)
        frames = np.repeat((255 * level).astype(np.uint8), 32 * 32 * 3).reshape(-1, 32, 32, 3)
        scene = {"time": "day" if i % 2 else "night"}
        frames[..., :16, 0] = 255 * (i % 2)
        action = np.diff(level).astype(np.float32)[:, None]
        state = {"speed": level.astype(np.float32)}
        episodes.append(worldsim.Episode(frames, action, state=state, scene=scene))
    info = worldsim.DatasetInfo(10, (32, 32), spaces.Box(-1, 1, (1,), np.float32))
    data = worldsim.MemoryDataset(info, episodes)
    cfg = ProbeConfig(train_steps=120, batch_size=16)
    learn, check = (
        collect(data, cfg.numbers, cfg.attributes, episodes=half) for half in ([0, 1], [2, 3])
    )
    probe = train_probe(learn, check, cfg, progress=False)
    assert probe.scores["speed_r2"] > 0.8 and probe.scores["action.0_r2"] > 0.8
    assert probe.scores["time_accuracy"] == probe.scores["time_of_clips"] == 1
    grey = score_probe(probe, check, lambda frames: torch.full_like(frames, 127))
    assert grey["speed_r2"] < 0.1


def test_the_action_a_probe_reads_leads_to_its_last_frame(drives):
    labelled = collect(drives, ("speed", "turn"), (), episodes=[0])
    episode = drives[0]
    assert labelled.windows.shape == (24, LOOK)
    assert (labelled.frames[labelled.windows[:, -1]].numpy() == episode.frames[1:]).all()
    assert (labelled.frames[labelled.windows[3]].numpy() == episode.frames[2:5]).all()
    assert (labelled.frames[labelled.windows[0]].numpy() == episode.frames[[0, 0, 1]]).all()
    assert (labelled.numbers["action.0"] == episode.actions[:, 0]).all()
    assert (labelled.numbers["speed"] == episode.state["speed"][1:]).all()
    turned = np.exp(1j * np.diff(episode.state["yaw"].astype(float)))
    assert labelled.numbers["turn"] == pytest.approx(np.angle(turned), abs=1e-4)


def test_a_turn_across_the_half_circle_is_a_small_one():
    state = {"yaw": np.array([3.1, -3.1, -3.0])}
    assert true_number(state, "turn") == pytest.approx([0, 2 * np.pi - 6.2, 0.1])
    assert true_number({"speed": state["yaw"]}, "turn") is None


def test_what_a_clip_shows_is_judged_by_all_its_frames(drives):
    """A probe that is right in most frames of each clip is right about every clip."""
    labelled = collect(drives, (), ("time",))
    assert set(labelled.names) == {"time"}

    class Mostly(Probe):
        def look(self, frames, windows):
            chance = np.eye(len(known))[labelled.classes["time"] % len(known)]
            chance[::3] = 1 - chance[::3]  # every third frame is misread
            return {}, {"time": chance}

    known = labelled.names["time"]
    scores = score_probe(Mostly({}, {"time": known}, {}), labelled)
    assert scores["time_accuracy"] < 0.7 and scores["time_of_clips"] == 1


def test_a_probe_learns_from_recordings_of_its_own_and_judges_unseen_ones(world, drives):
    probe = ProbeConfig(episodes=3, train_steps=2, batch_size=8)
    study = Study(world, drives, EvaluateConfig(**QUICK | {"probe": probe}))
    assert study.probe.learned_from == 3 * 40
    assert len(study.probe_check) == sum(drives.lengths)
    alone = Study(world, drives, EvaluateConfig(**QUICK))
    assert len(alone.probe_check) == sum(drives.lengths[1::2])


def test_a_probe_is_kept_with_the_report_and_taken_up_again(world, drives, report, monkeypatch):
    folder = report[1]
    cfg = EvaluateConfig(**QUICK)
    trained = Study(world, drives, cfg, folder=folder)
    monkeypatch.setattr("worldsim.measuring.study.train_probe", None)  # nothing is trained
    clip = drives[0].frames[None, :5]
    first, second = (
        Study(world, drives, cfg, folder=folder).probe.read(clip).numbers for _ in range(2)
    )
    assert all((first[name] == second[name]).all() for name in first)
    assert trained.probe.scores == pytest.approx(
        {k: row["real"] for k, row in report[0].figures["probe"]["score"].items()}, nan_ok=True
    )
    other = replace(cfg, probe=replace(cfg.probe, train_steps=2))
    with pytest.raises(TypeError):  # made from something else: it would be trained anew
        Study(world, drives, other, folder=folder).probe  # noqa: B018


def test_the_card_has_a_row_for_what_was_measured_and_keeps_its_words(report, tmp_path):
    table = card_table(report[0].to_json())
    assert (report[1] / "card.md").read_text() == table
    assert "| PSNR at" not in table  # 16 frames were not measured
    psnr = report[0].figures["tokenizer"]["psnr"]
    assert f"| tokenizer, PSNR of encoding and decoding | {psnr:.1f} dB |" in table
    assert report[0].about["command"] in table
    card = tmp_path / "README.md"
    card.write_text("# a world\n\nwords before\n")
    write_card(card, "old\n")
    card.write_text(card.read_text() + "words after\n")
    write_card(card, table)
    text = card.read_text()
    assert "old" not in text and table in text
    assert text.index("words before") < text.index(table) < text.index("words after")


def test_alarm_and_a_whole_table_are_kept_in_the_worlds_folder(
    world, drives, tmp_path, monkeypatch
):
    folder = world.save(tmp_path / "world", card="# tiny\n")
    doubt = QUICK | {"sections": ("doubt",), "keep": True}
    steps = 2 * world.cfg.sampler_steps
    others = [(0.9, {"sampler_steps": steps}), (0.9, {"variety": 0.5})]
    for tells, settings in [(0.4, {}), *others, (0.9, {})]:
        assert not worldsim.load(folder).cfg.doubt  # neither a bad one nor one of other settings
        monkeypatch.setattr("worldsim.measuring.calibration.auroc", lambda *_, x=tells: x)
        report = evaluate(folder, drives, **doubt | settings)
    assert report.figures["doubt"]["kept"] == "yes"
    assert len(worldsim.load(folder).cfg.doubt["weights"]) > 4
    evaluate(folder, drives, **QUICK | {"sections": ("doubt",), "keep": True, "clips": 1})
    assert len(worldsim.load(folder).cfg.doubt["weights"]) > 4  # one clip says nothing of it
    assert (folder / "README.md").read_text() == "# tiny\n"  # not all of its rows were measured
    all_of_them = {"tokenizer": SECTIONS["tokenizer"]}
    monkeypatch.setattr("worldsim.evaluation.SECTIONS", all_of_them)
    evaluate(folder, drives, **QUICK | {"keep": True})
    assert "| tokenizer, PSNR" in (folder / "README.md").read_text()
    with pytest.raises(ValueError, match="`keep` writes into a world's folder"):
        evaluate(world, drives, **QUICK | {"keep": True})


@pytest.mark.parametrize(
    "predict, says",
    [
        (lambda frames, actions: copy_last(frames, actions) / 255, "uint8.* float64"),
        (lambda frames, actions: copy_last(frames, actions)[..., :1], "uint8"),
        (lambda frames, actions: copy_last(frames, actions)[:, :1], "uint8"),
        (lambda frames, actions: None, "got NoneType"),
    ],
)
def test_what_predicts_no_frames_is_refused_not_measured(drives, predict, says):
    """Floats in [0, 1] were 21 dB worse than nothing."""
    clips = cut_clips(drives, 4, context=2, horizon=4)
    with pytest.raises(ValueError, match=says):
        compare(predict, clips, (1, 4))
    for horizons in ((0,), (1, 5), ()):
        with pytest.raises(ValueError, match="`horizons` must lie between 1 and 4"):
            compare(copy_last, clips, horizons)


def test_a_predictor_cannot_change_the_clips(drives):
    clips = cut_clips(drives, 4, context=2, horizon=4)

    def careless(frames, actions):
        made = copy_last(frames, actions)
        frames[:] = 0
        return made

    assert compare(careless, clips, (1,)) == compare(copy_last, clips, (1,))


def test_no_replay_is_believed_that_shows_something_else(world, drives):
    """Turning round was judged by another drive, and the card would have told the share found."""
    other = worldsim.MemoryDataset(
        drives.info, [replace(episode, seed=episode.seed + 100) for episode in drives.episodes]
    )
    report = evaluate(world, other, **QUICK | {"sections": ("revisit", "steering")})
    assert "gave other frames" in str(report.figures["revisit"])
    assert "gave other frames" in str(report.figures["steering"])
    assert "found again" not in str(report.figures["revisit"])


def test_a_kept_probe_is_not_taken_for_other_frames_of_the_same_number(world, drives):
    info, episodes = drives.info, drives.episodes
    dark = [replace(episode, frames=255 - episode.frames) for episode in episodes]
    cfg = EvaluateConfig()
    keys = {Study(world, worldsim.MemoryDataset(info, e), cfg).probe_key for e in (episodes, dark)}
    assert len(keys) == 2


def test_a_plot_of_one_point_or_of_one_value_shows_it():
    def blue(series):
        image = draw_plot(Plot("t", "x", "y", {"a": series}))[90:500, 100:1060].astype(int)
        return (image[..., 2] - image[..., 0] > 80).sum()

    shown = [blue(([1], [2.0])), blue(([1, 2], [1.0, 1.0]))]
    assert min(shown) > 20 > blue(([1, 2], [float("nan")] * 2))


def test_a_command_in_a_report_can_be_pasted_where_it_was_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _place(tmp_path / "data/drive-test") == "data/drive-test"
    assert _place(Path("data/drive-test")) == "data/drive-test"
    assert _place(Path("/elsewhere/drive-test")) == "drive-test"  # no machine's folders


def test_what_is_filled_in_is_judged_beside_fading_and_repeating(monkeypatch):
    """In a film that gets lighter evenly, fading fills a gap; repeating is off by known steps."""
    light = 50 + 3 * np.arange(24, dtype=np.uint8)[None, :, None, None, None]
    nothing = np.zeros((2, 23))
    clips = HeldOut(
        np.broadcast_to(light, (2, 24, 8, 8, 3)), np.zeros((2, 23, 3)), nothing, nothing, nothing,
        {}, ("", ""), ({}, {}), np.zeros((2, 2)), 16,
    )  # fmt: skip
    monkeypatch.setattr(completing, "_imagine", lambda _, video, *said: video[said[-1]])
    study = SimpleNamespace(clips=clips)
    ways = completing.measure_completion(study)["way"]
    assert ways["gap filled"]["imagined"] > 90 and ways["gap filled"]["crossfade"] > 90
    for way, steps in (("gap filled", (1, 2, 3, 4, 4, 3, 2, 1)), ("put before", range(1, 9))):
        off = np.mean(np.square([3 * step for step in steps]))
        assert ways[way]["nearest"] == pytest.approx(10 * np.log10(255**2 / off))
