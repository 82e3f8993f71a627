"""What a batch of worlds has behind it, and how the next frame looks back at it.

A finished frame is *committed*: fed once more at signal level `commit_tau` and the finest step
size, which writes its keys and values into the cache. That rides along with the first pass of the
frame after it, so that a step costs no pass of its own for the past. What is fed is the frame
without the noise that training put there: scaled alone, it is as true and keeps its contrast for
longer (docs/experiments.md).

References:
    Dreamer 4 (noised context), Hafner et al. 2025, https://arxiv.org/abs/2509.24527
"""

import torch
from torch import Tensor

from worldsim.frames import Frames, Prediction, Prompts, previous_frames
from worldsim.prompting import read_text
from worldsim.world import World

GIVEN_TAU = 0.95  # signal level at which recorded frames are fed


class Past:
    """The past of a batch of worlds; the part of a `Rollout` that has it.

    Args:
        world: What imagines.
        rows: Number of worlds.
        frame_size: `(h, w)` in pixels.

    Attributes:
        cache: Keys and values of what is committed.
        fed: `(b, recent + 1, c, h, w)`, the last frame, which may wait to be committed, and those
            before it that it looks at.
        fed_tau: `(b, recent + 1)`, their signal levels; 0 is no frame.
        action: `(b, a)`, scaled, what led to the last frame.
        known: `(b,)` bool, whether that is known.
        pending: Whether the last frame waits to be committed.
        text: What frames follow.
    """

    def __init__(self, world: World, rows: int, frame_size: tuple[int, int]) -> None:
        self.world, self.rows, self.frame_size = world, rows, frame_size
        self.model, self.device, self.tau = world.dynamics, world.device, world.cfg.commit_tau
        cfg, (h, w) = world.dynamics.cfg, world.latent_size(frame_size)
        recent = cfg.recent + 1
        self.cache = self.model.new_cache(rows, (h, w))
        self.fed = torch.zeros(rows, recent, cfg.channels, h, w, device=self.device)
        self.fed_tau = torch.zeros(rows, recent, device=self.device)
        self.action = torch.zeros(rows, cfg.action_dim, device=self.device)
        self.known = torch.zeros(rows, dtype=torch.bool, device=self.device)
        self.pending = False
        self.text = self.null = read_text(world, [None] * rows)

    def _fill(
        self, at: Tensor, latents: Tensor, actions: Tensor, known: Tensor, prompts: Prompts | None
    ) -> Prediction:
        """Replace the past of the rows `at` by given frames; return what is said of those."""
        cfg, (r, t) = self.model.cfg, latents.shape[:2]
        tau, fed = torch.full((r, t), GIVEN_TAU, device=self.device), GIVEN_TAU * latents
        level = torch.full((r, t), cfg.finest, device=self.device)
        led = actions.to(self.action), known.to(self.device)
        frames = Frames(fed, tau, level, *previous_frames(fed, tau, cfg.recent), *led)
        said = self.model(frames, prompts, fill=(self.cache, at), latents=False)
        self.cache.clock[at] = t
        self.action[at], self.known[at] = frames.actions[:, -1], frames.known[:, -1]
        for kept, values in ((self.fed, fed), (self.fed_tau, tau)):
            last = min(t, kept.shape[1])
            kept[at] = 0
            kept[at, -last:] = values[:, -last:]
        return said

    def _append(self, x: Tensor, actions: Tensor, known: Tensor) -> None:
        """Let a frame `(b, 1, c, h, w)` wait to be committed."""
        tau = torch.full((self.rows, 1), self.tau, device=self.device)
        self.fed = torch.cat([self.fed[:, 1:], self.tau * x], 1)
        self.fed_tau = torch.cat([self.fed_tau[:, 1:], tau], 1)
        self.action, self.known, self.pending = actions, known, True
        self.cache.clock += 1

    def _frame(
        self, x: Tensor, tau: Tensor, level: Tensor, actions: Tensor, known: Tensor, before: slice
    ) -> Frames:
        previous = self.fed[:, None, before], self.fed_tau[:, None, before]
        return Frames(x, tau, level, *previous, actions[:, None], known[:, None])

    def _pass(
        self, draft: Frames, single: bool, agent: bool = False, prompted: bool = True
    ) -> Prediction:
        """Run a draft, and before it the last frame if that is not committed yet."""
        agent = agent or self.pending  # what is committed is read by later frames' agent too
        text = self.text if prompted else self.text.without(self.null)
        frames, positions = draft, self.cache.clock[:, None]
        if self.pending:
            frames = self._last_frame().then(draft)
            positions = torch.cat([positions - 1, positions], 1).clamp(min=0)
            text, self.pending = self.text.then(text), False
        return self.model.step(frames, positions, self.cache, text, agent=agent, single=single)

    def _last_frame(self) -> Frames:
        level = torch.full((self.rows, 1), self.model.cfg.finest, device=self.device)
        last = self.fed[:, -1:], self.fed_tau[:, -1:], level
        return self._frame(*last, self.action, self.known, slice(-1))

    @torch.inference_mode()
    def _commit(self) -> Prediction | None:
        """Commit the last frame now, where something is about to change that it must not see."""
        if not self.pending:
            return None
        self.pending = False
        positions = (self.cache.clock[:, None] - 1).clamp(min=0)
        frame = self._last_frame()
        how = {"single": True, "agent": True, "latents": False}
        return self.model.step(frame, positions, self.cache, self.text, **how)
