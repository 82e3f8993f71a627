"""How the frames of a training batch are mixed and noised."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from worldsim.flow import step_size
from worldsim.limits import check_least, check_shares

VARIETY = 0.5  # of new worlds, and of what they imagine: at 1 some numbers lead astray, frames tear
CLEAN = 0.9  # frames at this signal level and above count as seen, not as imagined
# what convolutions alone learn: the next frame, in one step, and nothing else
NEXT_FRAME = {"from_noise": 1.0, "noisy_past": 0.0, "sharpened": 0.0, "isolated": 0.0}


@dataclass
class ObjectiveConfig:
    """Mix of the training batches and weights of the losses."""

    lone: float = 0.3
    """Share of batches of single frames: what a prompt alone begins with. None without captions."""
    causal: float = 0.9
    """Share of causal batches among the others; the rest see the whole clip."""
    local_until: float = 0.4
    """Share of the training in which the transformer is left out; the learning rate falls to zero,
    and begins anew when it joins."""
    settled: bool = True
    """Whether what the convolutions have learned by then, or in `init`, stays as it is."""
    noisy_past: float = 0.1
    """Share of causal rows whose past frames carry signal levels of their own."""
    own_past: float = 0.5
    """Share of causal rows whose past the teacher imagines, frame after frame."""
    own_from: float = 0.2
    """Share of the training after which it does."""
    sharpened: float = 0.2
    """Share of causal rows whose past is sharper, softer, stronger or fainter than recorded, as a
    long rollout's is: what comes next is not."""
    from_noise: float = 0.7
    """Share of drafts with a past that take a single step from noise to the frame (level 0)."""
    isolated: float = 0.04
    """Share of rows in which every frame sees only itself."""
    bootstrap: float = 0.15
    """Share of rows that learn large steps from the teacher's half steps."""
    bootstrap_from: float = 0.55
    """Share of the training after which they do."""
    drawn_from: float = 0.7
    """Share of the training after which a single step learns to draw one of the frames that may
    come, and no longer what is expected of them; then everything learns, settled or not."""
    plain: float = 0.2
    """Share of rows in which chance has no say in single steps, as in a world of `variety` 0."""
    reward_weight: float = 0.02
    termination_weight: float = 0.1
    policy_weight: float = 0.02
    motion: float = 0.0
    """Share of the loss's weight that goes to cells that change, however few they are."""

    def __post_init__(self) -> None:
        check_shares(
            self, "lone", "causal", "local_until", "noisy_past", "own_past", "own_from",
            "sharpened", "from_noise", "isolated", "bootstrap", "bootstrap_from", "drawn_from",
            "plain",
        )  # fmt: skip
        check_least(self, reward_weight=0, termination_weight=0, policy_weight=0)
        if not 0 <= self.motion < 1:
            raise ValueError(
                f"`motion` must lie within [0, 1), got {self.motion}; try 0.5 where little moves"
            )

    def last_part(self, draws: bool) -> float:
        """Return where a training's last part begins: the transformer's, or that of `draws`."""
        begin = self.drawn_from if draws and self.drawn_from < 1 else 0.0
        return max(self.local_until, begin)


@dataclass(frozen=True)
class Corruption:
    """How the `t` frames of each clip are noised.

    Attributes:
        tau: `(b, t)`, signal level.
        level: `(b, t)` int64, step size `1 / 2**level`.
        imagined: `(b, t)` bool, frames to be predicted.
        move: `(b, t)` bool, frames that take bootstrapped steps.
        isolated: `(b,)` bool, rows whose frames see only themselves.
        past: `(b, t)`, signal level of the past's frames; not read in full batches.
        own: `(b,)` bool, rows whose past the teacher imagines.
        sharp: `(b,)`, what is added of each past frame's detail; 0 leaves it as recorded.
        gain: `(b,)`, what the past is multiplied with.
        plain: `(b,)` bool, rows in which chance has no say in single steps.
    """

    tau: Tensor
    level: Tensor
    imagined: Tensor
    move: Tensor
    isolated: Tensor
    past: Tensor
    own: Tensor
    sharp: Tensor
    gain: Tensor
    plain: Tensor

    @property
    def single(self) -> Tensor:
        """`(b, t)` bool, frames that a single step from noise leads to."""
        return self.level == 0


def draw_corruption(
    cfg: ObjectiveConfig, shape: tuple[int, int], finest: int, causal: bool, progress: float, g
) -> Corruption:
    """Draw signal levels and step sizes.

    Args:
        cfg: Shares of each kind of row.
        shape: `(b, t)` of the clips.
        finest: Level of the finest step.
        causal: Kind of batch.
        progress: Share of the training that is over.
        g: `torch.Generator`.
    """
    b, t = shape
    if progress < cfg.local_until:
        cfg = replace(cfg, **NEXT_FRAME)

    def draw(*size: int) -> Tensor:
        return torch.rand(*size, generator=g)

    lone = t == 1
    isolated, noisy = (draw(b) < cfg.isolated) | lone, draw(b, 1) < cfg.noisy_past
    own = (draw(b) < cfg.own_past) & ~isolated & (causal and progress >= cfg.own_from)
    alone, clean = isolated[:, None], CLEAN + (1 - CLEAN) * draw(b, t)
    tau, coarse = draw(b, t), torch.randint(1, finest, (b, t), generator=g)
    single = (draw(b, t) < cfg.from_noise) & causal & ~alone  # a frame from nothing takes many
    if causal:
        tau = tau if lone else tau.square()
        imagined = alone | (torch.arange(t) > 0)  # nothing tells what a clip begins with
    else:
        imagined = alone | ~_known_frames(b, t, g)
        tau = torch.where(imagined, torch.where(alone, tau, tau[:, :1]), clean)
        coarse = torch.where(alone, coarse, coarse[:, :1])
    rows = (draw(b, 1) < cfg.bootstrap) & (progress >= cfg.bootstrap_from)
    move = rows & imagined & ~single & (not lone)  # a first frame takes the finest steps
    level = torch.where(move, coarse, finest)
    d = step_size(level)
    tau = torch.where(move, (tau / d).floor() * d, tau)
    tau, level = torch.where(single, 0.0, tau), torch.where(single, 0, level)
    past = torch.where(noisy, draw(b, t), clean)
    off = (draw(b) < cfg.sharpened) & causal
    sharp, gain = off * (0.8 * draw(b) - 0.3), torch.where(off, 0.9 + 0.25 * draw(b), 1.0)
    plain = draw(b) < cfg.plain
    return Corruption(tau, level, imagined, move, isolated, past, own, sharp, gain, plain)


def off_balance(x: Tensor, sharp: Tensor, gain: Tensor) -> Tensor:
    """Change detail and strength of latents `(b, t, c, h, w)` by `(b,)` each."""
    flat = x.flatten(0, 1)
    soft = F.avg_pool2d(F.pad(flat, (1, 1, 1, 1), mode="replicate"), 3, 1).view_as(x)
    sharp, gain = (part[:, None, None, None, None] for part in (sharp, gain))
    return gain * (x + sharp * (x - soft))


def _known_frames(b: int, t: int, g: torch.Generator) -> Tensor:
    """Draw which frames of a full clip are given: none, a start, an end, both ends, or any."""
    kind = torch.randint(5, (b, 1), generator=g)
    place = torch.arange(t)[None]
    edges = torch.randint(1, max(2, t // 2), (b, 2), generator=g)
    start, end = place < edges[:, :1], place >= t - edges[:, 1:]
    anywhere = torch.rand(b, t, generator=g) < torch.rand(b, 1, generator=g)
    known = torch.where(kind == 1, start, torch.zeros(b, t, dtype=torch.bool))
    known = torch.where(kind == 2, end, known)
    known = torch.where(kind == 3, start | end, known)
    return torch.where(kind == 4, anywhere, known)
