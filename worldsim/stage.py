"""One env on the stage: its present moment, its past for rewinding, its keys and its autopilot.

A `Stage` knows Gymnasium's public interface. What an env offers beyond it is found by looking at
`env.unwrapped`: `set_prompt`, `snapshot` and `restore`, `autopilot_action`, `scripted_action`.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np

from worldsim.keyboard import Bindings, action_from_keys, key_bindings, keys_from_action
from worldsim.spaces import flatten_action

PAST_BYTES = 256 * 2**20  # for snapshots, whatever the size of a world
PAST_STEPS = 600
SPARKLINE = 120  # rewards


@dataclass(frozen=True)
class Moment:
    """One frame, and what there is to say about it."""

    frame: np.ndarray
    """`(h, w, 3)` uint8."""
    seed: int
    """Of the episode."""
    step: int = 0
    """Actions since the episode began."""
    reward: float = 0.0
    total: float = 0.0
    """Return so far."""
    rewards: tuple[float, ...] = ()
    """The latest rewards of this episode, oldest first."""
    action: np.ndarray | None = None
    """`(a,)`, the flattened action that led here; None at the start of an episode."""
    keys: frozenset[int] = frozenset()
    """Keys that stand for that action."""
    prompt: str = ""
    """The prompt in force, or the caption of a real simulator."""
    termination: float | None = None
    """Probability that the episode ends here, where an env tells it."""
    ended: str = ""
    """"terminated" or "truncated" on the last frame of an episode."""
    model_ms: float = 0.0
    """Time that this step took."""
    pressed: float | None = None
    """When a key was pressed that this frame is the first to answer to, by `perf_counter`."""


class Stage:
    """Play one env, and be able to go back.

    Args:
        env: Any env with `rgb_array` rendering or image observations.
        title: Name to show.
        imagined: Whether a world model makes the frames.
    """

    def __init__(self, env: gymnasium.Env, title: str, imagined: bool = False) -> None:
        self.env, self.title, self.imagined = env, title, imagined
        self.bindings: Bindings = key_bindings(env)
        self.moment: Moment | None = None
        self._past: deque[tuple[Any, Moment]] = deque(maxlen=PAST_STEPS)
        self._rng = np.random.default_rng(0)
        self._held: Any = None

    @property
    def fps(self) -> float:
        """Frames per second at which the env should be watched."""
        return float(self.env.metadata.get("render_fps") or 30)

    @property
    def prompts(self) -> list[str]:
        """Example prompts of an imagined world."""
        world = getattr(self.env.unwrapped, "world", None)
        return list(getattr(getattr(world, "cfg", None), "prompts", ()))

    def offers(self, *names: str) -> bool:
        """Return whether the env has all these methods beyond Gymnasium's own."""
        return all(callable(getattr(self.env.unwrapped, name, None)) for name in names)

    def reset(self, seed: int, options: dict[str, Any] | None = None) -> Moment:
        """Begin an episode."""
        began = perf_counter()
        observation, info = self.env.reset(seed=seed, options=options)
        self._rng, self._held = np.random.default_rng(seed), None
        self.env.action_space.seed(seed)
        self.moment = Moment(
            self._frame(observation), seed, **_said(info), model_ms=1000 * (perf_counter() - began)
        )
        return self.moment

    def step(self, keys: tuple[int, ...] = (), autopilot: bool = False) -> Moment:
        """Take one step.

        Args:
            keys: Keys held down, in the order in which they were pressed.
            autopilot: Whether the autopilot acts while no bound key is held.
        """
        before = self.moment
        assert before is not None, "reset comes first"
        bound = frozenset().union(*self.bindings)
        keys = tuple(key for key in keys if key in bound)
        began = perf_counter()
        if self.offers("snapshot", "restore"):
            self._remember(self.env.unwrapped.snapshot(), before)
        if keys or not autopilot:
            action = action_from_keys(keys, self.bindings, self.env.action_space)
        else:
            action = self._autopilot_action()
            keys = keys_from_action(action, self.bindings)
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.moment = Moment(
            self._frame(observation),
            before.seed,
            before.step + 1,
            float(reward),
            before.total + float(reward),
            (*before.rewards, float(reward))[-SPARKLINE:],
            flatten_action(self.env.action_space, action),
            frozenset(keys),
            **_said(info),
            ended="terminated" if terminated else "truncated" if truncated else "",
            model_ms=1000 * (perf_counter() - began),
        )
        return self.moment

    def rewind(self) -> bool:
        """Go back one step; return False if the past ends here."""
        if not self._past:
            return False
        state, self.moment = self._past.pop()
        self.env.unwrapped.restore(state)
        return True

    def set_prompt(self, prompt: str) -> None:
        """Change the prompt from the next frame on."""
        self.env.unwrapped.set_prompt(prompt)
        self.moment = replace(self.moment, prompt=prompt)

    def _autopilot_action(self) -> Any:
        """Ask the world, else the simulator's scripted driver, else act at random."""
        if self.offers("autopilot_action"):
            return self.env.unwrapped.autopilot_action()
        if self.offers("scripted_action"):
            return self.env.unwrapped.scripted_action(self._rng)
        if self._held is None or self._rng.random() < 0.1:
            self._held = self.env.action_space.sample()
        return self._held

    def _remember(self, state: Any, moment: Moment) -> None:
        self._past.append((state, moment))
        room = max(8, PAST_BYTES // max(1, sum(_sizes(state))))
        while len(self._past) > room:
            self._past.popleft()

    def _frame(self, observation: Any) -> np.ndarray:
        """Return the pixels `(h, w, 3)` of this moment, in an array of their own."""
        frame = self.env.render() if self.env.render_mode == "rgb_array" else observation
        frame = np.array(frame)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(
                "an env is played through its pixels, (h, w, 3) uint8, got "
                f"{frame.dtype} {frame.shape} from {self.title}; make it with "
                'render_mode="rgb_array"'
            )
        return frame


def _said(info: dict[str, Any]) -> dict[str, Any]:
    """Pick what the viewer shows from an env's `info`."""
    termination = info.get("termination")
    return {
        "prompt": str(info.get("prompt") or info.get("caption") or ""),
        "termination": None if termination is None else float(termination),
    }


def _sizes(state: Any, depth: int = 4) -> Iterator[int]:
    """Yield the bytes of the arrays and tensors in a snapshot."""
    if hasattr(state, "nbytes"):
        yield int(state.nbytes)
    elif depth and (isinstance(state, dict | list | tuple) or hasattr(state, "__dict__")):
        parts = vars(state) if hasattr(state, "__dict__") else state
        for part in parts.values() if isinstance(parts, dict) else parts:
            yield from _sizes(part, depth - 1)
