"""Films from a tiny, random world: what comes back must have the right shape and keep its word."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import CAPTIONS, DRIVE, make_tiny_world
from gymnasium import spaces

from worldsim.cli import main
from worldsim.completion import KNOWN_TAU, PartialClip, complete, denoise, windows
from worldsim.decoding import read_video
from worldsim.generate import edit, extend, image_to_video, infill, loop, text_to_video
from worldsim.images import write_image
from worldsim.loading import load
from worldsim.rollout import Rollout
from worldsim.sampling import Sampling
from worldsim.video import write_video

PROMPT = CAPTIONS[1]  # the tiny world knows its words without an encoder


@pytest.fixture(scope="module")
def world(tiny_world):
    return tiny_world


@pytest.fixture(scope="module")
def video(world):
    """Ten frames that this world can show."""
    return text_to_video(world, PROMPT, frames=10, seed=3)


def round_trip(world, frames):
    return world.decode(world.encode(frames)).numpy()


def gap(frames, others):
    """Mean difference of two frames, in 255ths."""
    return np.abs(frames.astype(float) - others).mean()


def is_film(video, t, h=32, w=32):
    return video.shape == (t, h, w, 3) and video.dtype == np.uint8


@pytest.mark.parametrize("mode", ["causal", "full"])
@pytest.mark.parametrize("frames", [1, 5, 20])  # 20 is longer than a full window of 16
def test_text_becomes_a_film_of_the_length_asked_for(world, mode, frames):
    video = text_to_video(world, PROMPT, frames=frames, mode=mode)
    assert is_film(video, frames)
    assert len(np.unique(video)) > 10


@pytest.mark.parametrize("size", [(32, 64), (48, 24)])
@pytest.mark.parametrize("mode", ["causal", "full"])
def test_a_film_may_have_another_size_than_the_world(world, size, mode):
    assert is_film(text_to_video(world, PROMPT, frames=3, size=size, mode=mode), 3, *size)


@pytest.mark.parametrize("size", [(32, 64), (48, 24)])
def test_given_frames_may_have_another_size_than_the_world(world, size):
    video = text_to_video(world, PROMPT, frames=4, size=size)
    known = np.arange(4) != 2
    assert is_film(extend(world, video, before=1, after=1), 6, *size)
    assert is_film(infill(world, video, known), 4, *size)
    assert is_film(edit(world, video, PROMPT), 4, *size)


CALLS = {
    "text": lambda world, video, **look: text_to_video(world, PROMPT, frames=4, **look),
    "text, full": lambda world, video, **look: text_to_video(
        world, PROMPT, frames=4, mode="full", **look
    ),
    "image": lambda world, video, **look: image_to_video(world, video[0], frames=4, **look),
    "extend": lambda world, video, **look: extend(world, video, before=2, after=2, **look),
    "infill": lambda world, video, **look: infill(world, video, np.arange(10) < 6, **look),
    "loop": lambda world, video, **look: loop(world, PROMPT, frames=6, **look),
    "edit": lambda world, video, **look: edit(world, video, PROMPT, **look),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_same_seed_makes_the_same_film_and_another_seed_another(world, video, name):
    first, again, other = (CALLS[name](world, video, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("name", CALLS)
def test_the_number_of_sampler_steps_is_checked(world, video, name):
    assert len(CALLS[name](world, video, sampler_steps=4))
    with pytest.raises(ValueError, match="`sampler_steps` must be a power of two up to 16, got 3"):
        CALLS[name](world, video, sampler_steps=3)


@pytest.mark.parametrize("name", CALLS)
def test_what_was_given_is_left_as_it_was(world, video, name):
    before = video.copy()
    CALLS[name](world, video)
    assert (video == before).all()


ASKED = CALLS | {
    "image": lambda world, video, **look: image_to_video(world, video[0], PROMPT, **look),
    "extend": lambda world, video, **look: extend(world, video, after=3, prompt=PROMPT, **look),
    "infill": lambda world, video, **look: infill(
        world, video, np.arange(10) < 6, prompt=PROMPT, **look
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_guidance_changes_the_film_where_there_is_a_prompt(world, video, name):
    plain, guided = (ASKED[name](world, video, guidance=g) for g in (1.0, 3.0))
    assert (plain != guided).any()


@pytest.mark.parametrize("name", ["text", "text, full", "image"])
def test_films_take_the_worlds_own_guidance(world, video, name, monkeypatch):
    asked = ASKED[name](world, video, guidance=3.0)
    monkeypatch.setattr(world.cfg, "guidance", 3.0)
    assert (ASKED[name](world, video) == asked).all()


def test_numbers_may_be_numpys(world, video):
    plain, numpys = ({"seed": kind(1), "sampler_steps": kind(1)} for kind in (int, np.int64))
    for name in CALLS:
        assert (CALLS[name](world, video, **plain) == CALLS[name](world, video, **numpys)).all()


def test_a_film_follows_its_actions(world):
    sides = [[np.array([side, 1, 0], np.float32)] * 5 for side in (-1, 1, -1)]
    for mode in ("causal", "full"):
        left, right, again = (
            text_to_video(world, PROMPT, frames=6, actions=acts, mode=mode) for acts in sides
        )
        assert (left != right).any() and (left == again).all()


def test_causal_frames_do_not_depend_on_later_actions(world):
    acts = [np.array([-1, 1, 0], np.float32)] * 5
    other = [*acts[:3], *[np.array([1, 0, 1], np.float32)] * 2]
    films = [text_to_video(world, PROMPT, frames=6, actions=a) for a in (acts, other)]
    assert (films[0][:4] == films[1][:4]).all() and (films[0][4] != films[1][4]).any()


def test_a_longer_film_begins_like_a_shorter_one(world):
    short, long = (text_to_video(world, PROMPT, frames=t, seed=2) for t in (4, 8))
    assert (short == long[:4]).all()


def test_an_image_is_the_first_frame_of_its_film(world, video):
    made = image_to_video(world, video[4], PROMPT, frames=5)
    assert is_film(made, 5)
    assert (made[0] == video[4]).all()
    assert is_film(image_to_video(world, video[4], frames=1), 1)


def test_a_film_is_extended_on_both_sides_and_kept_in_between(world, video):
    made = extend(world, video, before=3, after=4, prompt=PROMPT)
    assert is_film(made, 17)
    assert (made[3:13] == video).all()
    assert (extend(world, video) == video).all()


def test_what_comes_after_does_not_depend_on_what_is_imagined_before(world, video):
    both = extend(world, video, before=3, after=4)
    assert (both[13:] == extend(world, video, after=4)[10:]).all()
    assert (both[:3] == extend(world, video, before=3)[:3]).all()


def test_extending_goes_on_like_the_rollout_that_read_the_frames(world, video):
    """What `image_to_video` and `extend` share: the last `context` frames are the past."""
    context = world.dynamics.cfg.context
    made = extend(world, video, after=3, seed=5)[10:]
    assert (made == extend(world, video[-context:], after=3, seed=5)[context:]).all()
    assert (made != extend(world, video[-1:], after=3, seed=5)[1:]).any()


def test_actions_inside_a_given_film_count(world, video):
    sides = ([np.array([side, 1, 0], np.float32)] * 9 for side in (-1, 1))
    films = [extend(world, video, after=2, video_actions=acts) for acts in sides]
    assert (films[0][10:] != films[1][10:]).any()


LEFT, RIGHT = ([np.float32([side, 1, 0])] * 9 for side in (-1, 1))
TOLD = {
    "full": lambda w, v, acts: text_to_video(w, PROMPT, actions=acts, frames=10, mode="full"),
    "causal": lambda w, v, acts: text_to_video(w, PROMPT, actions=acts, frames=10),
    "edit": lambda w, v, acts: edit(w, v, PROMPT, actions=acts),
    "infill": lambda w, v, acts: infill(w, v, np.arange(10) != 3, actions=acts),
    "extend": lambda w, v, acts: extend(w, v, after=1, actions=LEFT[:1], video_actions=acts),
}


@pytest.mark.parametrize("name", TOLD)
def test_actions_count_only_in_a_world_that_knows_them(world, video, name):
    """Those of unlabelled recordings went through layers that have learned nothing."""
    film, deaf = TOLD[name], make_tiny_world(labelled=False)
    assert (film(world, video, LEFT) != film(world, video, RIGHT)).any()
    assert (film(deaf, video, LEFT) == film(deaf, video, RIGHT)).all()


@pytest.mark.parametrize("name", ["full", "edit", "infill"])
def test_frames_without_actions_are_led_to_by_the_usual_ones(world, video, name):
    """No frame of a labelled recording comes after another without its action."""
    film, usual = TOLD[name], world.starts.actions.float()[world.starts.known].mean(0)
    low, high = (np.float32(side) for side in (world.cfg.action_low, world.cfg.action_high))
    acts = [(usual.numpy() + 1) / 2 * (high - low) + low] * 9
    assert gap(film(world, video, None), film(world, video, acts)) < 0.01


def test_a_prompt_is_refused_where_there_are_no_words(video):
    mute = make_tiny_world()
    mute.starts = replace(mute.starts, captions=("",) * 3, words=())
    with pytest.raises(ValueError, match="understands no prompt"):
        text_to_video(mute, PROMPT, frames=2)
    assert is_film(extend(mute, video, after=1), 11)


def test_more_frames_than_a_window_can_be_put_in_front(world, video):
    """A window holds 16 frames; the farthest are imagined last, from imagined ones."""
    made = extend(world, video[:3], before=30)
    assert is_film(made, 33)
    assert (made[30:] == video[:3]).all()
    assert len({frame.tobytes() for frame in made}) == 33


def test_missing_frames_are_imagined_and_given_ones_kept(world, video):
    known = np.ones(10, bool)
    known[4:7] = False
    made = infill(world, video, known, prompt=PROMPT)
    assert is_film(made, 10)
    assert (made[known] == video[known]).all()
    assert all((made[i] != video[i]).any() for i in (4, 5, 6))


def test_what_stands_in_missing_frames_does_not_matter(world, video):
    known = np.ones(10, bool)
    known[4:7] = False
    scratched = np.where(known[:, None, None, None], video, 77).astype(np.uint8)
    assert (infill(world, video, known) == infill(world, scratched, known)).all()


def test_missing_frames_depend_on_what_comes_after_them(world, video):
    known = np.arange(10) != 4
    other = video.copy()
    other[5:] = 255 - other[5:]
    assert (infill(world, video, known)[4] != infill(world, other, known)[4]).any()


def test_a_gap_at_a_windows_end_depends_on_what_the_next_window_sees(world, video):
    """Of 20 frames in windows of 16 the first once settled a gap that ends with it."""
    long = np.concatenate([video, video])
    known = (np.arange(20) < 14) | (np.arange(20) > 15)
    other = long.copy()
    other[16:] = 255 - other[16:]
    made, changed = (infill(world, each, known)[14:16] for each in (long, other))
    assert (made != changed).any()


def test_missing_regions_are_imagined_and_given_pixels_kept(world, video):
    known = np.ones((10, 32, 32), bool)
    known[2:, 8:21, 8:24] = False  # not only whole cells of 8 pixels
    made = infill(world, video, known)
    assert is_film(made, 10)
    assert (made[known] == video[known]).all()
    assert (made[~known] != video[~known]).any()


def test_all_known_changes_nothing_and_nothing_known_is_a_new_film(world, video):
    assert (infill(world, video, np.ones(10, bool)) == video).all()
    assert is_film(infill(world, video, np.zeros(10, bool)), 10)
    assert is_film(infill(world, video, np.zeros((10, 32, 32), bool)), 10)


def test_infilling_goes_past_one_window(world, video):
    long = np.concatenate([video, video, video, video])  # 40 frames, windows of 16
    known = np.arange(40) % 10 < 6
    made = infill(world, long, known)
    assert (made[known] == long[known]).all()
    assert (made[~known] != long[~known]).any()


def test_known_frames_are_fed_nearly_clean_and_come_back_exact(world, video):
    """In latents nothing of what is known may change; in pixels only the tokenizer's share does."""
    latents = world.encode(video).float()
    known = torch.arange(10) % 3 == 0
    clip = PartialClip(latents, known, torch.zeros(10, 3))
    made = complete(world, clip, PROMPT, Sampling(sampler_steps=2))
    assert torch.equal(made[known], latents[known])
    shown = world.decode(made[known]).numpy()
    assert (shown == round_trip(world, video[known.numpy()])).all()


def test_given_cells_come_back_when_a_region_is_infilled(world, video):
    latents = world.encode(video).float()
    cells = torch.ones(10, 8, 8, dtype=torch.bool)
    cells[:, 2:6, 2:6] = False
    clip = PartialClip(latents, torch.zeros(10).bool(), torch.zeros(10, 3), cells=cells)
    made = denoise(world, clip, torch.randn(latents.shape), None, Sampling(sampler_steps=4))
    there = cells[:, None].expand_as(made)
    torch.testing.assert_close(made[there], latents[there], atol=1e-5, rtol=0)


@pytest.mark.parametrize("t, length", [(5, 16), (16, 16), (17, 16), (100, 16), (33, 2)])
def test_windows_cover_all_frames_and_overlap_by_a_quarter(t, length):
    pairs = windows(t, length)
    parts, own = zip(*pairs, strict=True)
    assert parts[0].start == 0 and parts[-1].stop == t
    assert all(part.stop - part.start == min(t, length) for part in parts)
    for part, after in zip(parts, parts[1:], strict=False):
        assert part.stop - after.start >= max(1, length // 4)
    assert [i for mine in own for i in range(t)[mine]] == list(range(t))
    assert all(p.start <= mine.start and mine.stop <= p.stop for p, mine in pairs)
    assert windows(t, length, backwards=True) == pairs[::-1]


@pytest.fixture
def full_passes(world, monkeypatch):
    """What the model is told when it looks at whole clips, pass by pass."""
    seen, model = [], world.dynamics
    forward = model.forward

    def watched(frames, *args, causal=True, **kwargs):
        if not causal:
            seen.append(frames)
        return forward(frames, *args, causal=causal, **kwargs)

    monkeypatch.setattr(model, "forward", watched)
    return seen


@pytest.mark.parametrize("frames", [4, 9, 30])
def test_a_loop_has_the_length_asked_for(world, frames):
    assert is_film(loop(world, PROMPT, frames=frames), frames)


def test_the_end_of_a_loop_meets_its_start(world, full_passes):
    """Its last 6 frames are imagined between its sixth and, once more, its first."""
    video = loop(world, PROMPT, frames=12, seed=1)
    x, tau = full_passes[0].x[0], full_passes[0].tau[0]
    assert tau.tolist() == pytest.approx([KNOWN_TAU] * 5 + [0] * 6 + [KNOWN_TAU] * 5)
    shown = world.decode(x).numpy()
    for place, frame in ((4, 5), (11, 0)):  # given frames are a little noisy
        nearest = min(range(12), key=lambda i: gap(shown[place], video[i]))
        assert nearest == frame


def test_an_edit_of_no_strength_is_the_tokenizers_round_trip(world, video):
    made = edit(world, video, PROMPT, strength=0)
    assert np.abs(made.astype(int) - round_trip(world, video)).max() <= 1


def test_an_edit_begins_with_the_film_under_as_much_noise_as_it_is_strong(
    world, video, monkeypatch
):
    """On the straight path at signal level 0.75, with the last quarter of the 16 steps to go."""
    drafts, run = [], Rollout._pass
    monkeypatch.setattr(
        Rollout,
        "_pass",
        lambda self, draft, *a, **k: drafts.append(draft) or run(self, draft, *a, **k),
    )
    edit(world, video, PROMPT, strength=0.25)
    assert len(drafts) == 4 * len(video)
    assert [draft.tau.item() for draft in drafts[:4]] == [12 / 16, 13 / 16, 14 / 16, 15 / 16]
    first = torch.cat([draft.x[0] for draft in drafts[::4]])
    noise = (first - 0.75 * world.encode(video)) / 0.25
    assert noise.mean() == pytest.approx(0, abs=0.1) and noise.std() == pytest.approx(1, abs=0.1)


def test_a_weak_edit_in_one_step_changes_something(world, video):
    still = edit(world, video, PROMPT, strength=0)
    assert (edit(world, video, PROMPT, strength=0.3, sampler_steps=1) != still).any()


def test_an_edit_of_full_strength_forgets_the_film(world, video):
    other = np.full_like(video, 200)
    assert (edit(world, video, PROMPT, strength=1) == edit(world, other, PROMPT, strength=1)).all()


def test_a_long_film_can_be_edited_and_its_length_stays(world, video):
    assert is_film(edit(world, np.concatenate([video, video]), PROMPT, strength=0.5), 20)


def test_chance_has_no_say_in_what_is_imagined_at_once(world, video):
    """It is learned where frames follow one another, one step each, and read nowhere else."""
    known = np.zeros(len(video), bool)
    known[0] = True
    made = [infill(world, video, known, sampler_steps=1, variety=v, seed=3) for v in (0.0, 1.0)]
    np.testing.assert_array_equal(*made)
    was = world.dynamics.near.chance.weight.data.clone()
    try:
        world.dynamics.near.chance.weight.data.mul_(100)
        np.testing.assert_array_equal(made[0], infill(world, video, known, sampler_steps=1, seed=3))
    finally:
        world.dynamics.near.chance.weight.data.copy_(was)


def test_a_world_of_discrete_actions_makes_films(video):
    world = make_tiny_world(spaces.Discrete(3))
    assert is_film(text_to_video(world, PROMPT, frames=3), 3)
    assert is_film(extend(world, video, after=2, actions=[0, 2], before=1), 13)
    with pytest.raises((TypeError, ValueError), match="must"):
        extend(world, video, after=2, actions=[0, 3])


def test_a_film_takes_whole_actions_never_a_mean_of_choices(monkeypatch):
    """A third of each of three choices is none that a world has seen."""
    taken, step = [], Rollout.step
    monkeypatch.setattr(
        Rollout,
        "step",
        lambda self, action, *rest: (taken.append(action), step(self, action, *rest))[1],
    )
    text_to_video(make_tiny_world(spaces.Discrete(3)), PROMPT, frames=3)
    assert taken and all(sorted(row) == [-1, -1, 1] for row in torch.cat(taken).tolist())


FLOAT = np.zeros((4, 32, 32, 3), np.float32)
OK = np.zeros((4, 32, 32, 3), np.uint8)
ACTION = DRIVE.low
WRONG = {
    "no frames": (lambda w: text_to_video(w, "", frames=0), "`frames` must be .* got 0"),
    "part of a frame": (lambda w: text_to_video(w, "", frames=2.5), "`frames` must be a whole"),
    "mode": (lambda w: text_to_video(w, "", mode="fast"), "`mode` must be one of causal, full"),
    "size": (lambda w: text_to_video(w, "", size=(30, 32)), "multiples of 8, got 32x30"),
    "size, one number": (lambda w: text_to_video(w, "", size=32), r"`size` must be \(h, w\)"),
    "frames": (lambda w: text_to_video(w, "", frames=None), "`frames` must be a whole number"),
    "actions, one number": (
        lambda w: text_to_video(w, "", frames=4, actions=3), "`actions` must be a sequence",
    ),
    "few actions": (
        lambda w: text_to_video(w, "", frames=4, actions=[ACTION]),
        "`actions` must hold one action per transition, 3 here, got 1",
    ),
    "action out of bounds": (
        lambda w: text_to_video(w, "", frames=2, actions=[ACTION + 5]), "must lie within Box",
    ),
    "image": (lambda w: image_to_video(w, OK), r"`image` must be \(h, w, 3\)"),
    "float image": (lambda w: image_to_video(w, FLOAT[0]), "must be uint8"),
    "image size": (lambda w: image_to_video(w, OK[0, :30]), "multiples of 8, got 32x30"),
    "float video": (lambda w: extend(w, FLOAT, after=1), "must be uint8.*got float32"),
    "empty video": (lambda w: extend(w, OK[:0], after=1), "t >= 1"),
    "one frame as video": (lambda w: extend(w, OK[0], after=1), r"must be uint8 \(t, h, w, 3\)"),
    "before": (lambda w: extend(w, OK, before=-1), "`before` must be at least 0, got -1"),
    "after": (lambda w: extend(w, OK, after=-1), "`after` must be at least 0, got -1"),
    "video actions": (
        lambda w: extend(w, OK, after=1, video_actions=[]), "`video_actions` must hold .* 3 here",
    ),
    "mask of numbers": (lambda w: infill(w, OK, np.ones(4)), "`known` must be bool .*float64"),
    "mask of another length": (lambda w: infill(w, OK, np.ones(3, bool)), "`known` must be bool"),
    "mask of another size": (
        lambda w: infill(w, OK, np.ones((4, 16, 16), bool)), r"regions, got bool \(4, 16, 16\)",
    ),
    "short loop": (lambda w: loop(w, frames=3), "`frames` must be at least 4, got 3"),
    "strength": (lambda w: edit(w, OK, "", strength=1.5), "`strength` must be a share .*, got 1.5"),
    "strength, percent": (lambda w: edit(w, OK, "", strength=60), "must be a share .*, got 60"),
    "sampler steps": (lambda w: loop(w, frames=4, sampler_steps=32), "power of two up to 16"),
    "guidance": (lambda w: edit(w, OK, "", guidance=float("nan")), "`guidance` must be"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense_is_refused_with_a_way_out(world, name, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("work began")

    for method in ("forward", "step"):
        monkeypatch.setattr(world.dynamics, method, refuse)
    call, message = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=message):
        call(world)


@pytest.mark.parametrize("prompt", [7, ["a road"], b"a road"])
def test_a_prompt_that_is_no_text_is_refused(world, video, prompt):
    for call in (
        lambda: text_to_video(world, prompt),
        lambda: image_to_video(world, video[0], prompt),
        lambda: extend(world, video, after=1, prompt=prompt),
        lambda: infill(world, video, np.ones(10, bool), prompt=prompt),
        lambda: loop(world, prompt),
        lambda: edit(world, video, prompt),
    ):
        with pytest.raises(TypeError, match="`prompt` must be a str or None, got"):
            call()


def test_an_unknown_setting_is_refused(world):
    with pytest.raises(TypeError, match="speed"):
        text_to_video(world, PROMPT, speed=2)


def test_a_loop_may_begin_with_a_recorded_start(world):
    made = loop(world, PROMPT, frames=8, start=1)
    start = world.decode(world.starts.latents[1][-1:]).cpu().numpy()[0]
    assert is_film(made, 8) and np.abs(np.float32(made[0]) - np.float32(start)).max() <= 2


def test_a_film_takes_the_name_of_a_world(tiny_world_path):
    assert is_film(text_to_video(tiny_world_path, PROMPT, frames=2), 2)
    with pytest.raises(TypeError, match="a film takes seed, .*, got steps"):
        text_to_video(tiny_world_path, PROMPT, frames=2, steps=4)


# the command


def test_a_prompt_begins_with_the_nearest_start_unless_from_nothing(tiny_world_path, tmp_path):
    films = {}
    for nothing in ("false", "true"):
        out = tmp_path / f"{nothing}.mp4"
        words = [f"world={tiny_world_path}", f"prompt={PROMPT}", "frames=3", f"nothing={nothing}"]
        assert main(["generate", *words, f"out={out}"]) == 0
        films[nothing] = read_video(out)
    world = load(tiny_world_path)
    start = world.decode(world.starts.latents[world.nearest_start(PROMPT), -1:].float()).numpy()
    near, far = (gap(film[:1].mean(-1), start.mean(-1)) for film in films.values())
    assert all(is_film(film, 3) for film in films.values()) and 1.5 * near < far, (near, far)


@pytest.mark.parametrize("size", [None, (32, 64)])
def test_pictures_and_films_are_cut_to_the_worlds_size(tiny_world_path, video, tmp_path, size):
    """At another size a world draws what it has never seen."""
    write_image(tmp_path / "wide.png", np.repeat(video[0].repeat(3, 0), 7, 1))
    write_video(tmp_path / "wide.mp4", np.repeat(video.repeat(3, 1), 7, 2), 10)
    chosen = [f"size={size[1]}x{size[0]}"] if size else []
    for words in (
        ["task=image", f"image={tmp_path / 'wide.png'}", "frames=3"],
        ["task=extend", f"video={tmp_path / 'wide.mp4'}", "after=1"],
    ):
        out = tmp_path / "out.mp4"
        given = [f"world={tiny_world_path}", f"prompt={PROMPT}", f"out={out}"]
        assert main(["generate", *words, *given, *chosen]) == 0
        assert read_video(out).shape[1:3] == (size or (32, 32))
        assert main(["generate", *words, *given, *chosen, "scale=3"]) == 0
        h, w = size or (32, 32)
        assert read_video(out).shape[1:3] == (3 * h, 3 * w)
