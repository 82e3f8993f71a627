"""Pasts as a rollout will see them: imagined by the teacher, frame after frame, on its cache.

While the transformer is left out, the convolutions go on alone.

A model that was only ever shown recorded pasts trusts them, and drifts on its own.

References:
    Scheduled sampling, Bengio et al. 2015, https://arxiv.org/abs/1506.03099
    Self forcing (training on own rollouts, on the cache), Huang et al. 2025,
    https://arxiv.org/abs/2506.08009
"""

from dataclasses import replace

import torch
from torch import Tensor

from worldsim.clips import Clips
from worldsim.corruption import Corruption
from worldsim.dynamics import Dynamics
from worldsim.flow import noise_latents
from worldsim.frames import Frames, previous_frames, rows_of


@torch.no_grad()
def imagine_past(
    teacher: Dynamics,
    clips: Clips,
    c: Corruption,
    noise: Tensor,
    fog: Tensor,
    start: int,
    local: bool,
) -> Clips:
    """Let a teacher roll the clips marked in `c.own` on from frame `start`, as a world is played.

    Args:
        teacher: Takes single steps from noise, on a cache.
        clips: The batch, `t` frames long.
        c: Which rows to imagine, and the signal levels at which frames are committed.
        noise: `(b, t, c, h, w)`, noise that the steps begin with.
        fog: The same shape, noise in which to commit the frames.
        start: First frame to imagine, `1 <= start < t`.
        local: Whether its convolutions go on alone.

    Returns:
        The clips with those frames replaced.
    """
    own, made = c.own, clips.latents.float().clone()
    x, fog, tau, text = made[own], fog[own], c.past[own], rows_of(clips.prompts, own)
    noise = noise[own]
    actions, known = clips.actions[own], clips.known[own]
    level = torch.full_like(tau, teacher.cfg.finest, dtype=torch.int64)
    fed = noise_latents(x, fog, tau)
    recent = teacher.cfg.recent
    if not local:
        cache, rows = teacher.new_cache(len(x), x.shape[-2:]), torch.arange(len(x), device=x.device)
        given = Frames(fed, tau, level, *previous_frames(fed, tau, recent), actions, known)
        before = replace(text, of_frame=text.of_frame[:, :start]) if text else None
        given = given.during(slice(start))
        teacher(given, before, fill=(cache, rows), agent=False, latents=False)
    text = teacher.read_prompts(text, tau)
    for i in range(start, x.shape[1]):
        pair, near = slice(i - 1, i + 1), slice(max(0, i - 1 - recent), i + 1)
        fed[:, i], levels = noise[:, i], level[:, pair].clone()
        taus = tau[:, near].clone()
        taus[:, -1], levels[:, -1] = 0, 0
        before = previous_frames(fed[:, near], taus, recent)
        past = *(part[:, -2:] for part in before), actions[:, pair], known[:, pair]
        now = Frames(fed[:, pair], taus[:, -2:], levels, *past)
        if local:
            last = slice(1, None)
            x[:, i] = teacher.move(now.during(last), True, text.during(pair).during(last))[:, 0]
        else:
            positions = torch.tensor([[i - 1, i]], device=x.device).expand(len(x), -1)
            said = teacher.step(now, positions, cache, text.during(pair), single=True)
            x[:, i] = said.latents[:, 0]
        fed[:, i] = noise_latents(x[:, [i]], fog[:, [i]], tau[:, [i]])[:, 0]
    made[own] = x
    return replace(clips, latents=made)
