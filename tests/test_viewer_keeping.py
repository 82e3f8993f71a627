"""What is kept of a game: episodes in a data set, replays, films of several panes."""

import gymnasium
import numpy as np
import pygame
import pytest
from gymnasium import spaces
from playing import (  # noqa: F401
    LEFT,
    RIGHT,
    Dream,
    Point,
    make_session,
    moment,
    open_window,
    post,
    registered,
    session,
    until,
)

from worldsim.data import open_dataset
from worldsim.decoding import read_video
from worldsim.recording import record_episode
from worldsim.viewer import PlayConfig, open_stage, play
from worldsim.viewing.film import grid, places
from worldsim.viewing.session import Session
from worldsim.viewing.splash import draw_splash
from worldsim.viewing.stage import Stage
from worldsim.viewing.tape import said


def test_what_is_played_becomes_an_episode_of_a_data_set(session, tmp_path):
    session.set_prompt("snow")
    played = [session.stage.moment]
    for key in (RIGHT, RIGHT, LEFT):
        session.tick((key,))
        played.append(session.stage.moment)
    session.keep_episode()
    session.tick((RIGHT,))
    session.keep_episode()
    dataset = open_dataset(tmp_path / "point-episodes")
    assert dataset.lengths == [3, 4]
    first = dataset[0]
    assert np.array_equal(first.actions, np.stack([m.action for m in played[1:]]))
    assert first.rewards.tolist() == [1, 1, -1]
    assert first.truncated.tolist() == [False, False, True] and not first.terminated.any()
    assert first.captions == ("snow",)
    apart = first.frames.astype(int) - np.stack([m.frame for m in played])
    assert np.abs(apart).mean() < 3  # H.264


def test_an_episode_of_the_simulator_is_what_recording_would_have_made(tmp_path):
    """The same seed and actions, once played and once recorded."""
    session = Session(
        lambda: open_stage(PlayConfig(env="worldsim/Drive-v0")), seed=5, out=tmp_path / "x.mp4"
    )
    session.start()
    for _ in range(4):
        session.tick()
    episode = session.stage.tape.episode()
    idle = np.zeros(3, np.float32)
    env = gymnasium.make("worldsim/Drive-v0", render_mode="rgb_array")
    expected = record_episode(env, lambda *_: idle, 5, max_steps=4)
    assert np.array_equal(episode.frames, expected.frames)
    assert np.array_equal(episode.rewards, expected.rewards)
    assert episode.state.keys() == expected.state.keys()
    assert all(np.array_equal(episode.state[k], expected.state[k]) for k in expected.state)
    assert (episode.captions, episode.scene, episode.seed) == (
        expected.captions, expected.scene, 5,
    )  # fmt: skip
    session.close()
    env.close()


def test_what_was_rewound_is_not_kept(session):
    for key in (RIGHT, RIGHT, LEFT):
        session.tick((key,))
    session.rewind(True)
    session.tick()
    session.rewind(False)
    assert session.stage.tape.episode().rewards.tolist() == [1, 1]


def test_an_episode_without_a_step_is_not_kept(session, tmp_path):
    session.keep_episode()
    assert "play on first" in session.notices.pop()
    assert not (tmp_path / "point-episodes").exists()


def test_a_data_set_is_whole_when_keeping_fails(session, tmp_path, monkeypatch):
    session.tick((RIGHT,))
    session.keep_episode()

    def broken(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr("worldsim.datasets.writing.write_layout", broken)
    session.keep_episode()
    assert "the disk is full" in session.notices.pop()
    assert len(open_dataset(tmp_path / "point-episodes")) == 1
    monkeypatch.undo()
    session.keep_episode()  # nor is what failed lost
    assert len(open_dataset(tmp_path / "point-episodes")) == 3


@pytest.fixture
def kept(session, tmp_path):
    """A data set of two episodes."""
    for keys in ((RIGHT, RIGHT, LEFT), (LEFT, LEFT, RIGHT, RIGHT)):
        session.next_start()
        for key in keys:
            session.tick((key,))
        session.keep_episode()
    return tmp_path / "point-episodes"


def test_an_episode_of_a_data_set_is_played_back(kept, tmp_path):
    cfg = PlayConfig(replay=str(kept))
    replay = Session(lambda: open_stage(cfg), out=tmp_path / "r" / "x.mp4", seed=1)
    replay.start()
    episode = open_dataset(kept)[1]
    for i in range(4):
        assert np.array_equal(replay.stage.moment.frame, episode.frames[i])
        replay.tick((LEFT,))  # keys change nothing
        assert np.array_equal(replay.stage.moment.action, episode.actions[i])
        assert replay.stage.moment.reward == episode.rewards[i]
    assert replay.stage.moment.ended == "truncated"
    replay.rewind(True)
    replay.tick()
    assert np.array_equal(replay.stage.moment.frame, episode.frames[3])
    replay.rewind(False)
    replay.next_start()
    replay.tick()
    assert replay.stage.moment.seed == 2  # the first one again: there are two
    assert np.array_equal(replay.stage.moment.action, open_dataset(kept)[0].actions[0])


def test_kept_episodes_have_the_envs_pace_however_fast_they_were_played(tmp_path):
    session = make_session(tmp_path, fps=10)
    session.start()
    session.tick((RIGHT,))
    session.keep_episode()
    assert open_dataset(tmp_path / "point-episodes").info.fps == 50


def test_a_replay_knows_the_keys_of_actions_in_parts(tmp_path):
    space = spaces.Tuple((spaces.Discrete(3), spaces.Box(-1, 1, (2,), np.float32)))
    env = Parts(space)
    session = Session(lambda: Stage(env, "parts"), out=tmp_path / "film.mp4")
    session.start()
    session.tick((LEFT,))
    session.keep_episode()
    stage = open_stage(PlayConfig(replay=str(tmp_path / "parts-episodes")))
    move, turn = stage.bindings[frozenset({LEFT})]
    assert move == 2 and turn.tolist() == [0.0, 1.0]


class Parts(Point):
    """A point whose actions are a choice and two numbers."""

    def __init__(self, space):
        super().__init__()
        self.action_space = space

    def step(self, action):
        return self._observation(), 0.0, False, False, {}

    def get_keys_to_action(self):
        return {(LEFT,): (2, np.float32([0, 1]))}


def test_a_replay_is_filmed_where_there_is_no_display(kept, tmp_path):
    out = tmp_path / "replay.mp4"
    assert play(replay=str(kept), frames=6, out=str(out)) == [out]
    assert len(read_video(out)) == 6


def test_a_film_without_a_display_leaves_earlier_films_and_the_strip_out(
    kept, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    films = [play(replay=str(kept), frames=2, hud=hud)[0] for hud in (True, False)]
    assert [film.name for film in films] == ["point-episodes.mp4", "point-episodes-2.mp4"]
    high, low = (read_video(film).shape[1] for film in films)
    assert high > low


def test_k_keeps_the_episode_from_the_window(open_window, tmp_path):
    window = open_window()
    until(window, lambda: moment(window).step > 2)
    post(pygame.K_k)
    until(window, lambda: (tmp_path / "point-episodes" / "meta" / "info.json").exists())
    assert len(open_dataset(tmp_path / "point-episodes")) == 1


def test_a_film_shows_every_pane_with_and_without_the_strip(session):
    session.difference = "actions"
    heights = []
    for strip in (True, False):
        session.record(strip)
        session.branch(2)
        session.tick((LEFT,))
        session.branch(1)
        session.record()
        film = read_video(session.films[-1])
        assert len(film) == 2
        heights.append(film.shape[1])
        left, right = np.split(film[1][:336], 2, axis=1)
        assert left.max() > 200 and right.max() > 200  # a bright point in both
    assert heights[0] > heights[1]


def test_a_film_that_cannot_go_on_is_whole(session, monkeypatch):
    """The disk is full in mid-film: the game goes on, and what there is can be seen."""
    session.record()
    session.tick()
    session.film.write = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        session.tick()
    session.finish_film()
    assert len(read_video(session.films[0])) == 2


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_panes_do_not_overlap_and_stay_inside(count):
    for size in ((704, 704), (1400, 300), (300, 1400)):
        rects = [pygame.Rect(rect) for rect in places(count, size, (64, 64, 3))]
        assert len(rects) == count
        assert all(pygame.Rect(0, 0, *size).contains(rect) for rect in rects)
        assert all(rect.collidelist(rects[:i]) < 0 for i, rect in enumerate(rects))


@pytest.mark.parametrize(
    "shape, size, expected",
    [
        ((64, 64), (1920, 600), (3, 1)),
        ((150, 600), (1920, 1080), (1, 3)),
        ((256, 32), (700, 700), (3, 1)),
    ],
)
def test_panes_are_laid_out_so_that_frames_are_largest(shape, size, expected):
    assert grid(3, size, shape) == expected


def test_a_picture_comes_out_of_noise_while_a_world_loads():
    surface = pygame.Surface((128, 128))

    def roughness(seconds):
        draw_splash(surface, "drive", seconds)
        pixels = pygame.surfarray.array3d(surface).astype(float)
        return np.abs(np.diff(pixels, axis=0)).mean()

    assert roughness(0.1) > 2 * roughness(9.0)


def test_what_envs_mean_by_our_words_is_left_out():
    odd = {"state": {"name": "bob", "at": [1, 2], "rows": [[1], [1, 2]]}, "termination": "crash"}
    told = said(odd | {"doubt": [1.0], "caption": "a\0b"})
    assert told["prompt"] == "ab" and told["termination"] is told["doubt"] is None
    assert told["state"].keys() == {"at"}
    assert said({"state": "in the air"})["state"] == {}
