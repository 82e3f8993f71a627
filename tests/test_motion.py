"""What moves where: measuring it, fetching pixels from there, learning to foresee it."""

import pytest
import torch
import torch.nn.functional as F

from worldsim import carrying
from worldsim.carrying import carry_along, train_motion
from worldsim.clips import LatentDataset
from worldsim.motion import Carrier, Motion, measure, warp
from worldsim.tokenizer import Tokenizer, TokenizerConfig
from worldsim.training import TrainConfig, WandbConfig


def picture(seed=0, size=64):
    """A soft random picture without repetition, `(1, 3, size, size)` in [-1, 1]."""
    g = torch.Generator().manual_seed(seed)
    parts = [torch.randn(1, 3, n, n, generator=g) for n in (size // 16, size // 8, size // 4)]
    grown = [F.interpolate(p, size=(size, size), mode="bilinear") for p in parts]
    return torch.tanh(sum(grown))


def moved(x, right, down):
    """What stood at a place stands `right` and `down` pixels from there; edges are repeated."""
    h, w = x.shape[-2:]
    y, x_ = (torch.arange(n) for n in (h, w))
    return x[:, :, (y - down).clamp(0, h - 1)][..., (x_ - right).clamp(0, w - 1)]


@pytest.mark.parametrize("right, down", [(0, 0), (3, 0), (-7, 2), (14, -5)])
def test_a_measured_flow_says_where_each_block_was(right, down):
    before = picture()
    flow = measure(before, moved(before, right, down))[0]
    inner = flow[:, 5:-5, 5:-5]  # what comes in over the edge was nowhere
    assert (inner[0] + right).abs().median() < 0.5
    assert (inner[1] + down).abs().median() < 0.5


def test_pixels_are_fetched_from_where_the_flow_points():
    before = picture()
    flow = torch.tensor([-3.0, 2.0])[None, :, None, None].expand(1, 2, 16, 16)
    torch.testing.assert_close(
        warp(before, flow)[..., 4:-4, 4:-4], moved(before, 3, -2)[..., 4:-4, 4:-4]
    )


def test_where_nothing_can_be_told_apart_no_flow_is_sure():
    flat = torch.zeros(1, 3, 32, 32)
    assert measure(flat, flat)[:, 2].max() < measure(picture(size=32), picture(size=32))[:, 2].max()


def test_motion_learns_what_an_action_does(tmp_path):
    """Scenes that go right or left as the action says; what moves already tells nothing of it."""
    torch.manual_seed(0)
    tokenizer = Tokenizer(TokenizerConfig(width=16, blocks=1))
    tokenizer.paint = lambda z: z.flatten(1).unflatten(1, (3, 32, 32))  # latents that are pixels
    tokenizer.read = lambda x: x.flatten(1).unflatten(1, (192, 4, 4))
    film = scenes()
    carrier = Carrier(tokenizer, Motion(192, 1, 2, width=16, blocks=2))
    train = TrainConfig(minutes=0, steps=1000, wandb=WandbConfig("disabled"))
    left = train_motion(carrier, [film], train, tmp_path)
    assert left.steps == 850
    clips = film.cut(8 * torch.arange(16), 8)
    carried = carrier(clips.latents, clips.actions, clips.known)[:, 2:]
    still, off = (
        (clips.latents[:, 2:] - x).square().mean() for x in (clips.latents[:, 1:-1], carried)
    )
    assert off < 0.5 * still


def test_a_recording_is_carried_along_in_parts_as_in_one(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(carrying, "CHUNK", 3)
    tokenizer = Tokenizer(TokenizerConfig(width=16, blocks=1, channels=4))
    motion = Motion(4, 1, 2, width=16, blocks=2)
    torch.nn.init.normal_(motion.head.weight)
    carrier, film = Carrier(tokenizer, motion), scenes()
    film.latents = torch.randn(len(film.latents), 4, 4, 4)
    carry_along(carrier, film, seconds=0)
    assert film.carried is None
    carry_along(carrier, film)
    clips = film.cut(8 * torch.arange(16), 8)
    whole = carrier(clips.latents, clips.actions, clips.known)
    torch.testing.assert_close(clips.carried[:, 1:], whole[:, 1:])
    assert film.to_file().keys() == scenes().to_file().keys()


def scenes():
    """Sixteen episodes of eight frames that move by 4 pixels to either side."""
    frames, actions = [], []
    g = torch.Generator().manual_seed(0)
    for seed in range(16):
        scene = picture(seed, 96)
        sides = torch.randint(0, 2, (8,), generator=g) * 2 - 1
        place = 32 + (4 * sides).cumsum(0).clamp(-28, 28)
        frames += [scene[0, :, 32:64, p : p + 32] for p in place.tolist()]
        moves = F.pad(place.diff().float() / 4, (1, 0))
        actions.append(moves[:, None])
    latents = torch.stack(frames).flatten(1).unflatten(1, (192, 4, 4))
    n = len(latents)
    return LatentDataset(
        latents=latents,
        actions=torch.cat(actions),
        known=torch.arange(n) % 8 > 0,
        rewards=torch.zeros(n),
        terminated=torch.zeros(n, dtype=torch.bool),
        caption=torch.full((n,), -1),
        words=[],
        edges=8 * torch.arange(17),
    )
