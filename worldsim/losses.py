"""What a batch is scored by: latents, drawn or expected, rewards, endings, actions.

References:
    Energy score, Gneiting & Raftery 2007, https://doi.org/10.1198/016214506000001437, section 4.3
    Training a one-step generator by such a score, Alet et al. 2025, https://arxiv.org/abs/2506.10772
    Symexp two-hot regression, Hafner et al. 2023, https://arxiv.org/abs/2301.04104
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from worldsim.architecture import DynamicsConfig
from worldsim.clips import Clips
from worldsim.corruption import CLEAN, Corruption, ObjectiveConfig
from worldsim.frames import Prediction, action_grid, reward_grid


def latent_loss(
    missed: Tensor,
    x: Tensor,
    c: Corruption,
    cfg: ObjectiveConfig,
    causal: bool,
    eye: Tensor | None,
) -> tuple[Tensor, dict[str, float]]:
    """Score by how much each draw misses the clean latents `x`, `(b, draws, t, c, h, w)`."""
    if eye is not None:
        missed = torch.einsum("bntchw,cd->bntdhw", missed, eye)
    square = missed.square().mean((1, 3))  # (b, t, h, w)
    error, cells = square.mean((2, 3)), square
    drawn = c.single & ~c.plain[:, None]  # without chance a frame is the mean of what may come
    if missed.shape[1] == 2:
        cells = torch.where(drawn[..., None, None], energy_score(missed), square)
    if cfg.motion > 0 and x.shape[1] > 1:  # nothing moves in a single frame
        cells = motion_weight(x, cfg.motion) * cells
    loss = _mean((0.5 * c.tau + 0.5) * cells.mean((2, 3)), c.imagined)
    metrics = {"x_loss": loss.item()}
    guessed = (c.tau < 0.25) & ~c.isolated[:, None] & ~c.move & (c.past >= CLEAN)
    guessed[:, 0] = False
    if causal and guessed.any():
        metrics["x_error"] = _mean(error, guessed).item()
    drawn = guessed & drawn
    if missed.shape[1] == 2 and drawn.any():
        ways = (missed[:, 0], missed[:, 0] - missed[:, 1])
        off, apart = (_mean(_distance(way).mean((2, 3)), drawn).item() for way in ways)
        metrics["spread"] = apart / off  # 1 if draws vary as much as they are wrong
    return loss, metrics


def agent_loss(
    arch: DynamicsConfig, prediction: Prediction, clips: Clips, c: Corruption, cfg: ObjectiveConfig
) -> tuple[Tensor, dict[str, float]]:
    """Score reward, termination and next action: at the past's frames, seen, and at the drafts.

    A draft knows the past and its action; what it will look like and what it earns are one guess.
    """
    copies = prediction.reward.shape[1] // c.past.shape[1]
    seen = (c.past >= CLEAN) & ~c.isolated[:, None]
    followed = F.pad(clips.known[:, 1:], (0, 1))  # whether a next action is known
    parts = (seen, clips.rewards, clips.terminated.float(), clips.known, followed)
    seen, rewards, ended, known, followed = (part.repeat(1, copies) for part in parts)
    wanted = F.pad(clips.actions[:, 1:], (0, 0, 0, 1)).repeat(1, copies, 1)
    earned = two_hot(rewards.float(), reward_grid(arch.bins, rewards.device))
    reward = _cross_entropy(prediction.reward, earned)
    ending = F.binary_cross_entropy_with_logits(prediction.terminated, ended, reduction="none")
    acted = two_hot(wanted.float(), action_grid(arch.action_bins, wanted.device))
    policy = _cross_entropy(prediction.policy, acted).mean(-1)
    parts = {
        "reward_loss": _mean(reward, seen & known),
        "termination_loss": _mean(ending, seen & known),
        "policy_loss": _mean(policy, seen & followed),
    }
    weights = (cfg.reward_weight, cfg.termination_weight, cfg.policy_weight)
    total = sum(w * part for w, part in zip(weights, parts.values(), strict=True))
    return total, {name: part.item() for name, part in parts.items()}


def motion_weight(latents: Tensor, share: float) -> Tensor:
    """Weigh cells by whether they change, so that a small ball counts as much as a large wall.

    Args:
        latents: `(b, t, c, h, w)`, clean; what differs from the frame before has changed.
        share: Of the weight that goes by change; the rest is spread evenly.

    Returns:
        `(b, t, h, w)` of mean 1.
    """
    change = latents.diff(dim=1).square().mean(2)
    change = torch.cat([change[:, :1], change], 1)
    moving = change / (change + change.mean()).clamp(min=1e-9)  # near 0 or 1, whatever the scale
    return 1 - share + share * moving / moving.mean().clamp(min=1e-9)


def energy_score(missed: Tensor) -> Tensor:
    """Score two draws of each cell; the mean is least where they vary as what may come does.

    Args:
        missed: `(b, 2, t, c, h, w)`, how far each is from what came.

    Returns:
        `(b, t, h, w)`: their mean distance from that, less half of that from one another.
    """
    one, other = missed.unbind(1)
    near = (_distance(one) + _distance(other)) / 2
    return near - _distance(one - other) / 2


def two_hot(x: Tensor, grid: Tensor) -> Tensor:
    """Spread each number of `x` over its two neighbours in a rising grid, `(..., bins)`.

    Their mean is the number itself, or what is nearest to it in the grid.
    """
    x, bins = x.contiguous(), len(grid)
    below = (torch.bucketize(x, grid, right=True) - 1).clamp(0, bins - 2)
    share = ((x - grid[below]) / (grid[below + 1] - grid[below])).clamp(0, 1)[..., None]
    return F.one_hot(below, bins) * (1 - share) + F.one_hot(below + 1, bins) * share


def _cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    return -(shares * logits.log_softmax(-1)).sum(-1)


def _distance(x: Tensor) -> Tensor:
    """Return each cell's root mean square over channels, `(b, t, c, h, w)` to `(b, t, h, w)`."""
    return (x.square().mean(2) + 1e-6).sqrt()  # has a slope where there is no difference, too


def _mean(x: Tensor, where: Tensor) -> Tensor:
    return (x * where).sum() / where.sum().clamp(min=1)
