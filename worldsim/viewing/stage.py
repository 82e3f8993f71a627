"""One env on the stage: its present moment, its past, its keys and who acts in it.

A `Stage` knows Gymnasium's public interface. What an env offers beyond it is found by looking at
`env.unwrapped`: `set_prompt`, `snapshot` and `restore`, `autopilot_action`, `scripted_action`. An
env without snapshots goes back in time by repeating its actions from the seed.
"""

import copy
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np

from worldsim.images import as_frame
from worldsim.keyboard import Bindings, action_from_keys, key_bindings, keys_from_action
from worldsim.spaces import flatten_action
from worldsim.viewing.analogue import add_axes, analogue_bindings, keys_from_axes
from worldsim.viewing.insides import bytes_of, limits_of, remade, world_of
from worldsim.viewing.pilots import Hands, Policy
from worldsim.viewing.tape import Moment, Tape, said

PAST_BYTES = 256 * 2**20  # for snapshots, whatever the size of a world
PAST_STEPS = 600
ASTRAY = "the simulator does not repeat itself: this is its nearest"
SPARKLINE = 120  # rewards


@dataclass(frozen=True)
class Mark:
    """A moment of a stage and its past."""

    state: Any
    """Of the env, from `Stage._snapshot`; None if it offers none."""
    observation: Any
    tape: Tape
    past: deque[Any]


class Stage:
    """Play one env, and be able to go back.

    Args:
        env: Any env with `rgb_array` rendering or image observations.
        title: Name to show.
        imagined: Whether a world model makes the frames.
        actions: Bindings that replace the env's own, from `controls.read_keys`.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        title: str,
        imagined: bool = False,
        actions: dict[tuple[str, ...], Any] | None = None,
    ) -> None:
        self.env, self.title, self.imagined, self.given = env, title, imagined, actions or {}
        self.bindings: Bindings = key_bindings(env, self.given)
        self.analogue = analogue_bindings(env, self.given)
        self.tape: Tape | None = None
        self.observation: Any = None
        # snapshots and observations before the last moments
        self._past: deque[Any] = deque(maxlen=PAST_STEPS)
        self._rng = np.random.default_rng(0)
        self._held: Any = None
        self._behind = False  # whether the env stands at a later moment than the tape

    @property
    def moment(self) -> Moment | None:
        """The present moment; None before the first `reset`."""
        return self.tape.moments[-1] if self.tape else None

    @property
    def fps(self) -> float:
        """Frames per second at which the env should be watched."""
        return float(self.env.metadata.get("render_fps") or 30)

    @property
    def world(self) -> Any:
        """The `World` that imagines the frames, if one does."""
        return world_of(self.env)

    @property
    def kind(self) -> str:
        """Where the frames come from: "imagined", "recorded" or "real"."""
        if self.imagined:
            return "imagined"
        return "recorded" if self.offers("recorded_action") else "real"

    @property
    def prompts(self) -> list[str]:
        """Example prompts of an imagined world."""
        return list(getattr(getattr(self.world, "cfg", None), "prompts", ()))

    @property
    def sampler_steps(self) -> int | None:
        """Denoising passes per frame of an imagined world."""
        return getattr(getattr(self.env.unwrapped, "rollout", None), "steps", None)

    @property
    def has_chance(self) -> bool:
        """Whether the same actions can lead elsewhere, and back.

        Some worlds show what is expected alone; a simulator without snapshots comes back by
        repeating what led there, and would not know where chance was made to fall otherwise.
        """
        rollout = getattr(self.env.unwrapped, "rollout", None)
        return self.has_snapshots if rollout is None else rollout.draws

    def offers(self, *names: str) -> bool:
        """Return whether the env has all these methods beyond Gymnasium's own."""
        return all(callable(getattr(self.env.unwrapped, name, None)) for name in names)

    @property
    def has_snapshots(self) -> bool:
        """Whether the env can go back to a moment without repeating what led there."""
        return self.offers("snapshot", "restore")

    def reset(
        self, seed: int, options: dict[str, Any] | None = None, lead: Sequence[Any] = ()
    ) -> Moment:
        """Begin an episode.

        Args:
            seed: Of the episode.
            options: Of the env's `reset`.
            lead: Actions to take at once; `restart` takes them again.
        """
        began = perf_counter()
        self.observation, info = self.env.reset(seed=seed, options=options)
        self._rng, self._held, self._behind = np.random.default_rng(seed), None, False
        self.env.action_space.seed(seed)
        first = Moment(self._frame(), seed, **said(info))
        self._past.clear()
        self.tape = Tape(first, options, tuple(lead), scene=info.get("scene", {}))
        for action in lead:
            self.act(action)
        spent = 1000 * (perf_counter() - began)
        self.tape.moments[-1] = replace(self.moment, model_ms=spent)
        return self.moment

    def restart(self) -> Moment:
        """Begin this episode again, as it began."""
        return self.reset(self.moment.seed, self.tape.options, self.tape.lead)

    def choose(
        self, hands: Hands, driver: str, agent: Policy | None = None
    ) -> tuple[Any, frozenset[int]]:
        """Return the next action and the keys that stand for it; hands win over any driver.

        Args:
            hands: What a person holds.
            driver: One of `pilots.DRIVERS`, who acts while the hands are off.
            agent: Acts for the driver "agent".
        """
        assert self.moment is not None, "reset comes first"
        self.settle()
        bound = frozenset().union(*self.bindings)
        tilted = hands.axes if self.analogue else ()
        keys = (*hands.keys, *(() if self.analogue else keys_from_axes(hands.axes)))
        keys = tuple(key for key in keys if key in bound)
        if self.offers("recorded_action"):
            action = self.env.unwrapped.recorded_action()
            keys = keys_from_action(action, self.bindings)
        elif keys or tilted or driver == "human":
            action = action_from_keys(keys, self.bindings, self.env.action_space)
            action = add_axes(action, tilted, self.analogue, self.env.action_space)
        else:
            use_agent = driver == "agent" and agent is not None
            action = agent(self.observation, self._rng) if use_agent else self._autopilot_action()
            keys = keys_from_action(action, self.bindings)
        return action, frozenset(keys)

    def act(self, action: Any, keys: frozenset[int] = frozenset()) -> Moment:
        """Take one step with a given action; `keys` are those that stand for it."""
        before = self.moment
        self.settle()
        began = perf_counter()
        if self.has_snapshots:
            self._remember((self._snapshot(), self.observation))
        self.observation, reward, terminated, truncated, info = self.env.step(action)
        moment = Moment(
            self._frame(),
            before.seed,
            before.step + 1,
            float(reward),
            before.total + float(reward),
            (*before.rewards, float(reward))[-SPARKLINE:],
            flatten_action(self.env.action_space, action),
            keys,
            **said(info),
            ended="terminated" if terminated else "truncated" if truncated else "",
            model_ms=1000 * (perf_counter() - began),
        )
        self.tape.add(moment, action)
        return moment

    def rewind(self) -> bool:
        """Go back one step; return False if the past ends here."""
        if len(self.tape.moments) < 2 or (self.has_snapshots and not self._past):
            return False
        self.tape.cut()
        if self.has_snapshots:
            state, self.observation = self._past.pop()
            self._restore(state)
        else:
            self._behind = True  # it is enough to repeat the actions when time goes on
        return True

    def settle(self) -> bool:
        """Bring an env without snapshots to the present; return whether it repeats itself."""
        if not self._behind:
            return True
        self._behind = False
        self.observation, _ = self.env.reset(seed=self.moment.seed, options=self.tape.options)
        for action in self.tape.actions:
            self.observation = self.env.step(action)[0]
        frame = self._frame()
        alike = np.array_equal(frame, self.moment.frame)
        self.tape.moments[-1] = replace(self.moment, frame=frame)
        return alike

    def mark(self) -> Mark:
        """Return this moment and its past, to come back to."""
        self.settle()
        state = self._snapshot() if self.has_snapshots else None
        return Mark(state, self.observation, self.tape.copy(), self._past.copy())

    def become(self, mark: Mark) -> bool:
        """Go to a moment of this env, or of another one like it; return whether it is the same."""
        if self.has_snapshots:
            self._restore(mark.state)  # may refuse it, and then nothing has changed
        self.observation, self.tape, self._past = (
            mark.observation,
            mark.tape.copy(),
            mark.past.copy(),
        )
        if self.has_snapshots:
            return True
        self._behind = True
        return self.settle()

    def fork(self) -> "Stage":
        """Return a stage of its own at the same moment; a world's weights are shared."""
        other = Stage(remade(self.env), self.title, self.imagined, self.given)
        other._rng = copy.deepcopy(self._rng)
        if self.has_snapshots:
            other.env.reset(seed=self.moment.seed)  # nothing is restored before
        other.become(self.mark())
        return other

    def reseed(self, seed: int) -> None:
        """Let chance fall otherwise from here on."""
        if hasattr(self.env.unwrapped, "rollout"):
            self.env.unwrapped.rollout.seed([0], [seed])
        else:
            self.env.unwrapped.np_random = np.random.default_rng(seed)

    def set_prompt(self, prompt: str) -> None:
        """Change the prompt from the next frame on."""
        self.env.unwrapped.set_prompt(prompt)
        self.tape.moments[-1] = replace(self.moment, prompt=prompt)

    def _autopilot_action(self) -> Any:
        """Ask the world, else the simulator's scripted driver, else act at random."""
        if self.offers("autopilot_action"):
            return self.env.unwrapped.autopilot_action()
        if self.offers("scripted_action"):
            return self.env.unwrapped.scripted_action(self._rng)
        if self._held is None or self._rng.random() < 0.1:
            self._held = self.env.action_space.sample()
        return self._held

    def _snapshot(self) -> tuple[Any, list[int]]:
        """Copy the env's state, and the steps that its time limits have counted."""
        return self.env.unwrapped.snapshot(), [each._elapsed_steps for each in limits_of(self.env)]

    def _restore(self, state: tuple[Any, list[int]]) -> None:
        snapshot, elapsed = state
        self.env.unwrapped.restore(snapshot)
        for limit, steps in zip(limits_of(self.env), elapsed, strict=True):
            limit._elapsed_steps = steps

    def _remember(self, state: Any) -> None:
        self._past.append(state)
        room = max(8, PAST_BYTES // max(1, bytes_of(state)))
        while len(self._past) > room:
            self._past.popleft()

    def _frame(self) -> np.ndarray:
        """Return the pixels `(h, w, 3)` of this moment, in an array of their own."""
        frame = self.env.render() if self.env.render_mode == "rgb_array" else self.observation
        return as_frame(frame, self.title)
