"""One frame per action: a batch of worlds in progress, on a tiny model in float32."""

from pathlib import Path

import pytest
import torch
from conftest import CAPTIONS, make_tiny_world

from worldsim.compiling import compiled
from worldsim.frames import Frames, expected, previous_frames
from worldsim.loading import load
from worldsim.past import GIVEN_TAU
from worldsim.rollout import Rollout

T = 20  # frames: past two wraps of a ring of 8


@pytest.fixture(scope="module")
def world(tiny_world):
    return tiny_world


@pytest.fixture(scope="module")
def actions():
    return 2 * torch.rand(T, 3, 3, generator=torch.Generator().manual_seed(1)) - 1


def start(world, rows, **settings):
    """Start rows `rows` of a batch whose row `i` has clip `i`, seed `i` and caption `i`."""
    rollout = Rollout(world, len(rows), **settings)
    rollout.seed(range(len(rows)), rows)
    rollout.set_prompts(range(len(rows)), [CAPTIONS[row] for row in rows])
    latents, known = world.starts.latents[rows].float(), None
    rollout.prefill(range(len(rows)), latents, world.starts.actions[rows], known)
    return rollout


def film(rollout, actions):
    return torch.stack([rollout.step(action).latents for action in actions])


def same(a, b, atol=1e-4):
    torch.testing.assert_close(a, b, atol=atol, rtol=1e-4)


def test_a_cached_rollout_equals_the_full_forward_pass_past_two_wraps(world, actions):
    """What was drafted and committed, fed again as one clip, gives the same frames and rewards."""
    rollout = Rollout(world, 3, sampler_steps=1)  # from nothing, so that the clip is whole
    rollout.seed(range(3), range(3))
    rollout.begin(range(3))
    noised, said, noises = [rollout.fed[:, -1].clone()], [], []
    for action in actions:
        states = [g.get_state() for g in rollout.generators]
        noises.append(rollout._noise()[:, 0])
        for g, state in zip(rollout.generators, states, strict=True):
            g.set_state(state)
        said.append(rollout.step(action))
        noised.append(rollout.fed[:, -1].clone())
    x = torch.stack(noised, 1)
    b, t = x.shape[:2]
    assert t > 2 * world.dynamics.cfg.context
    tau, level = torch.full((b, t), rollout.tau), torch.full((b, t), world.dynamics.cfg.finest)
    lead = torch.cat([torch.zeros(b, 1, 3), actions.transpose(0, 1)], 1)
    known = torch.arange(t).expand(b, t) > 0
    before = previous_frames(x, tau, world.dynamics.cfg.recent)
    past = Frames(x, tau, level, *before, lead, known)
    blank = torch.stack([torch.zeros_like(x[:, 0]), *noises], 1)
    drafts = Frames(blank, 0 * tau, 0 * level, *before, lead, known)
    with torch.no_grad():
        full = world.dynamics(past.then(drafts), drafts=True)
    same(torch.stack([s.latents for s in said], 1), full.latents[:, 1:])
    same(
        torch.stack([s.reward for s in said], 1),
        expected(full.reward, rollout.reward_grid)[:, t + 1 :],
    )
    policy = expected(full.policy, rollout.action_grid)
    same(torch.stack([s.policy for s in said], 1), policy[:, t + 1 :])


def test_a_start_read_at_once_equals_the_same_frames_read_one_by_one(world, actions):
    """What prefill leaves in the ring is what committing each frame would have left."""
    rollout = start(world, [0])
    cache = world.dynamics.new_cache(1, (8, 8))
    latents = world.starts.latents[:1].float()
    t = latents.shape[1]
    x, tau, level = (
        GIVEN_TAU * latents,
        torch.full((1, t), GIVEN_TAU),
        torch.full((1, t), world.dynamics.cfg.finest),
    )
    known = torch.arange(t).expand(1, t) > 0
    before = previous_frames(x, tau, world.dynamics.cfg.recent)
    frames = Frames(x, tau, level, *before, world.starts.actions[:1], known)
    with torch.inference_mode():
        for i in range(t):
            one, at = frames.during(slice(i, i + 1)), torch.tensor([[i]])
            how = {"single": True, "agent": True, "latents": False}
            world.dynamics.step(one, at, cache, rollout.text, **how)
    same(cache.keys, rollout.cache.keys)
    same(cache.values, rollout.cache.values)
    assert rollout.cache.clock.tolist() == [t]


def test_a_frame_is_committed_under_the_prompt_it_followed(world, actions):
    """A new prompt, a reset beside it or a snapshot on the way do not change what is remembered."""
    plain, changed = start(world, [0, 1, 2]), start(world, [0, 1, 2])
    film(plain, actions[:4]), film(changed, actions[:4])
    changed.set_prompts([0, 1, 2], [None, None, None])
    kept = changed.cache.keys.clone()
    plain.step(actions[4]), changed.step(actions[4])
    slot = (changed.cache.clock[0] - 2) % changed.cache.slots  # the last frame before the change
    same(kept[:, :, :, slot], plain.cache.keys[:, :, :, slot])


@pytest.mark.parametrize("steps, guidance", [(1, 1.0), (4, 1.0), (2, 1.7)])
def test_a_batch_of_worlds_equals_the_worlds_run_singly(world, actions, steps, guidance):
    """Also where one row has no prompt and the others' new prompts differ in length."""
    settings = {"sampler_steps": steps, "guidance": guidance}
    later = [CAPTIONS[2], None, CAPTIONS[1]]
    batch = start(world, [0, 1, 2], **settings)
    batch.set_prompts([0, 1, 2], later)
    together = film(batch, actions[:10])
    for row in range(3):
        single = start(world, [row], **settings)
        single.set_prompts([0], [later[row]])
        same(film(single, actions[:10, row : row + 1])[:, 0], together[:, row])


def test_the_same_seed_and_actions_give_the_same_frames_and_other_seeds_others(world, actions):
    first, second = start(world, [0, 1, 2]), start(world, [0, 1, 2])
    assert torch.equal(film(first, actions[:3]), film(second, actions[:3]))
    other = start(world, [0, 1, 2])
    other.seed([2], [99])
    frames = film(other, actions[:3])
    again = film(start(world, [0, 1, 2]), actions[:3])
    assert torch.equal(frames[:, :2], again[:, :2]) and not torch.equal(frames[:, 2], again[:, 2])


@pytest.mark.parametrize("how", ["prefill", "begin"])
def test_resetting_one_row_leaves_the_others_alone(world, actions, how):
    alone, other = start(world, [0, 1, 2]), start(world, [0, 1, 2])
    film(alone, actions[:5]), film(other, actions[:5])
    for rollout in (alone, other):  # the last frame followed another prompt
        rollout.set_prompts([0, 2], [CAPTIONS[1], None])
    if how == "begin":
        other.begin([1])
    else:
        other.prefill([1], world.starts.latents[:1].float(), world.starts.actions[:1])
    assert other.cache.clock.tolist() == [11, 1 if how == "begin" else 6, 11]
    a, b = film(alone, actions[5:15]), film(other, actions[5:15])
    same(a[:, [0, 2]], b[:, [0, 2]])
    assert not torch.allclose(a[:, 1], b[:, 1], atol=1e-3)


@pytest.mark.parametrize("how", ["prefill", "begin"])
def test_a_row_that_begins_again_knows_nothing_of_the_episode_before(world, actions, how):
    """`begin` once fed the last frame of the old episode as the one before the new first frame."""
    used, new = start(world, [0, 1, 2]), Rollout(world, 3)
    film(used, actions)
    new.set_prompts(range(3), CAPTIONS)
    for rollout in (used, new):
        rollout.seed([1], [7])
        if how == "begin":
            rollout.begin([1])
        else:
            rollout.prefill([1], world.starts.latents[:1].float(), world.starts.actions[:1])
    same(used.latents[1], new.latents[1])
    same(film(used, actions)[:, 1], film(new, actions)[:, 1])


def test_a_long_start_is_cut_to_what_the_context_holds(world, actions):
    long = torch.randn(1, 30, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    led = torch.zeros(1, 30, 3)
    rollouts = Rollout(world, 1), Rollout(world, 1)
    rollouts[0].prefill([0], long, led)
    rollouts[1].prefill([0], long[:, -8:], led[:, -8:])
    assert torch.equal(film(rollouts[0], actions[:3, :1]), film(rollouts[1], actions[:3, :1]))


def test_a_snapshot_continues_exactly_and_can_be_used_again(world, actions):
    rollout = start(world, [0, 1, 2])
    film(rollout, actions[:9])
    moment = rollout.snapshot()
    future = film(rollout, actions[9:])
    rollout.set_prompts([0], [None])
    for _ in range(2):
        rollout.restore(moment)
        assert rollout.prompts == list(CAPTIONS)
        assert torch.equal(film(rollout, actions[9:]), future)


def test_a_new_prompt_changes_the_next_frame_and_no_frame_before(world, actions):
    plain, changed = start(world, [0, 1, 2]), start(world, [0, 1, 2])
    a, b = film(plain, actions[:4]), film(changed, actions[:4])
    changed.set_prompts([1], [CAPTIONS[0]])
    assert torch.equal(a, b) and torch.equal(plain.latents, changed.latents)
    a, b = film(plain, actions[4:6]), film(changed, actions[4:6])
    same(a[:, [0, 2]], b[:, [0, 2]])
    assert not torch.allclose(a[0, 1], b[0, 1], atol=1e-4)


def test_a_prompt_that_cannot_be_read_changes_nothing(world, actions, monkeypatch):
    rollout = start(world, [0, 1, 2])

    def fail(prompt):
        raise FileNotFoundError("no weights")

    monkeypatch.setattr(world, "words", fail)
    with pytest.raises(FileNotFoundError):
        rollout.set_prompts([1], ["something new"])
    assert rollout.prompts == list(CAPTIONS)


def test_an_action_steers_the_frame_it_leads_to(world, actions):
    a, b = start(world, [0, 1, 2]), start(world, [0, 1, 2])
    other = actions[:1].clone()
    other[:, 1] = -other[:, 1]
    a, b = film(a, actions[:1]), film(b, other)
    assert torch.equal(a[:, [0, 2]], b[:, [0, 2]]) and not torch.allclose(a[:, 1], b[:, 1])


def test_the_cache_stays_in_its_dtype(actions):
    world = make_tiny_world()
    world.dynamics.bfloat16()
    world.tokenizer.bfloat16()
    rollout = start(world, [0, 1, 2])
    frames = film(rollout, actions[:3])
    assert rollout.cache.keys.dtype == rollout.cache.values.dtype == torch.bfloat16
    assert frames.dtype == rollout.fed.dtype == torch.float32


def test_frames_handed_out_share_no_memory(world, actions):
    rollout, twin = start(world, [0, 1, 2]), start(world, [0, 1, 2])
    now, _ = rollout.step(actions[0]), twin.step(actions[0])
    with torch.inference_mode():
        now.latents.zero_()
    after = rollout.step(actions[1])
    assert torch.equal(after.latents, twin.step(actions[1]).latents)
    kept = after.latents.clone()
    given = world.starts
    rollout.prefill([0], given.latents[:1].float(), given.actions[:1].float())
    assert torch.equal(after.latents, kept)


def test_without_variety_every_seed_shows_what_is_expected(world, actions):
    films = {}
    for variety in (0.0, 1.0):
        for seed in (0, 50):
            rollout = start(world, [0, 1, 2], variety=variety, sampler_steps=1)
            rollout.seed(range(3), range(seed, seed + 3))
            films[variety, seed] = film(rollout, actions[:3])
    assert torch.equal(films[0.0, 0], films[0.0, 50])
    assert not torch.allclose(films[1.0, 0], films[1.0, 50])
    usual = start(world, [0, 1, 2], sampler_steps=1)
    assert torch.equal(films[1.0, 0], film(usual, actions[:3]))


def test_a_world_without_chance_shows_the_same_at_any_variety(actions):
    """Its gates let a little noise into cells; judged without, the shipped worlds changed."""
    old = load(Path(__file__).parent / "data/world-v6", "cpu", torch.float32)
    films = []
    for variety in (0.0, 1.0):
        rollout = Rollout(old, 1, sampler_steps=1, variety=variety)
        rollout.prefill([0], old.starts.latents[:1].float(), old.starts.actions[:1])
        films.append(film(rollout, actions[:3, :1]))
    assert torch.equal(*films)


def test_chance_is_one_for_the_whole_frame(world, actions, monkeypatch):
    """What the noise is beyond its first numbers changes nothing: no cell has some of its own."""
    count, noise = world.dynamics.near.chance.in_features, Rollout._noise
    plain = film(start(world, [0, 1, 2], sampler_steps=1), actions[:3])

    def other(self):
        x = noise(self).flatten(1)
        x[:, count:] = 9
        return x.view(self.rows, 1, *self.latents.shape[1:])

    monkeypatch.setattr(Rollout, "_noise", other)
    same(film(start(world, [0, 1, 2], sampler_steps=1), actions[:3]), plain)


@pytest.mark.parametrize("size", [(32, 48), (48, 32)])
def test_other_frame_sizes_roll_out_from_nothing(world, actions, size):
    rollout = Rollout(world, 3, frame_size=size)
    rollout.begin(range(3))
    shape = (size[0] // 4, size[1] // 4)
    assert film(rollout, actions[:3]).shape[-2:] == shape


@pytest.mark.parametrize(
    "settings",
    [{"sampler_steps": n} for n in (0, 2.0, 3, 32)]
    + [{"guidance": float("nan")}, {"frame_size": (30, 32)}, {"variety": 1.5}, {"variety": "some"}],
)
def test_a_setting_that_does_not_fit_is_refused(world, settings):
    with pytest.raises(ValueError, match="must be"):
        Rollout(world, 1, **settings)


def test_a_batch_of_another_size_is_refused_before_it_changes_anything(world, actions):
    """One action for three worlds was spread over them, and a later start failed."""
    rollout = Rollout(world, 3, sampler_steps=2)
    rollout.begin(range(3))
    with pytest.raises(ValueError, match=r"`actions` must be \(b, a\) = \(3, 3\), got \(1, 3\)"):
        rollout.step(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="`done` must lie within 0..1 steps, got 2"):
        rollout.redraw(rollout.latents, 2, torch.zeros(3, 3))
    led = torch.zeros(1, 2, 3, dtype=torch.float64)
    rollout.prefill([1], rollout.latents[[1, 1]][None], led)
    rollout.step(torch.zeros(3, 3))


def test_a_first_frame_from_nothing_draws_new_noise_before_every_pass(world):
    rollout, g = Rollout(world, 1), torch.Generator().manual_seed(7)
    rollout.seed([0], [7])
    rollout.begin([0])
    for _ in range(world.dynamics.cfg.max_steps):
        torch.randn(1, *rollout.latents.shape[1:], generator=g)
    assert torch.equal(rollout.generators[0].get_state(), g.get_state())


@pytest.mark.parametrize("how", ["prefill", "begin"])
def test_the_actions_given_stay_as_they_were(world, actions, how):
    """A row that began anew once wrote its action into the tensor of the step before."""
    rollout, given = start(world, [0, 1, 2]), actions[0].clone()
    rollout.step(given)
    if how == "begin":
        rollout.begin([1])
    else:
        rollout.prefill([1], world.starts.latents[:1].float(), world.starts.actions[:1])
    assert torch.equal(given, actions[0])


@pytest.mark.slow
@pytest.mark.parametrize("steps, guidance", [(1, 1.0), (2, 3.0)])
def test_a_compiled_world_imagines_the_same(world, actions, steps, guidance):
    """Before and after a prompt changes, and after one row begins anew."""
    films = []
    for one in (world, compiled(world)):
        rollout = start(one, [0, 1, 2], sampler_steps=steps, guidance=guidance)
        frames = [film(rollout, actions[:4])]
        rollout.set_prompts([0, 1], [CAPTIONS[2], None])
        rollout.begin([2])
        films.append(torch.cat([*frames, film(rollout, actions[4:8])]))
    same(*films, atol=2e-3)
    assert "step" not in vars(world.dynamics)


def test_what_is_fed_back_is_nearer_to_what_is_seen(actions):
    world = make_tiny_world(refresh=0.5)
    rollout = start(world, [0, 1, 2])
    made = rollout.step(actions[0]).latents
    seen = world.encode(world.decode(made))
    same(rollout.fed[:, -1], rollout.tau * (made + seen) / 2)
    plain = start(make_tiny_world(), [0, 1, 2])
    same(plain.step(actions[0]).latents, made)  # the frame itself is as it was
    assert not torch.allclose(plain.step(actions[1]).latents, rollout.step(actions[1]).latents)


def test_the_picture_is_always_that_of_the_newest_frames(actions):
    """It is painted in a step already, and must not outlive what replaces its frame."""
    world = make_tiny_world(refresh=0.5)
    rollout = start(world, [0, 1, 2])
    rollout.step(actions[0])
    here = rollout.snapshot()
    for change in (
        lambda: rollout.step(actions[1]),
        lambda: rollout.prefill([1], world.starts.latents[:1].float(), world.starts.actions[:1]),
        lambda: (rollout.step(actions[2]), rollout.begin([2])),
        lambda: (rollout.step(actions[3]), rollout.restore(here)),
    ):
        change()
        assert torch.equal(rollout.frames(), world.decode(rollout.latents))
        assert torch.equal(rollout.frames([1]), world.decode(rollout.latents)[[1]])
