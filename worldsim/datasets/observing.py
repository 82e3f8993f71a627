"""What is kept of an env while it runs: frames, captions, ground truth, a description."""

import json
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Env

from worldsim.datasets.episodes import DatasetInfo, Episode, plain
from worldsim.images import frame_of
from worldsim.spaces import Policy

# wrappers that change nothing of what is recorded; what a `Filmed` does, who wraps in it tells
ONLOOKERS = {"Filmed", "RecordEpisodeStatistics", "RecordVideo", "RenderCollection"}


def build_episode(
    frames: list[np.ndarray],
    actions: list[np.ndarray],
    transitions: list[tuple[float, bool, bool]],
    truths: list[tuple[str, dict[str, np.ndarray]]],
    *,
    scene: dict[str, Any],
    seed: int | None,
) -> Episode:
    """Put an episode together.

    Args:
        frames: `t + 1` times `(h, w, 3)` uint8.
        actions: `t` flattened ones, `(a,)` float32.
        transitions: Reward, whether terminated, whether truncated; one per action.
        truths: Caption and ground truth of every frame.
        scene: Attributes of the scene, JSON-able.
        seed: That the env was reset with; None if that alone does not lead to the first frame.
    """
    rewards, terminated, truncated = zip(*transitions, strict=True)
    captions, states = zip(*truths, strict=True)
    different = tuple(dict.fromkeys(captions))
    return Episode(
        frames=_stack("frames", frames),
        actions=np.stack(actions),
        rewards=np.array(rewards, np.float32),
        terminated=np.array(terminated, bool),
        truncated=np.array(truncated, bool),
        captions=different,
        caption_index=np.array([different.index(caption) for caption in captions]),
        state=_stack_states(states),
        scene=json.loads(json.dumps(scene, default=plain)),
        seed=seed,
    )


def describe(
    env: Env, policy: str | Policy, seed: int, max_steps: int | None, quality: str = "training"
) -> DatasetInfo:
    """Describe the data set that recording `env` would make; resets `env`."""
    fps = env.metadata.get("render_fps")
    if not fps or round(fps) < 1:
        raise ValueError(
            f'`env.metadata["render_fps"]` must say how many steps make a second, 1 or more, got '
            f"{fps!r}; set it on the env's class"
        )
    observation, _ = env.reset(seed=seed)
    frame_size = frame_of(env, observation).shape[:2]
    kind = policy if hasattr(policy, "__qualname__") else type(policy)
    name = str(policy) if isinstance(policy, str | Path) else kind.__qualname__
    recording = {"policy": name, "seed": seed, "max_steps": max_steps}
    return describe_env(env, round(fps), frame_size, recording, quality)


def describe_env(
    env: Env,
    fps: int,
    frame_size: tuple[int, int],
    recording: dict[str, Any],
    quality: str = "training",
) -> DatasetInfo:
    """Describe what recordings of `env` share; leaves it as it stands."""
    from worldsim.keyboard import name_bindings, own_bindings

    env_id, kwargs = _origin(env)
    return DatasetInfo(
        fps=fps,
        frame_size=frame_size,
        action_space=env.action_space,
        env_id=env_id,
        keys=name_bindings(own_bindings(env)),
        env_kwargs={key: value for key, value in kwargs.items() if key != "render_mode"},
        recording=recording,
        quality=quality,
    )


def observed_reward(reward: Any, step: int) -> float:
    """Return what a step has earned.

    Raises:
        ValueError: If it is no finite number.
    """
    value = np.asarray(reward)
    if value.size != 1 or value.dtype.kind not in "biuf" or not np.isfinite(value).all():
        raise ValueError(
            f"a reward must be a finite number, got {reward!r} at step {step}; mend the env"
        )
    return float(value.reshape(()))


def observed_scene(info: dict[str, Any]) -> dict[str, Any]:
    """Return what `reset` tells of the scene.

    Raises:
        TypeError: If it is no dict.
    """
    return _told(info, "scene")


def observed_truth(info: dict[str, Any]) -> tuple[str, dict[str, np.ndarray]]:
    """Return the caption and a copy of the state, for an env may reuse its arrays.

    Raises:
        TypeError: If the caption is no text, or the state no dict of numbers.
    """
    caption = info.get("caption", "")
    if not isinstance(caption, str):
        raise TypeError(f'`info["caption"]` must be a str, got {caption!r}')
    return caption, {key: _numbers(key, x) for key, x in _told(info, "state").items()}


def _told(info: dict[str, Any], name: str) -> dict[str, Any]:
    told = info.get(name, {})
    if not isinstance(told, dict):
        raise TypeError(
            f'`info["{name}"]` must be a dict, got {told!r}; leave it out where there is none'
        )
    return told


def _numbers(key: str, value: Any) -> np.ndarray:
    try:
        kind = np.asarray(value).dtype.kind
    except ValueError:  # rows of several lengths
        kind = ""
    if kind not in ("b", "i", "u", "f") or not np.size(value):
        raise TypeError(
            f'`info["state"][{key!r}]` must be a number or an array of them, got {value!r}; leave '
            'it out, or tell it in `info["scene"]`'
        )
    return np.array(value, np.float32)


def _origin(env: Env) -> tuple[str, dict[str, Any]]:
    """Return the id and arguments that make an env anew; none where they would make another."""
    if env.spec is None:
        return "", {}
    own = gymnasium.registry.get(env.spec.id, env.spec).additional_wrappers
    added = {w.name for w in env.spec.additional_wrappers} - {w.name for w in own} - ONLOOKERS
    why = f"it is wrapped by {', '.join(sorted(added))}" if added else ""
    try:
        kwargs = json.loads(json.dumps(env.spec.kwargs))
    except TypeError as error:
        why = f"its arguments are no JSON ({error})"
    if not why:
        return env.spec.id, kwargs
    warnings.warn(
        f"recordings of this {env.spec.id} will not say how to make it anew, as {why}: nothing can "
        "be replayed or judged in it; record env=module:function, which makes it so",
        stacklevel=2,
    )
    return "", {}


def _stack(name: str, parts: list[np.ndarray]) -> np.ndarray:
    for step, part in enumerate(parts):
        if part.shape != parts[0].shape:
            raise ValueError(
                f"{name} must be of one shape in an episode, got {parts[0].shape} at reset and "
                f"{part.shape} at step {step}; give all of them the same"
            )
    return np.stack(parts)


def _stack_states(states: tuple[dict[str, np.ndarray], ...]) -> dict[str, np.ndarray]:
    """Stack the state of every frame, `(t + 1,)` or `(t + 1, k)` each."""
    different = {key for state in states for key in state.keys() ^ states[0].keys()}
    if different:
        raise ValueError(
            '`info["state"]` must have the same keys at reset and at every step, got '
            f"{sorted(different)} only now and then"
        )
    stacked = {
        key: _stack(f'`info["state"][{key!r}]`', [state[key] for state in states])
        for key in states[0]
    }
    return {k: x.reshape(len(x), -1) if x.size > len(x) else x.ravel() for k, x in stacked.items()}
