"""What one evaluation shares: the world, held-out clips, a probe, the simulator."""

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from worldsim.datasets.subsets import fingerprint
from worldsim.measuring.dreaming import WorldPredict
from worldsim.measuring.heldout import HeldOut, cut_clips, other_actions
from worldsim.measuring.labels import Labelled, collect
from worldsim.measuring.metrics import psnr, squared_error
from worldsim.measuring.plots import Plot
from worldsim.measuring.probes import LOOK, Probe, train_probe
from worldsim.measuring.report import Strip
from worldsim.measuring.settings import EvaluateConfig
from worldsim.measuring.simulator import Simulator, Skip
from worldsim.recording import record
from worldsim.space_json import action_from_json
from worldsim.spaces import flatten_action, null_action
from worldsim.world import World

PROBE_SEED = 2_000_000  # first seed of what is recorded for the probe: no other data set uses it
PROBE_STEPS = 40
PROBE_FILE = "probe.safetensors"  # in a report's folder: the next evaluation need not train one
REPLAYED = 28.0  # dB, to what was recorded; videos lose some


@dataclass
class Study:
    """A world under examination.

    Attributes:
        world: The world.
        data: Held-out data set.
        cfg: What to measure.
        probe_data: Data set for the probe to learn from; None records one or splits `data`.
        folder: Of an earlier report, whose probe is taken if it was made from the same.
        plots: What sections draw, by file name; it begins with the section's name.
        strips: Likewise.
        doubt: Calibration of the hallucination alarm, once it was measured.
    """

    world: World
    data: Any
    cfg: EvaluateConfig
    probe_data: Any = None
    folder: Path | None = None
    plots: dict[str, Plot] = field(default_factory=dict)
    strips: dict[str, Strip] = field(default_factory=dict)
    doubt: dict = field(default_factory=dict)

    @property
    def steps(self) -> int | None:
        """Sampler steps per frame; None is the world's default."""
        return self.cfg.sampler_steps or None

    @property
    def draws(self) -> bool:
        """Whether chance has a say in the frames that are played."""
        single = (self.steps or self.world.cfg.sampler_steps) == 1
        return single and self.world.dynamics.cfg.chance > 0 and self.world.cfg.variety > 0

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
        kept = Probe.load(self.folder / PROBE_FILE, self.probe_key) if self.folder else None
        if kept is not None:
            return kept
        cfg, (data, episodes) = self.cfg.probe, self._lessons
        learn = collect(
            data, cfg.numbers, cfg.attributes, frames=cfg.frames, episodes=episodes, seed=cfg.seed
        )
        return train_probe(learn, self.probe_check, cfg, self.cfg.progress)

    def keep_probe(self) -> None:
        """Save the probe, if one was needed, beside the report."""
        if "probe" in vars(self):
            self.probe.save(self.folder / PROBE_FILE, self.probe_key)

    @property
    def probe_key(self) -> str:
        """What the probe is made from and tested on."""
        sets = [self.data] if self.probe_data is None else [self.data, self.probe_data]
        sources = [f"{getattr(d, 'path', 'memory')} {fingerprint(d)}" for d in sets]
        sources += ["every second episode"] if self._splits else []
        info = self.data.info
        about = {"probe": asdict(self.cfg.probe), "env": info.env_id}
        about |= {"kwargs": dict(info.env_kwargs), "size": list(info.frame_size)}
        return json.dumps(about | {"source": ", ".join(sources), "look": LOOK})

    @cached_property
    def probe_check(self) -> Labelled:
        """Real frames that the probe has not seen."""
        cfg = self.cfg.probe
        return collect(self.data, cfg.numbers, cfg.attributes, episodes=self.unseen)

    @cached_property
    def _splits(self) -> bool:
        """Whether the probe has only the held-out data to learn from: then every second episode."""
        if self.probe_data is not None:
            return False
        alone = self.cfg.probe.episodes < 1
        try:
            _ = alone or self.simulator
        except Skip:
            alone = True
        if alone and len(self.data) < 2:
            raise Skip(
                "a probe needs at least 2 episodes, one to learn from and one to be tested on, got "
                f"{len(self.data)}; record more or set `probe_data`"
            )
        return alone

    @property
    def unseen(self) -> range:
        """The held-out episodes that the probe has not learned from."""
        return range(1, len(self.data), 2) if self._splits else range(len(self.data))

    @cached_property
    def _lessons(self) -> tuple[Any, range]:
        """What the probe learns from: a data set, and which of its episodes."""
        if self._splits:
            return self.data, range(0, len(self.data), 2)
        data = self.probe_data
        if data is None:
            data = record(
                self.simulator.env, episodes=self.cfg.probe.episodes, max_steps=PROBE_STEPS,
                seed=PROBE_SEED, policy=self.simulator.policy, progress=self.cfg.progress,
            )  # fmt: skip
        return data, range(len(data))

    @cached_property
    def predict(self) -> WorldPredict:
        """The world as a predictor of what is expected."""
        return WorldPredict(self.world, self.steps, self.cfg.seed, variety=0.0)

    @cached_property
    def imagined(self) -> np.ndarray:
        """What the world expects of the clips: `(b, horizon, h, w, 3)`."""
        return self.predict(self.clips.given, self.clips.actions, self.clips.known)

    @cached_property
    def drawn(self) -> np.ndarray:
        """The same as it is played: what is expected, or with chance one of those that may come."""
        return self.redrawn(self.cfg.seed) if self.draws else self.imagined

    def redrawn(self, seed: int) -> np.ndarray:
        """Imagine the clips' futures as they are played, by other chance."""
        clips = self.clips
        return self.played(seed)(clips.given, clips.actions, clips.known)

    def played(self, seed: int) -> WorldPredict:
        """Return the world as a predictor as it is played: with chance, where that has a say."""
        return WorldPredict(self.world, self.steps, seed)

    @property
    def early(self) -> np.ndarray:
        """The numbers of those clips that begin early in their episodes, and are replayed soon."""
        return np.sort(np.argsort(self.clips.place[:, 1], kind="stable")[: self.cfg.replays])

    @cached_property
    def rivals(self) -> tuple[HeldOut, np.ndarray, np.ndarray]:
        """Clips with the simulator's frames under their own and under another clip's actions.

        Frames `(b, horizon, h, w, 3)` come from replaying each recording by its seed.

        Raises:
            Skip: If recordings cannot be replayed, or come out otherwise.
        """
        clips = self.clips.rows(self.early)
        if len(clips) < 2:
            raise Skip("needs at least 2 clips and `replays`")
        other, real = other_actions(clips), ([], [])
        for i, place in enumerate(clips.place):
            for futures, actions in zip(real, (clips.actions, other), strict=True):
                futures.append(self.replay(place, actions[i], clips.context))
        real_a, real_b = map(np.stack, real)
        _check_replay(real_a, clips.future)
        return clips, real_a, real_b

    def replay(self, place: np.ndarray, actions: np.ndarray, given: int) -> np.ndarray:
        """Take the simulator to a clip's last given frame, then on under `actions[given - 1:]`.

        Where its episode ends before the actions do, its last frame stays.

        Raises:
            Skip: If the simulator cannot be made or does not repeat what was recorded, or the
                recording has no seed.
        """
        _ = self._repeats  # raises where it does not
        return self._replay(place, actions, given)

    @cached_property
    def _repeats(self) -> None:
        """Replay a few clips, once, before any replay is believed."""
        few = self.clips.rows(np.arange(len(self.clips)) < 3)
        few = few.first(min(16, few.horizon))
        again = [
            self._replay(place, actions, few.context)
            for place, actions in zip(few.place, few.actions, strict=True)
        ]
        _check_replay(np.stack(again), few.future)

    def _replay(self, place: np.ndarray, actions: np.ndarray, given: int) -> np.ndarray:
        episode, first = map(int, place)
        recording = self.data.outline(episode)
        if recording.seed is None:
            raise Skip("the recordings hold no seeds to replay them by")
        run = np.concatenate([recording.actions[: first + given - 1], actions[given - 1 :]])
        return self.simulator.run(recording.seed, run, len(actions) - given + 1)

    @cached_property
    def starts(self) -> HeldOut:
        """Clips that begin in orderly motion, for steering and driving.

        On the road, heading along it, driven cleanly and faster than a tenth of the clips, as far
        as the recordings say so; the others follow where there are too few.
        """
        horizon = min(32, max(self.cfg.horizons))
        pool = cut_clips(
            self.data, 6 * self.cfg.starts, context=self.cfg.context, horizon=horizon,
            seed=self.cfg.seed + 1,
        )  # fmt: skip
        last = self.cfg.context - 1
        state = {name: v[:, last] for name, v in pool.state.items() if v.ndim == 2}
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
        mixed = np.random.default_rng(self.cfg.seed).permutation(len(pool))  # of all episodes
        order = mixed[np.argsort(~good[mixed], kind="stable")]
        return pool.rows(order[: self.cfg.starts])

    def astray(self, n: int, k: int) -> np.ndarray:
        """Return recorded actions of episodes in any order, `n` rows of `k` each: `(n, k, a)`."""
        rng, rows = np.random.default_rng(self.cfg.seed), []
        for _ in range(n):
            order = rng.permutation(len(self.data))
            actions = np.concatenate([self.data.outline(int(i)).actions for i in order])
            rows.append(np.resize(actions, (k, actions.shape[-1])))
        return np.stack(rows)

    def held(self, *keys: str) -> np.ndarray | None:
        """Return the flat action `(a,)` of holding `keys`; None if the data have no such keys."""
        for names, action in self.data.info.keys:
            if sorted(names) == sorted(keys):
                space = self.data.info.action_space
                return flatten_action(space, action_from_json(space, action))
        return None

    @property
    def idle(self) -> np.ndarray:
        """The flat action `(a,)` of doing nothing."""
        space = self.data.info.action_space
        return flatten_action(space, null_action(space))

    @property
    def simulator(self) -> Simulator:
        """The env that the recordings come from.

        Raises:
            Skip: If it cannot be made here.
        """
        if isinstance(self._simulator, Skip):
            raise self._simulator
        return self._simulator

    @cached_property
    def _simulator(self) -> Simulator | Skip:
        try:
            return Simulator(self.data.info)
        except Skip as reason:
            return reason

    def close(self) -> None:
        """Close the simulator, if one was made."""
        made = vars(self).get("_simulator")
        if isinstance(made, Simulator):
            made.env.close()


def _check_replay(again: np.ndarray, recorded: np.ndarray) -> None:
    if psnr(squared_error(again, recorded).mean()) < REPLAYED:
        raise Skip(
            "replaying a recording by its seed gave other frames; was the simulator changed?"
        )
