"""The walk through time: one frame per action, for a batch of worlds.

The next frame is drafted in `sampler_steps` passes; the last one also yields reward, termination
and the recorded policy's next action. A first frame from nothing takes `max_steps` passes with
fresh noise after each, which mends what an early pass got wrong. Every row has its own clock,
prompt and random generator, so a batch of worlds is the same as worlds run singly.

References:
    Dreamer 4 (shortcut sampling), Hafner et al. 2025, https://arxiv.org/abs/2509.24527
    Classifier-free guidance, Ho & Salimans 2022, https://arxiv.org/abs/2207.12598
    Fresh noise between steps, Song et al. 2023, https://arxiv.org/abs/2303.01469, algorithm 1
"""

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

from worldsim.devices import few_threads
from worldsim.flow import advance, check_steps, noise_latents
from worldsim.frames import Prediction, action_grid, expected, reward_grid
from worldsim.limits import check_share
from worldsim.moments import STATE, Snapshot, Step
from worldsim.past import Past
from worldsim.prompting import pad_prompts, read_text
from worldsim.world import World

GUIDED = 24  # frames over which guidance fades: for longer it gathers contrast


class Rollout(Past):
    """A batch of worlds in progress.

    Args:
        world: What to roll out.
        rows: Number of worlds.
        sampler_steps: Denoising passes per frame, a power of two; the world's own by default.
        variety: How much chance has a say in frames of a single step, where a world knows chance: 1
            draws one of those that may come, 0 is what is expected. The world's own by default.
        guidance: Classifier-free guidance scale where a prompt is new, which falls to 1 within
            `GUIDED` frames; 1 is off. The world's own by default.
        frame_size: `(h, w)` in pixels; the world's own by default.

    Raises:
        ValueError: If a setting does not fit the world.
    """

    def __init__(
        self,
        world: World,
        rows: int,
        *,
        sampler_steps: int | None = None,
        variety: float | None = None,
        guidance: float | None = None,
        frame_size: tuple[int, int] | None = None,
    ) -> None:
        size = world.cfg.frame_size if frame_size is None else frame_size
        super().__init__(world, rows, size)
        self.guidance = world.cfg.guidance if guidance is None else guidance
        self.variety = world.cfg.variety if variety is None else variety
        cfg = world.dynamics.cfg
        if not isinstance(self.guidance, Real) or not math.isfinite(self.guidance):
            raise ValueError(f"`guidance` must be a number, got {self.guidance!r}; 1 is off")
        check_share(variety=self.variety)
        steps = world.cfg.sampler_steps if sampler_steps is None else sampler_steps
        check_steps(steps, cfg.max_steps)
        self.steps = int(steps)  # NumPy's whole numbers are none of Python's
        self.latents = torch.zeros_like(self.fed[:, 0])
        self.picture: Tensor | None = None  # of the latents, where a step has painted them
        self.policy = torch.zeros(rows, cfg.action_dim, device=self.device)
        self.age = torch.full((rows,), GUIDED, device=self.device)  # frames since a prompt was new
        self.reward_grid = reward_grid(cfg.bins, self.device)
        self.action_grid = action_grid(cfg.action_bins, self.device)
        self.generators = [torch.Generator().manual_seed(row) for row in range(rows)]
        self.prompts: list[str | None] = [None] * rows

    @property
    def draws(self) -> bool:
        """Whether chance has a say in its frames; else they are what is expected."""
        return self.steps > 1 or bool(self.model.cfg.chance and self.variety)

    def seed(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Seed the random generators of some rows."""
        for row, seed in zip(rows, seeds, strict=True):
            self.generators[row].manual_seed(int(seed) % 2**63)

    @torch.inference_mode()
    def set_prompts(self, rows: Sequence[int], prompts: Sequence[str | None]) -> None:
        """Give some rows a prompt; it takes effect with the next frame."""
        wanted = list(self.prompts)
        for row, prompt in zip(rows, prompts, strict=True):
            wanted[row] = prompt or None
        text = read_text(self.world, wanted)
        self._commit()  # under the prompt that the last frame followed
        for row in rows:
            if wanted[row] != self.prompts[row]:
                self.age[row] = 0
        self.prompts, self.text = wanted, text

    @torch.inference_mode()
    def prefill(
        self, rows: Sequence[int], latents: Tensor, actions: Tensor, known: Tensor | None = None
    ) -> None:
        """Start some rows afresh from given frames.

        Args:
            rows: Which rows.
            latents: `(r, t, c, h, w)`, clean; the last `context` frames are kept.
            actions: `(r, t, a)`, scaled; `actions[:, i]` leads to frame `i`, the first is not read.
            known: `(r, t)` bool, False where there is no action label; None is all, if the world
                knows labels.
        """
        context = self.model.cfg.context
        latents, actions = latents[:, -context:].to(self.device).float(), actions[:, -context:]
        r, t = latents.shape[:2]
        all_known = torch.full((r, t), self.world.cfg.labelled)
        known = all_known if known is None else known[:, -context:].clone()
        known[:, 0] = False
        at = torch.as_tensor(rows, device=self.device)
        prompts = pad_prompts(self.world, [self.prompts[row] for row in rows], t)
        said = self._fill(at, latents, actions, known, prompts)
        self.policy[at] = self._next_action(said)
        self.age[at] = GUIDED  # the frames show what their prompt says
        self.latents[at], self.picture = latents[:, -1], None

    @torch.inference_mode()
    def begin(self, rows: Sequence[int]) -> Tensor:
        """Start some rows afresh with a first frame from nothing; returns it, `(r, c, h, w)`."""
        self._commit()
        part = Rollout(self.world, len(rows), guidance=self.guidance, frame_size=self.frame_size)
        part.generators = [self.generators[row] for row in rows]  # the same, so they move on
        part.set_prompts(range(len(rows)), [self.prompts[row] for row in rows])
        part.age.zero_()
        actions = torch.zeros(len(rows), self.model.cfg.action_dim)
        renoise = self.world.cfg.format_version >= 3
        part._advance(actions, None, self.model.cfg.max_steps, renoise)
        part._commit()  # apart: the other rows' last frames were committed above
        at = torch.as_tensor(rows, device=self.device)
        self.cache.copy_rows_(at, part.cache)
        for name in STATE:
            getattr(self, name)[at] = getattr(part, name)
        self.picture = None
        return part.latents

    @torch.inference_mode()
    def step(self, actions: Tensor, known: Tensor | None = None) -> Step:
        """Advance every row by one frame.

        Args:
            actions: `(b, a)`, scaled.
            known: `(b,)` bool, False for "no action label"; None is all, if the world knows labels.
        """
        with few_threads(self.rows, self.device):
            return self._advance(actions, known, self.steps)

    @torch.inference_mode()
    def redraw(self, latents: Tensor, done: int, actions: Tensor) -> Step:
        """Advance every row by one frame that is drawn over a given one.

        Args:
            latents: `(b, c, h, w)`, the frame to draw over; it is drowned in noise first.
            done: Of the sampler's steps, how many count as done then; below `sampler_steps`.
            actions: `(b, a)`, scaled.

        Reference:
            SDEdit, Meng et al. 2021, https://arxiv.org/abs/2108.01073
        """
        if not 0 <= done < self.steps:
            raise ValueError(f"`done` must lie within 0..{self.steps - 1} steps, got {done}")
        with few_threads(self.rows, self.device):
            return self._advance(actions, None, self.steps, over=(latents, done))

    @torch.inference_mode()
    def frames(self, rows: Sequence[int] | slice = slice(None)) -> Tensor:
        """Return the newest frames of some rows, `(r, h, w, 3)` uint8."""
        return self.world.decode(self.latents[rows]) if self.picture is None else self.picture[rows]

    def snapshot(self) -> Snapshot:
        """Copy the whole state."""
        state = {name: getattr(self, name).clone() for name in STATE}
        generators = tuple(g.get_state() for g in self.generators)
        return Snapshot(
            self.world.tag, self.cache.clone(), **state, pending=self.pending,
            generators=generators, prompts=tuple(self.prompts),
        )  # fmt: skip

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot, which stays usable."""
        self.cache, self.pending, self.picture = snapshot.cache.clone(), snapshot.pending, None
        for name in STATE:
            setattr(self, name, getattr(snapshot, name).clone())
        for g, state in zip(self.generators, snapshot.generators, strict=True):
            g.set_state(state)
        if tuple(self.prompts) != snapshot.prompts:
            self.prompts = list(snapshot.prompts)
            self.text = read_text(self.world, self.prompts)

    def _advance(
        self,
        actions: Tensor,
        known: Tensor | None,
        steps: int,
        renoise: bool = False,
        over: tuple[Tensor, int] | None = None,
    ) -> Step:
        if actions.shape != self.action.shape:
            raise ValueError(
                f"`actions` must be (b, a) = {tuple(self.action.shape)}, got {tuple(actions.shape)}"
            )
        known = torch.full((self.rows,), self.world.cfg.labelled) if known is None else known
        known = known.to(self.device) & (self.fed_tau[:, -1] > 0)
        actions = actions.to(self.action, copy=True)
        x, said = self._denoise(actions, known, steps, renoise, over)
        self.picture, kept, share = None, x, self.world.cfg.refresh
        if share:
            self.picture = self.world.decode(x[:, 0])
            kept = self.world.tokenizer.refresh(x, self.picture[:, None], share)
        self._append(kept, actions, known)
        self.latents = x[:, 0]
        self.age += 1
        if self.world.cfg.format_version == 1:
            said = self._commit()
        return self._step(said)

    def _denoise(
        self,
        actions: Tensor,
        known: Tensor,
        steps: int,
        renoise: bool,
        over: tuple[Tensor, int] | None = None,
    ) -> tuple[Tensor, Prediction]:
        """Walk from noise to the next frame in equal steps; the first pass commits the last one.

        `actions` `(b, a)` and `known` `(b,)` lead to the new frame. With `renoise`, each step ends
        in new noise; else in what is left of the first one. `over` is a frame to draw over, and how
        many steps are done by that.
        """
        d = torch.full((self.rows, 1), 1 / steps, device=self.device)
        level = torch.full((self.rows, 1), steps.bit_length() - 1, device=self.device)
        x, first = self._noise(), 0
        if steps == 1 and self.model.cfg.chance:
            x = self.variety * x
        if over:
            latents, first = over
            x = noise_latents(latents.to(x)[:, None], x, first * d)
        asked = torch.tensor([prompt is not None for prompt in self.prompts], device=self.device)
        fresh = (1 - self.age / GUIDED).clamp(min=0) * asked
        strength = (1 + (self.guidance - 1) * fresh)[:, None, None, None, None]
        may = self.guidance != 1 and any(self.prompts)  # else a GPU need not be waited for
        guided, single = may and bool((strength != 1).any()), steps == 1
        for k in range(first, steps):
            tau, final = k * d, k == steps - 1
            draft = self._frame(x, tau, level, actions, known, slice(1, None))
            if guided:  # first without the prompt, so that the cache keeps what came with it
                null = self._pass(draft, single, prompted=False).latents
            said = self._pass(draft, single, agent=final)
            x_hat = said.latents
            if guided:
                x_hat = null + strength * (x_hat - null)
            if renoise and not final:
                x = noise_latents(x_hat, self._noise(), tau + d)
            else:
                x = advance(x, x_hat, tau, d)
        return x, said

    def _step(self, said: Prediction) -> Step:
        reward = expected(said.reward[:, -1], self.reward_grid)
        terminated = said.terminated[:, -1].sigmoid()
        self.policy = self._next_action(said)
        return Step(self.latents.clone(), reward, terminated, self.policy.clone())

    def _next_action(self, said: Prediction) -> Tensor:
        return expected(said.policy[:, -1], self.action_grid)

    def _noise(self) -> Tensor:
        """Draw `(b, 1, c, h, w)`, each row by its own generator."""
        shape = 1, *self.latents.shape[1:]
        return torch.stack([torch.randn(shape, generator=g) for g in self.generators]).to(
            self.device
        )
