"""Rewinding, slots on disk and futures: what can be relied on when time is not a straight line."""

import itertools

import gymnasium
import numpy as np
import pygame
import pytest
import torch
from conftest import CAPTIONS, make_tiny_world
from gymnasium.wrappers import TimeLimit
from playing import (  # noqa: F401
    LEFT,
    RIGHT,
    UP,
    Dream,
    Point,
    dream,
    make_session,
    open_window,
    post,
    registered,
    session,
    step,
    until,
)

from worldsim.files import read_tensors
from worldsim.viewer import PlayConfig, open_stage
from worldsim.viewing.session import Session
from worldsim.viewing.slots import read_slot, write_slot
from worldsim.viewing.stage import Stage


@pytest.fixture
def real(tmp_path):
    """A session of a simulator without snapshots."""
    session = Session(
        lambda: Stage(gymnasium.make("test/Point-v0"), "point"), out=tmp_path / "film.mp4"
    )
    session.start()
    yield session
    session.close()


def frames_of(session):
    return [shot.moment.frame for shot in session.view().shots]


# back in time


def test_a_simulator_without_snapshots_goes_back_by_repeating_its_actions(real):
    frames = [real.stage.moment.frame]
    for key in (RIGHT, RIGHT, LEFT, RIGHT, RIGHT):
        real.tick((key,))
        frames.append(real.stage.moment.frame)
    real.rewind(True)
    for frame in frames[4:1:-1]:
        real.tick()
        assert np.array_equal(real.stage.moment.frame, frame)
    real.rewind(False)
    assert np.array_equal(real.stage.env.render(), frames[2])
    real.tick((RIGHT,))
    assert real.stage.moment.step == 3


def test_whoever_goes_back_sees_what_was_seen_and_has_the_time_that_was_left(tmp_path):
    """An agent was handed a later observation, and a time limit counted what was taken back."""
    stage, seen = Stage(TimeLimit(Dream(), 6), "point", True), []
    stage.reset(0)
    for _ in range(4):
        seen.append(stage.observation)
        step(stage, LEFT)
    write_slot(tmp_path / "slot.safetensors", stage)
    saved = stage.observation
    stage.rewind()
    stage.rewind()
    assert stage.observation is seen[2]
    future, loaded = stage.fork(), stage.fork()
    read_slot(tmp_path / "slot.safetensors", loaded)
    assert np.array_equal(loaded.observation, saved)
    for each in (stage, future, loaded):
        while not each.moment.ended:
            step(each, LEFT)
        assert each.moment.step == 6


def test_a_simulator_that_does_not_repeat_itself_says_so(real, monkeypatch):
    for _ in range(4):
        real.tick((RIGHT,))
    monkeypatch.setattr(Point, "render", lambda self: np.full((16, 24, 3), 9, np.uint8))
    real.rewind(True)
    real.tick()
    real.rewind(False)
    assert "does not repeat itself" in real.notices.pop()
    real.tick((RIGHT,))


def test_futures_and_slots_of_what_does_not_repeat_itself_say_so(real, monkeypatch):
    """They went on from another frame than the one that was shown or saved, without a word."""
    grey = itertools.count()
    monkeypatch.setattr(Point, "render", lambda self: np.full((16, 24, 3), next(grey), np.uint8))
    real.tick((RIGHT,))
    real.save_slot()
    for command in (real.load_slot, lambda: real.branch(2)):
        command()
        assert "does not repeat itself" in real.notices.pop()


def test_the_tape_drops_its_oldest_frames_but_no_action(session, monkeypatch):
    monkeypatch.setattr("worldsim.viewing.tape.BYTES", 0)
    for _ in range(200):
        session.tick()
    tape = session.stage.tape
    assert 64 <= len(tape.moments) <= 71 and len(tape.actions) == 200
    assert len(tape.last(16)[0]) == 16 and len(tape.last(16)[1]) == 15
    assert not tape.whole


# slots


def test_a_moment_that_was_saved_goes_on_as_it_would_have(dream):
    for _ in range(10):
        dream.tick((UP,))
    dream.set_prompt(CAPTIONS[1])
    dream.save_slot()
    saved, expected = dream.stage.moment, []
    for _ in range(3):
        dream.tick((UP,))
        expected.append(dream.stage.moment)
    dream.next_start()
    dream.load_slot()
    assert "slot 1" in dream.notices.pop()
    now = dream.stage.moment
    assert np.array_equal(now.frame, saved.frame)
    assert (now.step, now.prompt, now.total) == (10, CAPTIONS[1], saved.total)
    for moment in expected:
        dream.tick((UP,))
        assert np.array_equal(dream.stage.moment.frame, moment.frame)
        assert dream.stage.moment.total == moment.total


def test_a_slot_lasts_until_another_day_and_another_process_of_the_world(dream, tmp_path):
    dream.tick((UP,))
    dream.save_slot()
    dream.tick((UP,))
    other = open_stage(PlayConfig(world="tiny"), make_tiny_world(endless=True))
    other.reset(7)
    read_slot(tmp_path / "slots" / "tiny-1.safetensors", other)
    step(other, UP)
    assert np.array_equal(other.moment.frame, dream.stage.moment.frame)


def test_a_world_from_its_folder_is_saved_and_loaded_too(tiny_world_path, tmp_path):
    """Its convolutions lie in memory in another order, which once broke the fingerprint."""
    stage = open_stage(PlayConfig(world=tiny_world_path))
    stage.reset(0)
    write_slot(tmp_path / "slot.safetensors", stage)
    saved = stage.moment.frame
    step(stage, UP)
    expected = stage.moment.frame
    read_slot(tmp_path / "slot.safetensors", stage)
    assert np.array_equal(stage.moment.frame, saved)
    step(stage, UP)
    assert np.array_equal(stage.moment.frame, expected)


def test_a_slot_of_another_world_is_refused_and_nothing_changes(dream, tmp_path):
    path = tmp_path / "slot.safetensors"
    stranger = make_tiny_world(endless=True)
    with torch.no_grad():
        stranger.dynamics.agent.weight.add_(0.5)
    other = open_stage(PlayConfig(world="tiny"), stranger)
    other.reset(0)
    write_slot(path, other)
    before = dream.stage.moment
    with pytest.raises(ValueError, match="the world that it was saved in"):
        read_slot(path, dream.stage)
    assert dream.stage.moment is before
    with pytest.raises(ValueError, match="the world that it was saved in"):
        read_slot(path, Stage(Point(), "point"))


@pytest.mark.parametrize(
    "setting",
    [
        {"sampler_steps": 4},
        {"guidance": 2.0},
        {"variety": 0.5},
        {"horizon": 9},
        {"frame_size": (32, 48)},
    ],
)
def test_a_slot_is_refused_where_it_would_go_on_otherwise(dream, tmp_path, setting):
    """It was loaded, and the next frames were others, or the next episode raised an error."""
    path, world = tmp_path / "slot.safetensors", dream.stage.world
    other = Stage(gymnasium.make("worldsim/World-v0", world=world, **setting), "tiny", True)
    other.reset(0, {"prompt": CAPTIONS[0]})
    write_slot(path, other)
    read_slot(path, other)
    with pytest.raises(ValueError, match="the world that it was saved in"):
        read_slot(path, dream.stage)


def test_a_simulator_is_saved_as_its_seed_and_actions(real, tmp_path):
    for key in (RIGHT, RIGHT, LEFT):
        real.tick((key,))
    saved = real.stage.moment
    real.save_slot()
    real.next_start()
    real.load_slot()
    assert np.array_equal(real.stage.env.render(), saved.frame)
    assert (real.stage.moment.step, real.stage.moment.total) == (3, saved.total)


def test_a_damaged_or_empty_slot_leaves_the_game_as_it_is(session, tmp_path):
    session.load_slot()
    assert "nothing is saved" in session.notices.pop()
    path = tmp_path / "slots" / "point-1.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"half a file")
    session.load_slot()
    assert "whole safetensors file" in session.notices.pop()
    session.tick()


def test_a_slot_is_whole_or_absent(session, tmp_path, monkeypatch):
    session.save_slot()
    path = tmp_path / "slots" / "point-1.safetensors"
    before = path.read_bytes()

    def broken(tensors, part, metadata):
        part.write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr("worldsim.files.save_file", broken)
    session.tick((RIGHT,))
    session.save_slot()
    assert "the disk is full" in session.notices.pop()
    assert path.read_bytes() == before
    assert read_tensors(path)[1]["title"] == "point"


def test_f5_saves_f9_loads_and_f6_takes_another_slot(open_window, tmp_path):
    window = open_window()
    post(pygame.K_F5)
    until(window, lambda: (tmp_path / "slots" / "point-1.safetensors").exists())
    post(pygame.K_F6)
    until(window, lambda: window.player.session.slot == 2)
    post(pygame.K_F5, pygame.K_p)
    until(window, lambda: (tmp_path / "slots" / "point-2.safetensors").exists())
    saved = window.player.session.stage.moment.step
    post(pygame.K_RETURN)
    until(window, lambda: window.player.latest[1].seed == 1)
    post(pygame.K_F9)
    until(window, lambda: window.player.latest[1].seed == 0)
    assert window.player.latest[1].step <= saved


# futures


def test_futures_under_other_chance_part_and_share_their_past(dream):
    dream.tick((UP,))
    dream.branch(3)
    first = frames_of(dream)
    assert all(np.array_equal(first[0], frame) for frame in first)
    dream.tick((UP,))
    one, *others = frames_of(dream)
    assert len(others) == 2 and not any(np.array_equal(one, frame) for frame in others)
    weights = {id(stage.world) for stage in dream.scene.stages}
    assert len(weights) == 1


def test_where_nothing_is_left_to_chance_futures_differ_in_something_else(tmp_path):
    """They were the same picture three times."""
    world = make_tiny_world(endless=True, sampler_steps=1, variety=0.0)
    dream = Session(lambda: open_stage(PlayConfig(world="tiny"), world), out=tmp_path / "film.mp4")
    dream.start()
    dream.branch(3)
    dream.tick((UP,))
    assert len({frame.tobytes() for frame in frames_of(dream)}) == 3
    seen = [dream.difference]
    for _ in range(3):
        dream.change_difference()
        seen.append(dream.difference)
    assert seen == ["prompts", "actions", "prompts", "actions"]


def test_the_first_future_is_the_one_that_would_have_come(dream):
    dream.tick((UP,))
    mark = dream.stage.mark()
    dream.tick((UP,))
    expected = dream.stage.moment.frame
    dream.stage.become(mark)
    dream.branch(2)
    dream.tick((UP,))
    assert np.array_equal(frames_of(dream)[0], expected)


def test_futures_under_other_prompts_show_the_examples(dream):
    dream.difference = "prompts"
    dream.branch(3)
    prompts = [stage.moment.prompt for stage in dream.scene.stages]
    assert len(set(prompts)) == 3 and set(prompts) == set(CAPTIONS)


def test_futures_under_other_actions_are_driven_each_in_its_way(session):
    session.difference = "actions"
    session.branch(4)
    session.tick((LEFT, UP))
    left = [stage.moment.action.tolist() for stage in session.scene.stages]
    assert left == [[-1, 1, 0], [1, 0, 0], [-1, 1, 0], [1, 1, 0]]


def test_restart_goes_back_to_where_futures_parted(dream):
    for _ in range(3):
        dream.tick((UP,))
    parted = dream.stage.moment
    dream.branch(2)
    dream.tick((UP,))
    after = frames_of(dream)
    dream.restart()
    assert all(np.array_equal(frame, parted.frame) for frame in frames_of(dream))
    dream.tick((UP,))
    assert all(map(np.array_equal, frames_of(dream), after))


def test_futures_go_back_in_time_together_as_far_as_they_parted(dream):
    """Before that they became one picture, under labels of several."""
    for _ in range(3):
        dream.tick((RIGHT,))
    dream.difference = "prompts"
    dream.branch(3)
    dream.tick((LEFT,))
    after = frames_of(dream)
    dream.rewind(True)
    for _ in range(3):
        dream.tick()
    assert [stage.moment.step for stage in dream.scene.stages] == [3, 3, 3]
    dream.rewind(False)
    dream.tick((LEFT,))
    assert all(map(np.array_equal, frames_of(dream), after))


def test_futures_stay_where_the_one_in_focus_has_ended(session):
    """The others were begun anew with it, and `restart` no longer led to where they parted."""
    session.difference = "actions"
    session.branch(2)
    parted = session.stage.moment.seed
    while not session.stage.moment.ended:
        session.tick((RIGHT,))
    assert session.idle
    session.rewind(True)
    assert not session.idle and session.period < 0.1
    session.rewind(False)
    session.restart()
    assert not session.idle and session.stage.moment.seed == parted


def test_one_goes_on_with_the_future_in_focus(session):
    session.difference = "actions"
    session.branch(2)
    first, second = session.scene.stages
    session.focus_next()
    session.branch(1)
    assert session.stage is second
    session.tick((RIGHT,))
    session.branch(2)
    assert session.scene.stages[1] is first  # envs are used again: some must not be closed early
    session.close()
    assert first.env.closed and second.env.closed


def test_a_simulator_has_futures_too(real):
    real.tick((RIGHT,))
    real.difference = "actions"
    real.branch(3)
    real.tick((RIGHT,))
    right, _, left = frames_of(real)
    assert not np.array_equal(left, right)


def test_a_simulator_that_calls_its_physics_a_world_is_real_and_has_futures(tmp_path):
    """LunarLander-v3 keeps Box2D's `b2World` in `world`."""
    session = Session(lambda: open_stage(PlayConfig(env="LunarLander-v3")), out=tmp_path / "x.mp4")
    session.start()
    assert not session.stage.imagined
    session.branch(2)
    session.tick()
    assert len(session.scene.panes) == 2
    session.open_gallery()
    assert session.gallery
    session.close()


def test_an_env_that_cannot_be_copied_plays_on_alone(session, monkeypatch):
    monkeypatch.setattr(Dream, "__deepcopy__", lambda *_: 1 / 0, raising=False)
    session.branch(2)
    assert "no futures" in session.notices.pop()
    session.tick()
    assert len(session.view().shots) == 1


def test_futures_of_a_simulator_differ_in_what_can_differ(real):
    """By prompts B did nothing but say so; by chance there was no way back."""
    for _ in range(2):
        real.branch(2)
        real.change_difference()
        assert real.difference == "actions" and len(real.scene.panes) == 2


def test_b_j_and_f_play_futures_in_the_window(open_window):
    window = open_window()
    width = pygame.display.get_window_size()[0]
    for count in (2, 3, 4):
        post(pygame.K_b)
        until(window, lambda count=count: len(window.player.view.shots) == count)
    post(pygame.K_f)
    until(window, lambda: window.player.view.focus == 1)
    post(pygame.K_j)
    until(window, lambda: window.player.session.difference == "prompts")
    until(window, lambda: window.player.view.shots[1].moment.prompt == "a road at night")
    post(pygame.K_b)
    until(window, lambda: len(window.player.view.shots) == 1)
    until(window, lambda: pygame.display.get_window_size()[0] == width)


def test_the_window_outlives_futures_and_galleries_of_any_env(open_window):
    """CartPole shuts all of pygame down when it is closed."""
    window = open_window(gymnasium.make("CartPole-v1", render_mode="rgb_array"))
    for count in (2, 3, 4, 1):
        post(pygame.K_b)
        until(window, lambda count=count: len(window.player.view.shots) == count)
    post(pygame.K_F7)
    until(window, lambda: window.gallery is not None)
    post(pygame.K_ESCAPE)
    until(window, lambda: window.gallery is None)
    assert window.player.error is None and pygame.display.get_surface() is not None


def test_a_click_puts_a_future_into_focus(open_window):
    window = open_window()
    post(pygame.K_b)
    until(window, lambda: window.display.panes == 2)
    w, h = pygame.display.get_window_size()
    for kind in (pygame.MOUSEBUTTONDOWN, pygame.MOUSEBUTTONUP):
        pygame.event.post(pygame.event.Event(kind, button=1, pos=(3 * w // 4, h // 2)))
        window.update()
        assert not any(window.player._axes.values())  # nor does it steer
    until(window, lambda: window.player.view.focus == 1)
