"""Real beside imagined, and the ways to begin a scene."""

from unittest.mock import Mock

import cv2
import gymnasium
import numpy as np
import pygame
import pytest
from conftest import CAPTIONS, make_tiny_world
from playing import (  # noqa: F401
    LEFT,
    RIGHT,
    UP,
    Dream,
    Point,
    dream,
    make_session,
    moment,
    open_window,
    post,
    registered,
    session,
    step,
    until,
)

from worldsim.images import cut_to, read_image
from worldsim.viewing.panes import comparison, difference_frame
from worldsim.viewing.scene import PAST, Comparison
from worldsim.viewing.session import Session
from worldsim.viewing.stage import Stage


@pytest.fixture
def picture(tmp_path):
    """A picture twice as wide as high, its right half bright."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 40:] = 255
    cv2.imwrite(str(tmp_path / "picture.png"), pixels)
    return str(tmp_path / "picture.png")


# real beside imagined


def test_both_begin_in_the_same_state_and_get_the_same_actions(session):
    """The imagined point is put where the real one is seen, so under one rule they stay equal."""
    session.compare()
    imagined, real = session.scene.stages
    assert imagined.imagined and not real.imagined
    assert imagined.env.options["frames"].shape == (PAST, 16, 24, 3)
    assert np.array_equal(imagined.env.options["actions"], real.tape.actions)
    assert not real.moment.ended
    for key in (LEFT, LEFT, RIGHT):
        session.tick((key,))
        assert imagined.moment.action.tolist() == real.moment.action.tolist()


def test_the_real_frames_that_a_world_begins_from_are_the_last_ones(session):
    session.compare()
    imagined, real = session.scene.stages
    assert np.array_equal(imagined.env.options["frames"][-1], real.moment.frame)
    assert np.array_equal(real.env.render(), real.moment.frame)


def test_restart_takes_both_back_to_where_they_parted(session):
    session.compare()
    real = session.scene.stages[1]
    before = [stage.moment.frame for stage in session.scene.stages]
    for _ in range(3):
        session.tick((LEFT,))
    session.restart()
    now = [stage.moment.frame for stage in session.scene.stages]
    assert all(map(np.array_equal, before, now))
    assert np.array_equal(real.env.render(), before[1])


def test_both_go_back_in_time_as_far_as_where_they_parted(session):
    session.compare()
    before = [stage.moment.frame for stage in session.scene.stages]
    for _ in range(3):
        session.tick((LEFT,))
    session.rewind(True)
    for _ in range(6):
        session.tick()
    session.rewind(False)
    now = [stage.moment.frame for stage in session.scene.stages]
    assert all(map(np.array_equal, before, now))


def test_restarting_both_from_here_starts_the_world_from_the_present_frames(session):
    session.compare()
    for _ in range(3):
        session.tick((LEFT,))
    session.imagine_from_real()
    imagined, real = session.scene.stages
    assert imagined.moment.step == 0
    assert np.array_equal(imagined.env.options["frames"][-1], real.moment.frame)


def test_a_new_start_is_new_for_both(session):
    session.compare()
    session.next_start()
    imagined, real = session.scene.stages
    assert imagined.moment.seed == real.moment.seed >= 1
    assert np.array_equal(imagined.env.options["frames"][-1], real.moment.frame)


def test_ending_the_comparison_goes_on_with_the_one_in_focus(session):
    dream = session.stage
    session.compare()
    session.switch()  # the real one
    session.compare()
    assert not session.stage.imagined and len(session.view().shots) == 1
    session.switch()
    assert session.stage is dream


def test_the_psnr_shown_is_that_of_the_two_frames(session):
    session.compare()
    assert comparison(session.view()) == 100  # the same, and no infinity
    step(session.stage, RIGHT)  # one of the two alone
    one, other = (shot.moment.frame for shot in session.view().shots)
    error = np.square(one / 255 - other / 255).mean()
    assert comparison(session.view()) == pytest.approx(-10 * np.log10(error), abs=1e-3)
    assert np.array_equal(difference_frame(one, one), np.zeros_like(one))


def test_a_world_without_a_simulator_says_so(session, monkeypatch):
    monkeypatch.setattr(Dream.world.cfg, "env_id", "")
    session.compare()
    assert "only this one simulator" in session.notices.pop()
    session.imagine_from_real()
    assert "only this one simulator" in session.notices.pop()
    session.tick()


def test_an_imagined_world_is_compared_with_a_real_simulator():
    """With the real spaces: 32x32 frames of the driving simulator and a world of that size."""
    world = make_tiny_world(endless=True, prompts=[])
    world.cfg.env_id, world.cfg.env_kwargs = "worldsim/Drive-v0", {"frame_size": (32, 32)}
    env = gymnasium.make("worldsim/World-v0", world=world, disable_env_checker=True)
    session = Session(lambda: Stage(env, "tiny", imagined=True))
    session.start()
    world.words = lambda prompt: world.starts.words[0]  # no encoder
    session.compare()
    assert not session.notices, session.notices
    for _ in range(2):
        session.tick((UP,))
    imagined, real = session.scene.stages
    assert isinstance(session.scene, Comparison)
    assert np.array_equal(imagined.moment.action, real.moment.action)
    assert (imagined.moment.step, real.moment.step) == (2, PAST + 1)
    session.close()


def test_f2_f3_f4_and_m_compare_in_the_window(open_window):
    window = open_window()
    post(pygame.K_F2)
    until(window, lambda: window.player.view.compared and window.display.panes == 2)
    post(pygame.K_F3)
    until(window, lambda: window.display.panes == 3)
    post(pygame.K_m)
    until(window, lambda: not window.player.latest[0].imagined)
    step = moment(window).step
    post(pygame.K_F4)
    until(window, lambda: window.player.view.shots[0].moment.step < step)
    post(pygame.K_F2)
    until(window, lambda: len(window.player.view.shots) == 1)


# where a scene begins


def test_a_picture_is_cut_to_its_middle(picture):
    frame = cut_to(read_image(picture), (32, 32))
    assert frame.shape == (32, 32, 3)
    assert frame[:, :15].max() == 0 and frame[:, 17:].min() == 255


def test_a_world_begins_from_a_picture_and_its_prompt(dream, picture):
    dream.set_prompt(CAPTIONS[1])
    dream.begin_from_image(picture)
    assert not dream.notices
    assert (dream.stage.moment.step, dream.stage.moment.prompt) == (0, CAPTIONS[1])
    expected = dream.stage.moment.frame
    dream.tick((UP,))
    dream.restart()
    assert np.array_equal(dream.stage.moment.frame, expected)


def test_what_is_no_picture_leaves_the_game_running(dream, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    before = dream.stage.moment
    for path in (tmp_path / "notes.txt", tmp_path / "nothing.png"):
        dream.begin_from_image(str(path))
        assert "no scene from this picture" in dream.notices.pop()
    assert dream.stage.moment is before


def test_the_gallery_shows_every_recorded_start(dream):
    dream.open_gallery()
    assert [start.caption for start in dream.gallery] == list(CAPTIONS)
    assert dream.idle
    dream.open_gallery()
    assert not dream.idle
    dream.open_gallery()
    chosen = dream.gallery[2]
    dream.begin_from_start(2)
    assert dream.gallery is None and not dream.idle
    assert dream.stage.moment.prompt == CAPTIONS[2]
    assert np.abs(dream.stage.moment.frame.astype(int) - chosen.frame).max() <= 1


def test_a_simulators_gallery_shows_seeds(tmp_path):
    session = make_session(tmp_path, gymnasium.make("test/Point-v0"))
    session.start()
    session.open_gallery()
    third = session.gallery[2]
    session.begin_from_start(2)
    assert session.stage.moment.seed == third.seed == 3
    assert np.array_equal(session.stage.moment.frame, third.frame)


def test_a_file_dropped_on_the_window_begins_a_scene(open_window, picture):
    window = open_window()
    until(window, lambda: moment(window).step > 3)
    pygame.event.post(pygame.event.Event(pygame.DROPFILE, file=picture))
    until(window, lambda: "frames" in window.player.session.stage.env.options)
    assert window.player.session.stage.env.options["frames"].shape == (16, 24, 3)


def test_a_picture_begins_in_the_future_in_focus_and_the_simulator_waits_on(session, picture):
    """The first stage of all was taken, and the one in focus then passed for the simulator."""
    session.compare()
    session.compare()
    twin = session._twin
    session.branch(2)
    session.focus_next()
    chosen = session.stage
    session.open_gallery()
    session.begin_from_image(picture)
    assert session.stage is chosen and "frames" in chosen.env.options
    assert session._twin is twin and session.gallery is None


def test_a_picture_is_chosen_by_arrows_or_by_the_mouse(open_window):
    window = open_window(gymnasium.make("test/Point-v0"))
    post(pygame.K_F7)
    until(window, lambda: window.gallery is not None and window.gallery._rects)
    post(pygame.K_RIGHT)
    until(window, lambda: window.gallery.chosen == 1)
    post(pygame.K_RETURN)
    until(window, lambda: moment(window).seed == 2 and window.gallery is None)
    post(pygame.K_F7)
    until(window, lambda: window.gallery is not None and window.gallery._rects)
    at = window.gallery._rects[3].center
    pygame.event.post(pygame.event.Event(pygame.MOUSEMOTION, pos=at, rel=(0, 0), buttons=(0, 0, 0)))
    pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=1, pos=at))
    until(window, lambda: moment(window).seed == 6 and window.gallery is None)
    post(pygame.K_F7)
    until(window, lambda: window.gallery is not None)
    post(pygame.K_ESCAPE)
    until(window, lambda: window.gallery is None)
    assert window.running


def test_what_is_let_go_of_over_the_gallery_is_let_go_of(open_window):
    """The mouse went on steering, without a button, once the gallery was closed."""
    window = open_window(gymnasium.make("test/Point-v0"))
    w, h = pygame.display.get_window_size()
    pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONDOWN, button=1, pos=(w // 2, h // 2)))
    post(pygame.K_F7)
    until(window, lambda: window.gallery is not None)
    pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONUP, button=1, pos=(w // 2, h // 2)))
    post(pygame.K_ESCAPE)
    until(window, lambda: window.gallery is None)
    moved = {"pos": (w, h // 2), "rel": (w // 2, 0), "buttons": (0, 0, 0)}
    pygame.event.post(pygame.event.Event(pygame.MOUSEMOTION, **moved))
    step = moment(window).step
    until(window, lambda: moment(window).step > step + 3)
    assert not moment(window).action.any()


def test_a_start_that_is_refused_leaves_the_futures_on_the_screen(session):
    session.branch()
    panes = len(session.scene.panes)
    session.stage.env.unwrapped.reset = Mock(side_effect=ValueError("no such words"))
    session.begin("nonsense")
    assert len(session.scene.panes) == panes > 1 and "no such words" in session.notices[-1]
