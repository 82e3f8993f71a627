"""What one evaluation shares: the world, held-out clips, a probe, the simulator."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np

from worldsim.heldout import HeldOut, WorldPredict, cut_clips
from worldsim.metrics import copy_last, squared_error
from worldsim.probes import Labelled, Probe, ProbeConfig, probe_for
from worldsim.spaces import flatten_action, null_action, unflatten_action
from worldsim.world import World


@dataclass
class EvaluateConfig:
    """What to measure, and how thoroughly."""

    world: str = "drive"
    """Name of a shipped world, a folder or a Hub id."""
    data: str = "data/drive-test"
    """Held-out recordings."""
    probe_data: str = ""
    """Recordings that the probe learns from; by default every second episode of `data`."""
    out: str = "report"
    """Folder of the report; empty for none."""
    sections: tuple[str, ...] = ()
    """Which measures to take; empty for all."""
    clips: int = 64
    """Held-out clips."""
    context: int = 16
    """Real frames given to the world."""
    horizons: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Which imagined frames to judge."""
    sampler_steps: int = 0
    """Steps per imagined frame; 0 is the world's default."""
    guidance: float = 1.0
    """Strength of prompts in the text section."""
    starts: int = 20
    """Starts for steering and driving."""
    drive_frames: int = 200
    """Frames to stay on the road under the world's own policy."""
    drift_frames: int = 1024
    drift_rows: int = 4
    """Rollouts per way of acting (idle, random, recorded, autopilot) in the drift section."""
    prompts: int = 32
    """Prompts to ask for in the text section."""
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    lpips: str = ""
    """TorchScript file `(n, 3, h, w) x 2 -> (n,)` on [-1, 1]; empty leaves LPIPS out."""
    fvd: str = ""
    """TorchScript file `(n, 3, t, h, w) -> (n, d)` on [-1, 1]; empty leaves FVD out."""
    seed: int = 0
    device: str = ""
    """Where to run; empty chooses."""
    progress: bool = True

    def __post_init__(self) -> None:
        self.sections, self.horizons = tuple(self.sections), tuple(sorted(self.horizons))
        names = ("clips", "starts", "drive_frames", "drift_frames", "drift_rows", "prompts")
        for name, least in ({"context": 2} | dict.fromkeys(names, 1)).items():
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}, got {getattr(self, name)}")
        if not self.horizons or self.horizons[0] < 1:
            raise ValueError(f"`horizons` must name frames from 1 on, got {self.horizons}")


class Skip(Exception):
    """Raised by a section that this world or data set has nothing for; carries the reason."""


@dataclass
class Study:
    """A world under examination.

    Attributes:
        world: The world.
        data: Held-out data set.
        cfg: What to measure.
        probe_data: Data set for the probe to learn from; None splits `data`.
    """

    world: World
    data: Any
    cfg: EvaluateConfig
    probe_data: Any = None

    @property
    def steps(self) -> int | None:
        """Sampler steps per frame; None is the world's default."""
        return self.cfg.sampler_steps or None

    @property
    def horizons(self) -> tuple[int, ...]:
        """Which imagined frames to judge."""
        return self.cfg.horizons

    @cached_property
    def clips(self) -> HeldOut:
        """The fixed held-out clips."""
        cfg = self.cfg
        return cut_clips(
            self.data, cfg.clips, context=cfg.context, horizon=max(cfg.horizons), seed=cfg.seed
        )

    @cached_property
    def short_clips(self) -> HeldOut:
        """The same clips with a future of at most 16 frames, over which actions are judged."""
        return self.clips.first(min(16, self.clips.horizon))

    @cached_property
    def probe(self) -> Probe:
        """The judge of imagined frames."""
        return self._probe[0]

    @cached_property
    def probe_check(self) -> Labelled:
        """Real frames that the probe has not seen."""
        return self._probe[1]

    @cached_property
    def _probe(self) -> tuple[Probe, Labelled]:
        return probe_for(self.data, self.cfg.probe, self.probe_data, self.cfg.progress)

    @cached_property
    def predict(self) -> WorldPredict:
        """The world as a predictor."""
        return WorldPredict(self.world, self.steps, self.cfg.seed)

    @cached_property
    def imagined(self) -> np.ndarray:
        """What the world makes of the clips: `(b, horizon, h, w, 3)`."""
        return self.predict(self.clips.given, self.clips.actions)

    @cached_property
    def starts(self) -> HeldOut:
        """Clips that begin in orderly motion, for steering and driving.

        On the road, heading along it, driven cleanly and faster than a tenth of the clips, as far
        as the recordings say so; the others follow where there are too few.
        """
        horizon = min(32, max(self.horizons))
        pool = cut_clips(
            self.data, 6 * self.cfg.starts, context=self.cfg.context, horizon=horizon,
            seed=self.cfg.seed + 1,
        )  # fmt: skip
        state = {name: values[:, self.cfg.context - 1] for name, values in pool.state.items()}
        good = np.ones(len(pool), bool)
        if "style" in state:
            good &= state["style"] == 0
        if "on_road" in state:
            good &= state["on_road"] > 0.9
        if "heading" in state:
            good &= np.abs(state["heading"]) < 0.3
        if "speed" in state:
            good &= state["speed"] > np.quantile(state["speed"], 0.1)
        else:
            good &= squared_error(pool.given[:, 0], pool.given[:, -1]) > 0
        order = np.argsort(~good, kind="stable")[: self.cfg.starts]
        return pool.rows(order)

    def held(self, *keys: str) -> np.ndarray | None:
        """Return the flat action `(a,)` of holding `keys`; None if the data have no such keys."""
        for names, action in self.data.info.keys:
            if sorted(names) == sorted(keys):
                space = self.data.info.action_space
                as_array = np.asarray(action, getattr(space, "dtype", None))
                return flatten_action(space, as_array if as_array.ndim else as_array.item())
        return None

    @property
    def idle(self) -> np.ndarray:
        """The flat action `(a,)` of doing nothing."""
        space = self.data.info.action_space
        return flatten_action(space, null_action(space))

    @cached_property
    def simulator(self) -> "Simulator":
        """The env that the recordings come from."""
        return Simulator(self.data.info)


class Simulator:
    """The recorded env, taken back to any moment of a recording by its seed and actions.

    Args:
        info: Of the data set.

    Raises:
        Skip: If the env cannot be made here.
    """

    def __init__(self, info: Any) -> None:
        try:
            self.env = gymnasium.make(info.env_id, render_mode="rgb_array", **info.env_kwargs)
        except Exception as error:
            raise Skip(f"the simulator {info.env_id!r} cannot be made here: {error}") from error
        self.space = info.action_space

    def run(self, seed: int, actions: np.ndarray, keep: int) -> np.ndarray:
        """Reset with `seed`, act `(n, a)`; return the last `keep` frames `(keep, h, w, 3)`."""
        observation, _ = self.env.reset(seed=seed)
        frames = [self._frame(observation)] if keep > len(actions) else []
        for i, action in enumerate(actions):
            observation, *_ = self.env.step(unflatten_action(self.space, action))
            if i >= len(actions) - keep:
                frames.append(self._frame(observation))
        return np.stack(frames)

    def _frame(self, observation: Any) -> np.ndarray:
        image = isinstance(observation, np.ndarray) and observation.dtype == np.uint8
        if image and observation.ndim == 3 and observation.shape[-1] == 3:
            return observation.copy()
        return np.asarray(self.env.render())


def hold(action: np.ndarray, rows: int, steps: int) -> np.ndarray:
    """Repeat one action `(a,)` as `(rows, steps, a)`."""
    return np.broadcast_to(action, (rows, steps, len(action))).astype(np.float32)


def copy_error(clips: HeldOut) -> np.ndarray:
    """Return copy-the-last-frame's error `(b, horizon)`."""
    return squared_error(copy_last(clips.given, clips.actions), clips.future)


def distance(frames: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the root mean square difference of pixels in [0, 255], per frame `(...)`."""
    return 255 * np.sqrt(squared_error(frames, others))


def share(flags: Sequence[bool] | np.ndarray) -> float:
    """Return the share of True; NaN of nothing."""
    return float(np.mean(flags)) if len(flags) else float("nan")
