"""The training batches: what drafts see, what targets are, what belongs to which frame."""

from copy import deepcopy
from dataclasses import fields, replace

import pytest
import torch

from worldsim.architecture import DynamicsConfig
from worldsim.clips import Clips, LatentDataset, sampler
from worldsim.compiling import compile_layers
from worldsim.corruption import (
    CLEAN,
    Corruption,
    ObjectiveConfig,
    draw_corruption,
    off_balance,
)
from worldsim.dynamics import Dynamics
from worldsim.flow import noise_latents
from worldsim.frames import Frames, Prediction, action_grid, expected, previous_frames, reward_grid
from worldsim.imagining import imagine_past
from worldsim.losses import agent_loss, energy_score, latent_loss, two_hot
from worldsim.objective import Mode, _with_bootstrap, dynamics_loss, feed, repeated

B, T = 3, 6
RECENT = 2
DRAFTS = Mode(RECENT, causal=True, drafts=True)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return make_model()


def make_model(depth=2, time_every=2):
    cfg = DynamicsConfig(
        dim=32,
        depth=depth,
        time_every=time_every,
        heads=2,
        patch=1,
        context=4,
        action_dim=2,
        cells=16,
        stem=1,
        tail=1,
        recent=RECENT,
    )
    made = Dynamics(cfg)
    for parameter in made.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return made


@pytest.fixture
def clips():
    torch.manual_seed(1)
    known = torch.ones(B, T, dtype=torch.bool)
    known[:, 0] = False
    return Clips(
        latents=torch.randn(B, T, 8, 2, 2),
        actions=2 * torch.rand(B, T, 2) - 1,
        known=known,
        rewards=torch.randn(B, T),
        terminated=torch.zeros(B, T, dtype=torch.bool),
        prompts=None,
    )


def draw(cfg, causal=True, progress=1.0, b=B, seed=0):
    g = torch.Generator().manual_seed(seed)
    return draw_corruption(cfg, (b, T), finest=4, causal=causal, progress=progress, g=g)


def show(clips, c, mode=DRAFTS):
    """Feed two different noisy versions of the clips, as drafts and as their past."""
    x = clips.latents
    return feed(clips, c, mode, x + torch.randn_like(x), x + 0.1 * torch.randn_like(x), finest=4)


def test_a_draft_sees_what_the_frame_of_a_rollout_sees(model, clips):
    """Draft `i` equals a pass over the past up to `i` with the draft in place of frame `i`."""
    frames = show(clips, draw(ObjectiveConfig(isolated=0.0)))
    together = model(frames, causal=True, drafts=True).latents
    for i in range(T):
        keep = [*range(i), T + i]
        alone = Frames(*(getattr(frames, name)[:, keep] for name in Frames.__dataclass_fields__))
        single = model(alone, causal=True).latents[:, -1]
        torch.testing.assert_close(together[:, i], single, atol=1e-5, rtol=0)


def test_no_frame_sees_the_draft_of_another(model, clips):
    frames = show(clips, draw(ObjectiveConfig(isolated=0.0)))
    before = model(frames, causal=True, drafts=True).latents
    x = frames.x.clone()
    x[:, T + 2] += 1
    after = model(replace(frames, x=x), causal=True, drafts=True).latents
    same = torch.arange(T) != 2
    torch.testing.assert_close(before[:, same], after[:, same])
    assert not torch.allclose(before[:, 2], after[:, 2])


@pytest.mark.parametrize("drafts", [True, False])
def test_the_frame_before_a_draft_is_the_one_the_past_was_fed(clips, drafts):
    c, x = draw(ObjectiveConfig(isolated=0.0)), torch.randn_like(clips.latents)
    frames = feed(clips, c, Mode(RECENT, True, drafts), clips.latents, x, finest=4)
    assert torch.equal(frames.previous[:, -T + 1 :, -1], x[:, :-1])
    assert torch.equal(frames.previous[:, -T + 2 :, -2], x[:, :-2])
    assert torch.equal(frames.previous_tau[:, -T + 1 :, -1], c.past[:, :-1])
    assert not frames.previous[:, -T].any()
    assert torch.equal(frames.x[:, -T:], clips.latents)


@pytest.mark.parametrize("causal", [True, False])
def test_levels_and_signals_keep_to_their_grid(causal):
    cfg = ObjectiveConfig()
    c = draw(cfg, causal, b=400)
    assert c.tau.min() >= 0 and c.tau.max() <= 1
    steps = c.tau[c.move] * torch.exp2(c.level[c.move].float())
    torch.testing.assert_close(steps, steps.round())
    single = c.level == 0
    assert (c.level[~c.move & ~single] == 4).all() and (c.level[c.move] < 4).all()
    assert not c.tau[single].any() and not (c.move & single).any()
    share = single[~c.isolated].float().mean()
    assert share == pytest.approx(cfg.from_noise * causal, abs=0.05)
    if causal:  # all but what a clip begins with, which nothing tells
        assert torch.equal(c.imagined, c.isolated[:, None] | (torch.arange(T) > 0))
    else:
        assert (c.tau[~c.imagined] >= CLEAN).all() and not c.imagined.all()
    assert c.isolated.float().mean() == pytest.approx(cfg.isolated, abs=0.05)
    assert c.move.any(1).float().mean() == pytest.approx(cfg.bootstrap, abs=0.05)
    assert not draw(cfg, causal, progress=0.0).move.any()


def test_convolutions_alone_learn_the_next_frame_of_a_recorded_past_and_nothing_else():
    """With all that a whole model learns beside it they were 1.3 dB worse in twice the time."""
    c = draw(ObjectiveConfig(local_until=0.4), progress=0.1, b=40)
    assert draw(ObjectiveConfig(local_until=0.4), progress=0.3, b=40).own.any()
    assert not c.level.any() and not c.tau.any() and not c.own.any() and not c.isolated.any()
    assert (c.past >= CLEAN).all() and not c.sharp.any() and (c.gain == 1).all()


def test_a_frame_from_nothing_learns_from_many_steps_never_from_one():
    c = draw(ObjectiveConfig(isolated=0.5, from_noise=1.0), b=40)
    assert 0 < c.isolated.sum() < 40
    assert (c.level[c.isolated] > 0).all() and (c.level[~c.isolated] == 0).all()


@pytest.mark.parametrize("motion", [0.0, 0.5])
def test_clips_of_one_frame_learn_to_begin_from_nothing(model, clips, motion):
    """No past, no action, the finest steps: what `Rollout.begin` asks for."""
    g = torch.Generator().manual_seed(0)
    c = draw_corruption(ObjectiveConfig(), (400, 1), finest=4, causal=True, progress=1.0, g=g)
    assert c.isolated.all() and c.imagined.all() and not c.own.any() and not c.move.any()
    assert (c.level == 4).all() and c.tau.mean() == pytest.approx(0.5, abs=0.05)
    first = Clips(*(None if f.name == "prompts" else getattr(clips, f.name)[:, :1]
                    for f in fields(clips)))  # fmt: skip
    settings = {"causal": True, "progress": 1.0, "g": g}
    loss, metrics = dynamics_loss(model, model, first, ObjectiveConfig(motion=motion), **settings)
    assert 0.1 < loss < 10 and metrics.keys() == {"x_loss"}


def test_errors_count_by_what_they_do_to_pixels(model, clips):
    """Under an eye that sees the first channel alone, an error in another one costs nothing."""
    cfg = ObjectiveConfig(from_noise=1.0, isolated=0, own_past=0, sharpened=0)

    def loss(eye, channel=None):
        spoiled = deepcopy(model)
        if channel is not None:
            for painter in spoiled.painters:
                painter.head.bias.data[channel] += 1
        g = torch.Generator().manual_seed(0)
        told = dynamics_loss(spoiled, model, clips, cfg, causal=True, progress=0.0, g=g, eye=eye)
        return told[1]["x_loss"]

    eye = torch.zeros(8, 8)
    eye[0, 0] = 4.0
    assert loss(eye, channel=1) == loss(eye) != pytest.approx(loss(eye, channel=0), rel=0.01)
    assert loss(torch.eye(8)) == pytest.approx(loss(None), rel=1e-5) != loss(None, channel=1)


def test_most_pasts_are_as_clean_as_committed_frames():
    cfg = ObjectiveConfig()
    c = draw(cfg, b=400)
    clean = (c.past >= CLEAN).all(1)
    wanted = 1 - cfg.noisy_past
    assert clean.float().mean() == pytest.approx(wanted, abs=0.06)


@pytest.mark.parametrize("mode", [DRAFTS, Mode(RECENT, True, False), Mode(RECENT, False, False)])
def test_a_teacher_that_knows_the_truth_bootstraps_the_truth(clips, mode):
    c = draw(ObjectiveConfig(bootstrap=1.0, isolated=0.0), mode.causal)
    x = clips.latents
    draft = noise_latents(x, torch.randn_like(x), c.tau)

    def teacher(*_, **__):
        return Prediction(x[c.move.any(1)])

    assert c.move.any()
    frames = feed(clips, c, mode, draft, x, finest=4)
    target = _with_bootstrap(teacher, frames, None, x, c, mode)
    torch.testing.assert_close(target, x, atol=1e-4, rtol=1e-4)


def test_a_single_step_aims_at_the_recording_and_larger_steps_at_the_teacher(clips):
    c = draw(ObjectiveConfig(bootstrap=1.0, isolated=0.0))
    x = clips.latents

    def teacher(*_, **__):
        return Prediction(x[c.move.any(1)] + 1)

    frames = feed(clips, c, DRAFTS, x, x, finest=4)
    moved = (_with_bootstrap(teacher, frames, None, x, c, DRAFTS) - x).abs().amax((2, 3, 4)) > 0.1
    assert torch.equal(moved, c.move) and c.move.any() and (c.level == 0).any()


def film():
    """Eight episodes of 20 frames and one of 45; each frame's action says which one it is."""
    edges, none = torch.tensor([0, *range(20, 161, 20), 205]), torch.zeros(205)
    return LatentDataset(
        torch.zeros(205, 1, 1, 1), torch.arange(205.0)[:, None], none.bool(), none, none.bool(),
        torch.full((205,), -1), [], edges,
    )  # fmt: skip


def test_no_batch_is_made_of_the_longest_episode_alone():
    """The one of 45 frames gave a fifth of the batches, five times each."""
    draw_batch = sampler([film()], 8, 32, ObjectiveConfig())
    g = torch.Generator().manual_seed(0)
    lengths = {draw_batch(g, 1.0).clips.latents.shape[1] for _ in range(40)}
    assert max(lengths) == film().usual == 20


def test_two_hot_keeps_the_mean_and_sums_to_one():
    x = torch.tensor([-7.0, -6, -0.3, 0, 0.123, 5.99, 6, 9])
    grid = torch.linspace(-6, 6, 63)
    spread = two_hot(x, grid)
    torch.testing.assert_close(spread.sum(-1), torch.ones(len(x)))
    torch.testing.assert_close((spread * grid).sum(-1), x.clamp(-6, 6), atol=1e-4, rtol=0)
    assert ((spread > 0).sum(-1) <= 2).all()


@pytest.mark.parametrize("reward", [0.01, 0.1, -0.1, 1.0, 10.0, -100.0])
def test_what_is_earned_is_read_as_it_was_written(model, reward):
    """Spread in symlog and averaged as rewards, a hundredth was read a tenth too large."""
    label = two_hot(torch.tensor([reward]), reward_grid(model.cfg.bins))
    assert expected(label.log(), reward_grid(model.cfg.bins)).item() == pytest.approx(
        reward, rel=1e-3
    )


def test_few_clips_take_large_steps_as_often_as_many():
    """Of three clips none ever did, of four every fourth."""
    g, cfg = torch.Generator().manual_seed(0), ObjectiveConfig(isolated=0.0)
    drawn = [draw_corruption(cfg, (3, 8), 4, False, 1.0, g).move.any(1) for _ in range(400)]
    assert 0.6 < torch.stack(drawn).float().mean() / cfg.bootstrap < 1.2


def test_reward_and_ending_belong_to_the_frame_and_the_action_to_the_one_before(model, clips):
    """Off by one in any of the three once cost others weeks."""
    clips.terminated[:, 3] = True
    c = draw(ObjectiveConfig(isolated=0.0, noisy_past=0.0))
    says = model(show(clips, c), causal=True, drafts=True)
    earned, acted = reward_grid(63), action_grid(15)
    right = replace(
        says,
        reward=torch.cat([two_hot(clips.rewards, earned).log().clamp(min=-30)] * 2, 1),
        terminated=torch.cat([20 * (2 * clips.terminated.float() - 1)] * 2, 1),
        policy=torch.cat([two_hot(clips.actions.roll(-1, 1), acted).log().clamp(min=-30)] * 2, 1),
    )
    _, best = agent_loss(model.cfg, right, clips, c, ObjectiveConfig())
    for name, loss in (("reward", "reward_loss"), ("terminated", "termination_loss"),
                       ("policy", "policy_loss")):  # fmt: skip
        for by in (-1, 1):
            wrong = replace(right, **{name: getattr(right, name)[:, :T].roll(by, 1).repeat(
                1, 2, *[1] * (getattr(right, name).ndim - 2))})  # fmt: skip
            _, worse = agent_loss(model.cfg, wrong, clips, c, ObjectiveConfig())
            assert worse[loss] > best[loss] + 0.1, (name, by)


def test_compiled_layers_learn_what_plain_ones_do_from_clips_of_all_lengths(clips):
    model = make_model(depth=1, time_every=1)  # one kind of block is enough, each takes its time
    fast = deepcopy(model)
    compile_layers(fast)
    for t in (T, T - 2):
        cut = Clips(
            **{f.name: getattr(clips, f.name)[:, :t] for f in fields(Clips)[:5]}, prompts=None
        )
        for each in (model, fast):
            g = torch.Generator().manual_seed(3)
            each.zero_grad()
            dynamics_loss(each, model, cut, ObjectiveConfig(), causal=True, progress=0.5, g=g)[
                0
            ].backward()
        for one, other in zip(model.parameters(), fast.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_a_tiny_model_overfits_one_batch(model, clips, causal):
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(150):
        g = torch.Generator().manual_seed(0)
        loss, _ = dynamics_loss(
            model, model, clips, ObjectiveConfig(bootstrap=0.0, own_past=0.0),
            causal=causal, progress=1.0, g=g,
        )  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_an_imagined_past_keeps_its_first_frame_and_its_targets(model, clips):
    """The past is what the teacher made of it; what is to be predicted stays the recording."""
    seen = []

    class Watch(torch.nn.Module):
        cfg = model.cfg

        def forward(self, frames, *args, **kwargs):
            seen.append(frames)
            return model(frames, *args, **kwargs)

    cfg = ObjectiveConfig(own_past=1.0, isolated=0.0, noisy_past=0.0, bootstrap=0.0)
    for own in (1.0, 0.0):
        g = torch.Generator().manual_seed(0)
        loss = replace(cfg, own_past=own)
        dynamics_loss(Watch(), model, clips, loss, causal=True, progress=0.6, g=g)
    imagined, true = (frames.x for frames in seen)
    assert imagined.shape[1] == 2 * T
    assert torch.equal(imagined[:, T:], true[:, T:]) and torch.equal(imagined[:, 0], true[:, 0])
    assert (imagined[:, T // 2 : T] - true[:, T // 2 : T]).abs().amax((2, 3, 4)).min() > 1e-3


def test_a_past_off_balance_does_not_move_the_targets(model, clips, monkeypatch):
    """The model must find its way back: the drafts are of the recording as it was."""
    seen = []
    real = type(model).forward

    def watch(self, frames, *args, **kwargs):
        seen.append(frames)
        return real(self, frames, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", watch)
    base = ObjectiveConfig(own_past=0.0, isolated=0.0, noisy_past=0.0, bootstrap=0.0)
    for share in (1.0, 0.0):
        g = torch.Generator().manual_seed(0)
        cfg = replace(base, sharpened=share)
        dynamics_loss(model, model, clips, cfg, causal=True, progress=0.6, g=g)
    off, true = (frames.x for frames in seen)
    assert torch.equal(off[:, T:], true[:, T:])
    assert (off[:, :T] - true[:, :T]).abs().amax((2, 3, 4)).min() > 1e-3
    x = torch.randn(2, T, 4, 5, 5)
    none, one = torch.zeros(2), torch.ones(2)
    torch.testing.assert_close(off_balance(x, none, one), x)
    flat = torch.ones_like(x)
    torch.testing.assert_close(off_balance(flat, one, 1.1 * one), 1.1 * flat)  # no detail to add


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("start", [1, 3])
def test_a_past_is_imagined_frame_after_frame_as_the_whole_pass_would(clips, start, local):
    """Each imagined frame is the model's single step from noise on what was imagined before."""
    torch.manual_seed(0)
    model = make_model()
    blank = torch.randn_like(clips.latents)
    c = draw(ObjectiveConfig(isolated=0.0, noisy_past=0.0))
    c = replace(c, own=torch.arange(len(clips.latents)) < 2)
    fog = torch.zeros_like(clips.latents)
    told = imagine_past(model, clips, c, blank, fog, start, local)
    made = told.latents
    assert torch.equal(made[2:], clips.latents[2:])
    assert torch.equal(made[:, :start], clips.latents[:, :start])
    past = noise_latents(made, fog, c.past)
    single = replace(c, tau=torch.zeros_like(c.tau), level=torch.zeros_like(c.level))
    mode = replace(DRAFTS, drafts=not local, local=local)
    frames = feed(told, single, mode, blank, past, 4)
    prompts = clips.prompts if local else repeated(clips.prompts, mode.copies)
    whole = model(frames, prompts, **mode.flags()).latents
    torch.testing.assert_close(made[:2, start:], whole[:2, start:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("local", [False, True])
def test_two_drafts_of_a_frame_share_its_past_and_nothing_else(clips, local):
    """Both come out as each alone, whatever the other is."""
    model = make_model()
    c = draw(ObjectiveConfig(isolated=0.0, from_noise=1.0, bootstrap=0.0))
    mode = replace(DRAFTS, drafts=not local, local=local, draws=2)
    one, other = torch.randn(2, *clips.latents.shape)
    first, second = (
        feed(clips, c, mode, draft, clips.latents, finest=4).during(slice(-T, None))
        for draft in (one, other)
    )
    past = feed(clips, c, mode, one, clips.latents, finest=4)
    both = model(past.then(second), **mode.flags()).latents.unflatten(1, (2, T))
    for i, draft in enumerate((first, second)):
        alone = past.during(slice(0, -T)).then(draft) if mode.drafts else draft
        single = model(alone, **replace(mode, draws=1).flags()).latents
        torch.testing.assert_close(both[:, i], single, atol=1e-5, rtol=0)
    assert (both[:, 0] - both[:, 1]).abs().max() > 1e-3  # by chance, which is all that differs


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0, 1.5, 2.0])
def test_what_is_as_varied_as_what_may_come_scores_best(spread):
    """Neither the mean alone nor too much of a choice."""
    g = torch.Generator().manual_seed(0)
    came, draws = torch.randn(1, 1, 1, 4, 200, 200, generator=g), (1, 2, 1, 4, 200, 200)

    def score(by):
        return energy_score(by * torch.randn(draws, generator=g) - came).mean()

    assert spread == 1 or score(spread) > score(1.0) + 0.01


@pytest.mark.parametrize("local_until", [0.0, 0.9])
def test_a_model_learns_to_draw_what_it_cannot_know(clips, local_until):
    """Frames are light or dark by a coin: draws are either, where all that is expected is grey."""
    torch.manual_seed(0)
    model = make_model()
    cfg = ObjectiveConfig(
        drawn_from=0.0, from_noise=1.0, isolated=0.0, own_past=0.0, bootstrap=0.0, noisy_past=0.0,
        sharpened=0.0, plain=0.0, local_until=local_until, reward_weight=0.0,
        termination_weight=0.0, policy_weight=0.0,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), 0.005)
    for step in range(250):
        g = torch.Generator().manual_seed(step)
        coins = 2.0 * torch.randint(2, (B, T, 1, 1, 1), generator=g) - 1
        batch = replace(clips, latents=coins.expand_as(clips.latents))
        loss, _ = dynamics_loss(model, model, batch, cfg, causal=True, progress=0.5, g=g)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    c = draw(cfg, progress=0.5)
    c = replace(c, tau=torch.zeros_like(c.tau), level=torch.zeros_like(c.level))
    mode = replace(DRAFTS, drafts=not local_until, local=bool(local_until))
    noise = torch.randn(clips.latents.shape, generator=torch.Generator().manual_seed(7))
    shades = {}
    for name, chance in {"drawn": noise, "expected": 0 * noise}.items():
        frames = feed(batch, c, mode, chance, batch.latents, finest=4)
        shades[name] = model(frames, **mode.flags()).latents.mean((2, 3, 4)).detach()[:, 1:]
    assert shades["drawn"].abs().median() > 0.3 > shades["expected"].abs().median()
    assert shades["drawn"].min() < -0.5 and shades["drawn"].max() > 0.5


@pytest.mark.parametrize("plain, slopes", [(True, [-1, 1]), (False, [1, 1])])
def test_without_chance_a_frame_is_the_mean_of_what_may_come(plain, slopes):
    """By distances it would be the median, nearest to what comes more often: here 0, not 0.25."""
    came = torch.tensor([0.0, 0.0, 0.0, 1.0]).view(4, 1, 1, 1, 1)
    none, every = torch.zeros(4, 1, dtype=torch.bool), torch.ones(4, 1, dtype=torch.bool)
    c = Corruption(
        tau=torch.zeros(4, 1), level=torch.zeros(4, 1, dtype=torch.int64), imagined=every,
        move=none, isolated=none[:, 0], past=torch.ones(4, 1), own=none[:, 0],
        sharp=torch.zeros(4), gain=torch.ones(4), plain=(every if plain else none)[:, 0],
    )  # fmt: skip
    for said, sign in zip((0.1, 0.4), slopes, strict=True):
        said = torch.tensor(said, requires_grad=True)
        missed = (said - came)[:, None].expand(-1, 2, -1, -1, -1, -1)  # both draws are alike
        loss, _ = latent_loss(missed, came, c, ObjectiveConfig(), True, None)
        assert torch.autograd.grad(loss, said)[0].sign() == sign


def test_the_first_frame_has_no_frame_before_it():
    x, tau = torch.randn(1, 3, 1, 1, 1), torch.rand(1, 3)
    previous, previous_tau = previous_frames(x, tau, 2)
    assert not previous[:, 0].any() and not previous[:, 1, 0].any()
    assert torch.equal(previous[:, 1:, 1], x[:, :-1]) and torch.equal(previous[:, 2:, 0], x[:, :-2])
    assert torch.equal(previous_tau[:, 1:, 1], tau[:, :-1])
