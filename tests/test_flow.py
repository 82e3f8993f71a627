"""The noise path, steps along it and shortcut targets, against closed forms."""

import torch

from worldsim.flow import advance, noise_latents, per_frame, shortcut_target, step_size

SHAPE = (2, 3, 1, 2, 2)


def test_path_starts_at_noise_and_ends_at_latents():
    latents, noise = torch.randn(SHAPE), torch.randn(SHAPE)
    tau = torch.tensor([[0.0, 0.5, 1.0]]).expand(2, 3)
    x = noise_latents(latents, noise, tau)
    assert torch.equal(x[:, 0], noise[:, 0])
    torch.testing.assert_close(x[:, 1], (latents[:, 1] + noise[:, 1]) / 2)
    torch.testing.assert_close(x[:, 2], latents[:, 2])


def test_a_step_keeps_the_noise_implied_now_and_not_the_first():
    """A prediction that changes on the way moves the implied noise; the first noise costs 11 dB."""
    d, x = torch.full(SHAPE[:2], 0.25), torch.zeros(SHAPE)
    for k, guess, expected in ((0, 4.0, 1.0), (1, 8.0, 1 + 7 / 3)):
        # by hand: 0 + 1/4 * (4 - 0) = 1; from there (1/4) / (3/4) of the way from 1 to 8
        x = advance(x, torch.full(SHAPE, guess), k * d, d)
        torch.testing.assert_close(x, torch.full(SHAPE, expected))


def test_shortcut_target_is_the_mean_of_two_half_steps():
    """A field that always points at `truth`: one big step must predict `truth` as well."""
    truth, x = torch.randn(SHAPE), torch.randn(SHAPE)
    level = torch.full(SHAPE[:2], 1)
    move = torch.ones(SHAPE[:2], dtype=torch.bool)
    tau = torch.full(SHAPE[:2], 0.5)
    target = shortcut_target(lambda x, tau, level: truth, x, tau, level, move)
    torch.testing.assert_close(target, truth)


def test_shortcut_target_follows_a_bent_field():
    """Naive second implementation: two half steps, their mean velocity, back to x space."""
    x, tau = torch.randn(SHAPE), torch.zeros(SHAPE[:2])
    level, move = torch.zeros(SHAPE[:2]).long(), torch.ones(SHAPE[:2], dtype=torch.bool)
    predict = lambda x, tau, level: x * 0.3 + per_frame(tau)  # noqa: E731
    v1 = predict(x, tau, level) - x
    half = x + 0.5 * v1
    v2 = (predict(half, tau + 0.5, level) - half) / 0.5
    target = shortcut_target(predict, x, tau, level, move)
    torch.testing.assert_close(target, x + (v1 + v2) / 2)


def test_frames_that_do_not_move_keep_their_signal_level_in_both_half_steps():
    move = torch.tensor([[True, False, False]]).expand(2, 3)
    told = []

    def predict(x, tau, level):
        told.append((tau.clone(), x.clone()))
        return x + 1

    x = torch.randn(SHAPE)
    shortcut_target(predict, x, torch.full((2, 3), 0.5), torch.full((2, 3), 1), move)
    assert torch.equal(told[0][0][:, 1:], told[1][0][:, 1:])
    assert torch.equal(told[0][1][:, 1:], told[1][1][:, 1:])
    assert (told[1][0][:, 0] == 0.75).all()


def test_step_sizes_are_powers_of_a_half():
    assert step_size(torch.tensor([0, 1, 4])).tolist() == [1.0, 0.5, 0.0625]


def test_advance_ends_at_the_prediction():
    x, x_hat = torch.randn(SHAPE), torch.randn(SHAPE)
    tau = torch.full(SHAPE[:2], 0.75)
    torch.testing.assert_close(advance(x, x_hat, tau, 1 - tau), x_hat)
