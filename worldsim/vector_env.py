"""A batch of imagined episodes as a Gymnasium vector environment.

An action moves the world by one frame. The prompt is no part of the action: it comes with `make`,
with `reset(options={"prompt": ...})` or by `set_prompt` in mid-episode.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array
from torch import Tensor

from worldsim.asked import check_settings, flatten_batch, read_mask, read_seeds
from worldsim.limits import check_choice, check_counts, check_given
from worldsim.loading import as_world
from worldsim.moments import EnvSnapshot, check_snapshot
from worldsim.openings import read_prompts, read_wishes
from worldsim.rollout import Rollout
from worldsim.rows import Rows, copied
from worldsim.screen import Screen, read_bindings
from worldsim.space_json import space_from_json
from worldsim.spaces import unflatten_action
from worldsim.world import World


class WorldVectorEnv(VectorEnv):
    """A batch of imagined episodes.

    Row `i` of a batch that is reset with seed `s` is the single env that is reset with `s + i`.
    An automatic reset begins as the row's last explicit one did.

    Args:
        world: A shipped world, a folder, a Hub id, or a `World`.
        num_envs: Number of rows.
        prompt: What to imagine, one string or one per row; the first frame then comes from nothing.
            None begins from the world's recorded start clips.
        render_mode: "rgb_array", "human" (a window) or None.
        sampler_steps: Denoising passes per frame; the world's own by default.
        guidance: Strength of a new prompt, falling to 1 in 24 frames; the world's own by default.
        variety: How much chance has a say in frames of a single step, from 0 (what is expected) to
            1 (one of those that may come); the world's own by default.
        horizon: Imagined steps before truncation; the world's own by default.
        frame_size: `(h, w)` in pixels; the world's own by default.
        device: Where to run; CUDA if there is some, else CPU.
        obs: "pixels" (NumPy), "torch" (pixels on the device) or "latents" (on the device).
        autoreset_mode: An `AutoresetMode` or its value.
        max_episode_steps: Another limit, which `gymnasium.make_vec` passes on.

    Raises:
        FileNotFoundError: If there is no such world.
        TypeError: If the world or a prompt is of the wrong kind.
        ValueError: If a setting is not one there is.
    """

    metadata = {
        "render_modes": ["rgb_array", "human"],
        "render_fps": 10,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        world: str | Path | World = "drive",
        num_envs: int = 1,
        *,
        prompt: str | Sequence[str | None] | None = None,
        render_mode: str | None = "rgb_array",
        sampler_steps: int | None = None,
        guidance: float | None = None,
        variety: float | None = None,
        horizon: int | None = None,
        frame_size: tuple[int, int] | None = None,
        device: str | None = None,
        obs: str = "pixels",
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        max_episode_steps: int | None = None,
    ) -> None:
        check_settings(world, obs, frame_size, autoreset_mode)
        check_choice("render_mode", render_mode, [None, *self.metadata["render_modes"]])
        check_counts(num_envs=num_envs)
        check_given(horizon=horizon, max_episode_steps=max_episode_steps)
        self.world = world = as_world(world, device)
        self.num_envs, self.render_mode, self.obs = int(num_envs), render_mode, obs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = self.metadata | {
            "render_fps": int(world.cfg.fps), "autoreset_mode": self.autoreset_mode
        }  # fmt: skip
        self.horizon = min(horizon or world.cfg.horizon, max_episode_steps or 2**62)
        self.frame_size = tuple(world.cfg.frame_size if frame_size is None else frame_size)
        self.rollout = Rollout(
            world, self.num_envs, sampler_steps=sampler_steps, guidance=guidance,
            variety=variety, frame_size=self.frame_size,
        )  # fmt: skip
        self.batch = Rows(self.rollout, obs)
        self.prompts = read_prompts(world, prompt, self.num_envs)
        if obs == "latents":
            shape = tuple(self.rollout.latents.shape[1:])
            self.single_observation_space = spaces.Box(-np.inf, np.inf, shape, np.float32)
        else:
            self.single_observation_space = spaces.Box(0, 255, (*self.frame_size, 3), np.uint8)
        self.single_action_space = space_from_json(world.cfg.action_space)  # of its own: it draws
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._screen: Screen | None = None

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray | Tensor, dict[str, Any]]:
        """Begin episodes.

        Args:
            seed: Row `i` takes `seed + i`, or its own from a sequence; None goes on drawing.
            options: Any of `prompt` (one, or one per row), `start` (a start clip's number, or
                "nearest": the one that shows most of the prompt), `frames` `(t, h, w, 3)` or one
                clip per row, `actions` (`t - 1`, between the frames) and `reset_mask`
                `(num_envs,)` bool.

        Raises:
            gymnasium.error.ResetNeeded: If the first reset leaves rows out.
            TypeError: If an option is of the wrong kind.
            ValueError: If an option does not fit.
        """
        if not isinstance(options, Mapping | None):
            raise TypeError(f"`options` must be a dict such as {{'start': 3}}, got {options!r}")
        options = dict(options or {})
        chosen, rows = read_mask(options.pop("reset_mask", None), self.num_envs), self.batch
        if rows.seen is None and len(chosen) < self.num_envs:
            raise ResetNeeded("the first `reset` begins every row; call it without `reset_mask`")
        rngs = read_seeds(seed, self.num_envs)
        wishes = read_wishes(self.world, options, self.prompts, self.frame_size, chosen)
        super().reset(seed=int(seed) if np.ndim(seed) == 0 and seed is not None else None)
        for row in chosen:
            if rngs[row] is not None:
                rows.rngs[row] = rngs[row]
            elif rows.rngs[row] is None:
                rows.rngs[row] = seeding.np_random(int(self.np_random.integers(2**31)))[0]
            rows.wishes[row] = wishes[row]
        rows.begin(chosen)
        self._show()
        return copied(rows.seen), self._infos({}, chosen)

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray | Tensor, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance every row by one frame.

        Returns:
            Observations, expected rewards, whether the world takes the episode for ended, whether
            the horizon is reached, and infos: `prompt` in force, probability of `termination` and,
            if the world is calibrated, `doubt` about the frame: 1.0 is as wrong as the worst 5 % of
            real transitions (see `worldsim.doubt`). With SAME_STEP, rows that ended show the first
            frame of their next episode, and `final_obs` and `final_info` hold what they ended with.

        Raises:
            gymnasium.error.ResetNeeded: Before `reset`, or if a row has ended and nobody reset it.
            TypeError: If the actions are of the wrong kind.
            ValueError: If they have the wrong shape, are NaN or out of bounds.
        """
        self._check_going()
        return self._advance(
            flatten_batch(self.single_action_space, self.action_space, actions, self.batch.ended)
        )

    def _advance(
        self, flat: np.ndarray
    ) -> tuple[np.ndarray | Tensor, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Do what `step` promises, by flattened actions `(b, a)`."""
        rows = self.batch
        rewards, told = rows.step(flat)
        terminated, truncated = told["termination"] > 0.5, rows.steps >= self.horizon
        over, infos = np.flatnonzero(rows.ended), {}
        if self.autoreset_mode is AutoresetMode.NEXT_STEP and len(over):
            rewards[over], terminated[over], truncated[over] = 0.0, False, False
            rows.begin(over, see_all=True)
        else:
            rows.seen = rows.observe()
        rows.ended = terminated | truncated
        fresh = over
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            fresh = np.flatnonzero(rows.ended)
            for row in fresh:
                last = {"final_obs": copied(rows.seen[row]), "final_info": self._info(row, told)}
                infos = self._add_info(infos, last, row)
            if len(fresh):
                rows.begin(fresh)
        infos = self._infos(infos, range(self.num_envs), told, fresh)
        self._show()
        return copied(rows.seen), rewards, terminated, truncated, infos

    def set_prompt(self, prompt: str | Sequence[str | None] | None) -> None:
        """Change the prompt, of all rows or of each its own, from the next frame on."""
        self._check_begun("set_prompt")
        self.rollout.set_prompts(
            range(self.num_envs), read_prompts(self.world, prompt, self.num_envs)
        )

    def autopilot_action(self) -> Any:
        """Return what the recorded policy would do now: a batch of actions."""
        self._check_begun("autopilot_action")
        flat = self.world.unscale_actions(self.rollout.policy.float().cpu().numpy())
        actions = [unflatten_action(self.single_action_space, vector) for vector in flat]
        empty = create_empty_array(self.single_action_space, self.num_envs)
        return concatenate(self.single_action_space, actions, empty)

    def snapshot(self) -> EnvSnapshot:
        """Copy the whole state, for rewinding, branching and planning."""
        self._check_begun("snapshot")
        return self.batch.snapshot()

    def restore(self, snapshot: EnvSnapshot) -> None:
        """Go back to a snapshot, which stays usable.

        Raises:
            ValueError: If it was taken from an env of another kind; all stays as it is.
        """
        self._check_begun("restore")
        check_snapshot(snapshot, self.batch.rngs, self.batch.seen, self.rollout)
        if self.autoreset_mode is AutoresetMode.SAME_STEP and snapshot.ended.any():
            raise ValueError(
                "a snapshot of episodes that have ended goes back where `reset` or the next step "
                'begins others, got autoreset_mode="SameStep", in which none are over'
            )
        self.batch.restore(snapshot)
        self._show()

    def get_keys_to_action(self) -> dict[tuple[int, ...], Any]:
        """Return pressed keys and the single env's action they stand for; needs no display.

        No combination is empty: `gymnasium.utils.play` takes the action without keys by `noop`.
        """
        return read_bindings(self.world.cfg.keys, self.single_action_space)

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return each row's current frame `(h, w, 3)` uint8; None in "human" mode."""
        self._check_begun("render")
        return tuple(self.batch.pixels().copy()) if self.render_mode == "rgb_array" else None

    def close(self, **kwargs: Any) -> None:
        """Close the window, if there is one; a step after that opens another."""
        self.close_extras(**kwargs)
        self.closed = True

    def close_extras(self, **kwargs: Any) -> None:
        """Close the window, if there is one."""
        if self._screen is not None:
            self._screen.close()
            self._screen = None

    def _info(self, row: int, told: dict[str, np.ndarray] | None = None) -> dict[str, Any]:
        info = {"prompt": self.rollout.prompts[row] or ""}
        return info | {name: float(values[row]) for name, values in (told or {}).items()}

    def _infos(
        self,
        infos: dict[str, Any],
        rows: Sequence[int],
        told: dict[str, np.ndarray] | None = None,
        fresh: Sequence[int] = (),
    ) -> dict[str, Any]:
        """Add each row's info; one that has just begun has been told nothing."""
        for row in rows:
            infos = self._add_info(infos, self._info(row, None if row in fresh else told), row)
        return infos

    def _check_begun(self, what: str) -> None:
        if self.batch.seen is None:
            raise ResetNeeded(f"`{what}` needs a `reset` first; call env.reset()")

    def _check_going(self) -> None:
        self._check_begun("step")
        over = np.flatnonzero(self.batch.ended)
        if len(over) and self.autoreset_mode is AutoresetMode.DISABLED:
            where = f" of rows {over.tolist()}" if self.num_envs > 1 else ""
            raise ResetNeeded(f"the episode{where} has ended; call `reset` before `step`")

    def _show(self) -> None:
        if self.render_mode == "human":
            self._screen = self._screen or Screen(self.world.cfg.name, self.metadata["render_fps"])
            self._screen.show(self.batch.pixels())
