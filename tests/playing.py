"""A point to be steered, real and imagined, and the means to play it by posted events."""

import os

os.environ["SDL_VIDEODRIVER"] = "dummy"  # before pygame looks for a display

import time
from unittest.mock import Mock

import gymnasium
import numpy as np
import pygame
import pytest
from conftest import make_tiny_world
from gymnasium import spaces

from worldsim.text import TextEncoder
from worldsim.viewer import PlayConfig, open_stage
from worldsim.viewing.pilots import Hands
from worldsim.viewing.session import Session
from worldsim.viewing.stage import Stage
from worldsim.viewing.window import Window

LEFT, RIGHT, UP, DOWN = pygame.K_LEFT, pygame.K_RIGHT, pygame.K_UP, pygame.K_DOWN
DRIVING = spaces.Box(np.array([-1, 0, 0], np.float32), np.ones(3, np.float32))


class Point(gymnasium.Env):
    """A bright point that is steered along a line and falls off its right end."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}
    observation_space = spaces.Box(0, 24, (1,), np.float32)
    action_space = DRIVING

    def __init__(self, render_mode: str = "rgb_array", sleep: float = 0.0) -> None:
        self.render_mode, self.sleep, self.closed = render_mode, sleep, False

    def reset(self, *, seed=None, options=None):
        if options:  # as a simulator that takes none
            raise ValueError(f"no options here, got {options}")
        super().reset(seed=seed)
        self.x = float(self.np_random.integers(2, 8))
        return self._observation(), {}

    def step(self, action):
        time.sleep(self.sleep)
        assert self.action_space.contains(action)
        self.x = max(0.0, self.x + float(action[0]) + float(action[1]) / 2)
        return self._observation(), float(action[0]), self.x >= 24, False, {}

    def render(self):
        picture = np.full((16, 24, 3), 40, np.uint8)
        picture[6:10, int(min(self.x, 23))] = 255
        return picture

    def close(self):
        self.closed = True

    def _observation(self):
        return np.array([min(self.x, 24)], np.float32)


class Dream(Point):
    """The same with all that an imagined world offers."""

    class world:
        class cfg:
            prompts = ["a road at night", "a city in the rain", "snow"]
            env_id = "test/Point-v0"

        encoder = Mock(spec=TextEncoder)

    def __init__(self, sleep: float = 0.0) -> None:
        super().__init__(sleep=sleep)
        self.prompt = "a field"

    def reset(self, *, seed=None, options=None):
        self.prompt, self.options = (options or {}).get("prompt", "a field"), options or {}
        observation = super().reset(seed=seed)[0]
        if "frames" in self.options:  # goes on from where the bright point is seen
            self.x = float(np.asarray(self.options["frames"])[..., 8, :, 0].argmax(-1).flat[-1])
        return observation, {"prompt": self.prompt, "termination": 0.1, "doubt": 0.7}

    def step(self, action):
        info = {"prompt": self.prompt, "termination": min(1.0, self.x / 24)}
        return *super().step(action)[:4], info

    def set_prompt(self, prompt):
        if prompt == "nonsense":
            raise ValueError("no such thing")
        self.prompt = prompt

    def snapshot(self):
        return {"x": np.array(self.x), "prompt": self.prompt}

    def restore(self, state):
        self.x, self.prompt = float(state["x"]), state["prompt"]

    def autopilot_action(self):
        return np.array([1, 0, 0], np.float32)


@pytest.fixture(autouse=True)
def registered():
    """Let `gymnasium.make` find the point; every file of tests that needs it imports this."""
    gymnasium.register("test/Point-v0", Point)
    yield
    del gymnasium.registry["test/Point-v0"]


def make_session(tmp_path, env=None, **chosen):
    env = env or Dream()
    out = tmp_path / "film.mp4"
    imagined = isinstance(env, Dream)
    return Session(lambda: Stage(env, "point", imagined), out=out, **chosen)


def step(stage, *keys):
    stage.act(*stage.choose(Hands(keys), "human"))


@pytest.fixture
def session(tmp_path):
    session = make_session(tmp_path)
    session.start()
    return session


@pytest.fixture
def dream(tmp_path):
    """A session of an imagined world with random weights."""
    world = make_tiny_world(endless=True)
    cfg = PlayConfig(world="tiny")
    session = Session(lambda: open_stage(cfg, world), out=tmp_path / "film.mp4")
    session.start()
    yield session
    session.close()


@pytest.fixture
def open_window(tmp_path):
    windows = []

    def open_window(env=None, wait=True, **chosen):
        window = Window(lambda: make_session(tmp_path, env), "point", **chosen)
        windows.append(window)
        window.open()
        if wait:
            until(window, lambda: window._drawn is not None)
        return window

    yield open_window
    for window in windows:
        window.close()


def until(window, condition, seconds=20):
    """Keep the window going until something has come about."""
    end = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end, "it never came about"
        window.update()
        time.sleep(0.002)


def post(*keys, held=False, mod=0):
    for key in keys:
        text = chr(key) if key < 128 else ""
        for kind in (pygame.KEYDOWN,) if held else (pygame.KEYDOWN, pygame.KEYUP):
            pygame.event.post(pygame.event.Event(kind, key=key, mod=mod, unicode=text))


def type_text(text):
    post(*(ord(letter) for letter in text))


def moment(window):
    return window.player.latest[1]
