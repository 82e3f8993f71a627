"""What each frame of the transformer may know, on a tiny model with random weights."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from worldsim.architecture import DynamicsConfig
from worldsim.dynamics import Dynamics
from worldsim.frames import Frames, Prompts, previous_frames

CONFIG = {"dim": 32, "depth": 4, "heads": 2, "patch": 1, "context": 4, "channels": 4}
CONFIG |= {"cells": 16, "stem": 1, "tail": 1}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = Dynamics(DynamicsConfig(**CONFIG)).eval()
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return model


def clip(t=10, b=2, h=2, w=2):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(b, t, 4, h, w, generator=g)
    tau = torch.rand(b, t, generator=g)
    known = torch.ones(b, t, dtype=torch.bool)
    known[:, 0] = False
    actions = torch.rand(b, t, 3, generator=g)
    return Frames(x, tau, torch.full((b, t), 4), *previous_frames(x, tau, 4), actions, known)


def prompts(b=2, t=10):
    owner = torch.tensor([[0, 0, 1, 1, -1]]).expand(b, -1)
    of_frame = (torch.arange(t) >= t // 2).long().expand(b, -1)
    return Prompts(
        torch.randn(b, 5, 384, generator=torch.Generator().manual_seed(2)), owner, of_frame
    )


def poke(frames, at, model_input="x"):
    value = getattr(frames, model_input).clone()
    value[:, at] = value[:, at] + 1
    return replace(frames, **{model_input: value})


@torch.no_grad()
def moved(model, a, b, **kwargs):
    """Return which frames differ between the predictions for `a` and `b`."""
    first, second = (model(f, **kwargs).latents for f in (a, b))
    return ((first - second).abs().amax((0, 2, 3, 4)) > 1e-6).tolist()


def test_a_later_frame_never_changes_an_earlier_one_when_causal(model):
    frames = clip()
    assert moved(model, frames, poke(frames, 6))[:6] == [False] * 6


def test_frames_in_a_single_step_have_a_painter_of_their_own(model):
    """Nothing that the other one learns changes them."""
    frames, other = clip(), deepcopy(model)
    for p in other.painters[1].parameters():
        p.data += 1
    mixed = torch.tensor([0, 4, 1, 0, 0, 4, 2, 0, 4, 0]).expand(2, -1)
    for levels in (mixed, 0 * mixed):
        told = replace(frames, level=levels)
        with torch.no_grad():
            plain, changed = (m(told).latents for m in (model, other))
        same = (plain == changed).flatten(2).all(2)
        assert same.equal(levels == 0)


def test_what_has_settled_learns_nothing_more(model):
    """Moving frames on in a single step is all that it does; the transformer adds to it."""
    settled = deepcopy(model)
    for p in settled.painters[1].parameters():
        p.data.zero_()
    settled.join(settled=True)
    assert settled.painters[1].head.weight.equal(model.painters[0].head.weight)
    frames = replace(clip(), level=torch.zeros(2, 10, dtype=torch.int64))
    settled(frames, prompts()).latents.sum().backward()
    learns = {n.partition(".")[0] for n, p in settled.named_parameters() if p.grad is not None}
    assert learns == {
        "embed_itself", "far", "gather", "special", "modulation", "blocks", "painters"
    }  # fmt: skip
    assert settled.painters[0].head.weight.grad is None
    assert settled.painters[0].spread.weight.grad is not None


def test_an_action_changes_the_frame_it_leads_to_and_none_before(model):
    frames = clip()
    changed = moved(model, frames, poke(frames, 6, "actions"))
    assert changed[:6] == [False] * 6 and changed[6]


def test_the_first_frame_reads_no_action(model):
    frames = clip()
    assert not any(moved(model, frames, poke(frames, 0, "actions")))


def test_every_frame_sees_every_other_when_not_causal(model):
    frames = clip()
    assert all(moved(model, frames, poke(frames, 9), causal=False))


def test_isolated_rows_see_only_themselves(model):
    frames = clip()
    alone = torch.tensor([True, True])
    assert moved(model, frames, poke(frames, 3), isolated=alone) == [i == 3 for i in range(10)]


def test_world_tokens_never_read_the_agent_token(model):
    frames = clip()
    with torch.no_grad():
        with_agent, without = (model(frames, agent=on).latents for on in (True, False))
    torch.testing.assert_close(with_agent, without, atol=1e-5, rtol=1e-5)


def test_a_frame_reads_its_own_prompt_alone(model):
    """Changing the second prompt's words leaves the frames under the first as they are."""
    frames, given = clip(), prompts()
    words = given.words.clone()
    words[:, 2:4] += 1
    with torch.no_grad():
        a = model(frames, given).latents
        b = model(frames, replace(given, words=words)).latents
        padded = words.clone()
        padded[:, 4] += 5
        c = model(frames, replace(given, words=padded)).latents
    changed = ((a - b).abs().amax((0, 2, 3, 4)) > 1e-6).tolist()
    assert changed[:5] == [False] * 5 and changed[5]
    torch.testing.assert_close(b, c)


def test_convolutions_alone_know_the_gist_of_the_prompt(model):
    frames, given = clip(), prompts()
    other = replace(given, of_frame=1 - given.of_frame)
    with torch.no_grad():
        a, b = (model(frames, one, local=True).latents for one in (given, other))
    assert ((a - b).abs().amax((0, 2, 3, 4)) > 1e-3).all()


def test_no_prompt_equals_the_null_prompt(model):
    frames, given = clip(), prompts()
    null = replace(given, of_frame=torch.full((2, 10), -1))
    with torch.no_grad():
        torch.testing.assert_close(model(frames).latents, model(frames, null).latents)


@pytest.mark.parametrize("h, w", [(2, 3), (3, 2), (4, 4)])
def test_wide_and_tall_frames_work_with_the_same_weights(model, h, w):
    assert model(clip(h=h, w=w)).latents.shape == (2, 10, 4, h, w)


def test_grouped_heads_share_keys():
    cfg = DynamicsConfig(**CONFIG | {"dim": 64, "heads": 8})
    assert cfg.kv_heads == 4
    assert Dynamics(cfg)(clip()).latents.shape == (2, 10, 4, 2, 2)


def test_special_tokens_start_apart():
    special = Dynamics(DynamicsConfig(**CONFIG)).special
    assert torch.pdist(special).min() > 0


@pytest.mark.parametrize(
    "wrong", [{"heads": 3}, {"time_every": 3}, {"max_steps": 12}, {"max_steps": 2}]
)
def test_a_wrong_architecture_is_refused_with_a_way_out(wrong):
    with pytest.raises(ValueError, match="must be"):
        DynamicsConfig(**CONFIG | wrong)


def test_a_model_trains_after_it_has_dreamt(model):
    """Tables kept from an evaluation once were inference tensors, and training stopped."""
    frames = clip(h=3, w=5)
    with torch.inference_mode():
        model(frames)
    model(frames).latents.sum().backward()
