"""What all simulators promise; their tests say with which env and actions."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import gymnasium
import numpy as np
import pygame
import pytest
from gymnasium.error import ResetNeeded

DATA = Path(__file__).parent / "data"


def play(env: gymnasium.Env, seed: int, actions: Iterable) -> tuple[np.ndarray, dict]:
    """Return every tenth frame, side by side `(h, t * w, 3)`, and the rewards and captions.

    An action is asked for when its turn comes.
    """
    frame, info = env.reset(seed=seed)
    frames, rewards, captions = [frame], [], [info["caption"]]
    for k, action in enumerate(actions):
        frame, reward, *_, info = env.step(action)
        rewards.append(round(reward, 4))
        if k % 10 == 9:
            frames.append(frame)
        if info["caption"] != captions[-1]:
            captions.append(info["caption"])
    env.close()
    return np.concatenate(frames, 1), {"rewards": rewards, "captions": captions}


def write_golden(simulator: str, names: Iterable[str], play_golden: Callable) -> None:
    """Write the expected frames, rewards and captions."""
    told = {}
    for name in names:
        frames, told[name] = play_golden(name)
        path = DATA / f"{simulator}-{name}.png"
        cv2.imwrite(str(path), frames[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    (DATA / f"{simulator}.json").write_text(json.dumps(told) + "\n")


def check_golden(simulator: str, name: str, frames: np.ndarray, told: dict) -> None:
    """Two levels are for other processors' rounding."""
    expected = cv2.imread(str(DATA / f"{simulator}-{name}.png"))[..., ::-1]
    assert frames.shape == expected.shape
    assert np.abs(frames.astype(int) - expected).max() <= 2
    recorded = json.loads((DATA / f"{simulator}.json").read_text())[name]
    assert told["rewards"] == pytest.approx(recorded["rewards"], abs=1e-3)
    assert told["captions"] == recorded["captions"]


def check_seeds(env: gymnasium.Env, other: gymnasium.Env, actions: Sequence) -> None:
    """Also in an env that has lived before, and not with another seed."""

    def episode(env, seed):
        frame, info = env.reset(seed=seed)
        frames, told = [frame], [info]
        for action in actions:
            frame, reward, *_, info = env.step(action)
            frames.append(frame)
            told.append({"reward": reward} | info)
        return np.stack(frames), told

    first, told = episode(env, 11)
    different, _ = episode(env, 12)
    again, retold = episode(env, 11)
    fresh, _ = episode(other, 11)
    assert np.array_equal(first, again) and np.array_equal(first, fresh) and told == retold
    assert not np.array_equal(first, different)
    env.close()
    other.close()


def check_size(env: gymnasium.Env, size: tuple[int, int], action: Any) -> None:
    frame, _ = env.reset(seed=0)
    assert frame.shape == (*size, 3) and frame.dtype == np.uint8
    assert env.observation_space.contains(frame) and frame.std() > 10
    later = env.step(action)[0]
    assert env.observation_space.contains(later) and np.array_equal(env.render(), later)
    env.close()


def check_fresh_arrays(env: gymnasium.Env, action: Any) -> None:
    first = env.step(action)[0]
    kept = first.copy()
    env.render()[:] = 0
    env.step(action)[0][:] = 0
    assert np.array_equal(first, kept) and env.render().any()


def check_nothing_works(env: gymnasium.Env, action: Any, scene: dict[str, str]) -> None:
    calls = lambda: env.step(action), lambda: env.set_scene(scene), env.scripted_action, env.render
    for call in calls:
        with pytest.raises(ResetNeeded, match="needs a `reset` first"):
            call()


def check_closing(env: gymnasium.Env, action: Any) -> None:
    """It can be done twice, and the env be reset again."""
    env.close()
    env.close()
    with pytest.raises(ResetNeeded):
        env.step(action)
    assert env.reset(seed=0)[0].shape == (64, 64, 3)
    env.close()


def check_window(env: gymnasium.Env, action: Any) -> None:
    """Its driver is a dummy here."""
    for go in (lambda: env.reset(seed=0), lambda: env.step(action)):
        frame = go()[0]
        assert env.render() is None and frame.shape == (64, 64, 3)
        assert pygame.display.get_surface().get_size() == (512, 512)
        assert pygame.display.get_surface().get_at((260, 20))[:3] == tuple(frame[2, 32])
    env.close()
