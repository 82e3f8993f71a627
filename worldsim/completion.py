"""Clips completed as a whole: many frames are denoised at once, each seeing all others.

Frames in the middle or at the beginning can so be imagined to fit those that are given. Given
frames enter nearly clean, as in training; longer clips are made in windows that overlap.

References:
    Diffusion forcing, Chen et al. 2024, https://arxiv.org/abs/2407.01392
    RePaint (given regions while denoising), Lugmayr et al. 2022, https://arxiv.org/abs/2201.09865
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm

from worldsim.dynamics import Dynamics
from worldsim.flow import advance, noise_latents, per_frame
from worldsim.frames import Frames, Prompts, previous_frames
from worldsim.prompting import pad_prompts
from worldsim.sampling import Sampling
from worldsim.world import World

KNOWN_TAU = 0.97  # signal level of given frames; training draws it from [0.9, 1]


@dataclass(frozen=True)
class PartialClip:
    """A clip to be completed in full mode.

    Attributes:
        latents: `(t, c, h, w)` float32; what stands where unknown does not matter.
        known: `(t,)` bool, frames that are given whole.
        actions: `(t, a)` scaled; `actions[i]` leads to frame `i`.
        cells: `(t, h, w)` bool, latent cells that are given.
        backwards: Whether windows walk from the end to the beginning.
    """

    latents: Tensor
    known: Tensor
    actions: Tensor
    cells: Tensor | None = None
    backwards: bool = False


def complete(world: World, clip: PartialClip, prompt: str | None, sampling: Sampling) -> Tensor:
    """Imagine the unknown frames, window by window; return all `(t, c, h, w)`."""
    t, context = len(clip.latents), world.dynamics.cfg.context
    g = torch.Generator().manual_seed(int(sampling.seed) % 2**63)
    noise = torch.randn(clip.latents.shape, generator=g)
    latents, known = clip.latents.cpu().clone(), clip.known.clone()
    parts = windows(t, 2 * context, clip.backwards)
    for part, mine in tqdm(parts, "imagine", disable=not sampling.progress):
        if known[mine].all():
            continue
        window = replace(
            clip, latents=latents[part], known=known[part], actions=clip.actions[part],
            cells=None if clip.cells is None else clip.cells[part],
        )  # fmt: skip
        made = denoise(world, window, noise[part], prompt, sampling)
        latents[mine] = made[mine.start - part.start : mine.stop - part.start]
        known[mine] = True
    return latents


def windows(t: int, length: int, backwards: bool = False) -> list[tuple[slice, slice]]:
    """Cut `t` frames into windows of at most `length` that overlap by a quarter of it or more.

    Beside each window stands the part that it settles, up to the middle of each overlap: what is
    nearer to its end than to its neighbour's sees more of what is around it there.
    """
    count = max(1, -(-(t - length) // (length - max(1, length // 4))) + 1)
    starts = [round(i * (t - length) / (count - 1)) for i in range(count)] if count > 1 else [0]
    parts = [slice(start, min(t, start + length)) for start in starts]
    middles = [(a.stop + b.start) // 2 for a, b in zip(parts, parts[1:], strict=False)]
    own = [slice(*ends) for ends in zip([0, *middles], [*middles, t], strict=True)]
    pairs = list(zip(parts, own, strict=True))
    return pairs[::-1] if backwards else pairs


@torch.inference_mode()
def denoise(
    world: World, clip: PartialClip, noise: Tensor, prompt: str | None, sampling: Sampling
) -> Tensor:
    """Denoise one window, all frames at once; return `(t, c, h, w)`."""
    model, device = world.dynamics, world.device
    recent = model.cfg.recent
    steps = int(sampling.sampler_steps or model.cfg.max_steps)
    guidance = world.cfg.guidance if sampling.guidance is None else sampling.guidance

    def batch(x: Tensor) -> Tensor:
        return x[None].to(device)

    latents, noise, known = batch(clip.latents), batch(noise), batch(clip.known)
    actions = batch(clip.actions)
    labelled = torch.full(known.shape, world.cfg.labelled, device=device)
    labelled[:, 0] = False
    given = noise_latents(latents, noise, torch.full(known.shape, KNOWN_TAU, device=device))
    prompts = pad_prompts(world, [prompt], known.shape[1])
    x = noise
    for k in range(steps):
        tau = torch.where(known, KNOWN_TAU, k / steps)
        level = torch.where(known, model.cfg.finest, steps.bit_length() - 1)
        fed = torch.where(per_frame(known), given, x)
        frames = Frames(fed, tau, level, *previous_frames(fed, tau, recent), actions, labelled)
        x_hat = _guided(model, frames, prompts, guidance)
        now = torch.full_like(tau, k / steps)
        x = advance(x, x_hat, now, torch.full_like(tau, 1 / steps))
        if clip.cells is not None:
            there = noise_latents(latents, noise, now + 1 / steps)
            x = torch.where(batch(clip.cells)[:, :, None], there, x)
    return torch.where(per_frame(known), latents, x)[0].cpu()


def _guided(model: Dynamics, frames: Frames, prompts: Prompts | None, guidance: float) -> Tensor:
    x_hat = model(frames, prompts, causal=False, agent=False).latents
    if guidance == 1 or prompts is None:
        return x_hat
    without = model(frames, None, causal=False, agent=False).latents
    return without + guidance * (x_hat - without)
