"""Measures against known mathematics or a second, naive implementation."""

import math

import numpy as np
import pytest

from worldsim.measuring.metrics import (
    auroc,
    best_lag,
    copy_last,
    f1_score,
    fidelity,
    first_failure,
    frame_statistics,
    frechet_distance,
    gain_interval,
    macro_f1,
    moving_half,
    nearer,
    percentiles,
    psnr,
    r_squared,
    squared_error,
    ssim,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def pixels(rng, *shape):
    return rng.integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_squared_error_is_the_mean_over_pixels_scaled_to_one(rng):
    frames, others = pixels(rng, 2, 5, 8, 6), pixels(rng, 2, 5, 8, 6)
    naive = ((frames / 255 - others / 255) ** 2).mean((-3, -2, -1))
    assert squared_error(frames, others) == pytest.approx(naive, rel=1e-5)


def test_squared_error_does_not_wrap_around_at_black_and_white():
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert squared_error(black, white) == squared_error(white, black) == 1


def test_psnr_is_known_where_every_pixel_is_off_by_one():
    """One level of 255 everywhere: 20 log10(255) = 48.13 dB."""
    frames = np.full((1, 8, 8, 3), 100, np.uint8)
    error = squared_error(frames, frames + np.uint8(1))
    assert psnr(error)[0] == pytest.approx(20 * math.log10(255), abs=1e-4)


def test_psnr_of_a_perfect_frame_is_high_and_finite():
    """The cap lies far above what 8 bits can tell, so means and plots survive."""
    assert psnr(0.0) == pytest.approx(100)


def naive_ssim(x, y):
    """Eq. 13 of Wang et al. in float64, one window of 11 x 11 at a time."""
    taps = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    weights = np.outer(taps, taps) / taps.sum() ** 2
    x, y, scores = x / 255, y / 255, []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            for c in range(3):
                a, b = x[i : i + 11, j : j + 11, c], y[i : i + 11, j : j + 11, c]
                ma, mb = (weights * a).sum(), (weights * b).sum()
                va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
                vab = (weights * (a - ma) * (b - mb)).sum()
                top = (2 * ma * mb + 1e-4) * (2 * vab + 9e-4)
                scores.append(top / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    return np.mean(scores)


def test_ssim_equals_a_naive_one(rng):
    frames = pixels(rng, 2, 16, 14)
    others = np.clip(frames + rng.normal(0, 30, frames.shape), 0, 255).astype(np.uint8)
    naive = [naive_ssim(x, y) for x, y in zip(frames, others, strict=True)]
    assert ssim(frames, others) == pytest.approx(naive, abs=1e-4)


def test_ssim_of_a_frame_with_itself_is_one(rng):
    frames = pixels(rng, 3, 16, 16)
    assert ssim(frames, frames) == pytest.approx(np.ones(3), abs=1e-5)


def test_frames_too_small_for_the_window_of_ssim_are_refused():
    small = np.zeros((1, 8, 16, 3), np.uint8)
    with pytest.raises(ValueError, match="at least 11 pixels a side, got 16x8"):
        ssim(small, small)


def test_copy_last_repeats_the_last_given_frame_for_every_action_left(rng):
    frames = pixels(rng, 2, 5, 4, 4)
    made = copy_last(frames, np.zeros((2, 4 + 3, 1)))
    assert made.shape == (2, 3, 4, 4, 3)
    assert (made == frames[:, -1:]).all()


def test_errors_are_pooled_over_clips_before_the_logarithm():
    """Errors 1e-4 and 1e-2 pool to 22.97 dB; the mean of their PSNRs would be a kinder 30."""
    table = fidelity(np.array([[1e-4], [1e-2]]), np.full((2, 1), 1e-1), [1])
    assert table[1]["psnr"] == pytest.approx(-10 * math.log10(0.00505))
    assert table[1]["copy"] == pytest.approx(10)
    assert table[1]["gain"] == pytest.approx(table[1]["psnr"] - 10)


def test_the_moving_half_is_the_clips_whose_copy_error_is_above_the_median():
    copy = np.array([0.1, 0.4, 0.2, 0.3])
    assert moving_half(copy).tolist() == [False, True, False, True]
    row = fidelity(np.array([[1.0], [0.01], [1.0], [0.03]]), copy[:, None], [1])[1]
    assert row["moving_psnr"] == pytest.approx(-10 * math.log10(0.02))
    assert row["moving_copy"] == pytest.approx(-10 * math.log10(0.35))


def test_the_moving_half_is_chosen_anew_at_each_horizon():
    copy = np.array([[0.1, 0.4], [0.2, 0.3]])
    table = fidelity(np.array([[0.5, 0.01], [0.01, 0.5]]), copy, [1, 2])
    assert table[1]["moving_psnr"] == table[2]["moving_psnr"] == pytest.approx(20)


def test_clips_that_are_all_alike_have_no_moving_half():
    row = fidelity(np.full((3, 1), 0.1), np.full((3, 1), 0.1), [1])[1]
    assert row["gain"] == 0 and "moving_gain" not in row


def test_where_nothing_moves_there_is_no_gain():
    """Copying is right there: "-80 dB" was averaged with what moved."""
    row = fidelity(np.full((3, 1), 0.1), np.zeros((3, 1)), [1])[1]
    assert row["psnr"] == pytest.approx(10) and "gain" not in row


def test_the_gain_lies_in_its_interval_which_is_wide_where_episodes_differ(rng):
    error, episode = rng.uniform(0.01, 0.02, 64), np.arange(64) // 4
    for copy, width in ((error * 2, 0), (error * rng.uniform(1, 3, 64)[4 * episode], 1)):
        low, high = gain_interval(error, copy, episode)
        gain = 10 * np.log10(copy.mean() / error.mean())
        assert low <= gain + 1e-9 and gain - 1e-9 <= high and (high - low > 0.2) == bool(width)


def test_a_tie_is_half_a_win():
    assert nearer(np.array([1.0, 2, 3]), np.array([2.0, 2, 2])).tolist() == [1, 0.5, 0]


def test_horizons_beyond_the_prediction_are_left_out():
    assert list(fidelity(np.ones((2, 4)), np.ones((2, 4)), [1, 4, 5])) == [1, 4]


def test_r_squared_of_a_line_is_the_squared_correlation(rng):
    """For a least-squares line the explained share equals the squared correlation."""
    x = rng.normal(size=200)
    y = 3 * x + rng.normal(size=200)
    slope, offset = np.polyfit(x, y, 1)
    assert r_squared(slope * x + offset, y) == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)


def test_r_squared_of_the_mean_is_zero_and_of_the_truth_one(rng):
    y = rng.normal(size=50)
    assert r_squared(np.full(50, y.mean()), y) == pytest.approx(0)
    assert r_squared(y, y) == 1


def test_f1_is_the_harmonic_mean_of_precision_and_recall(rng):
    predicted, real = rng.random(100) < 0.3, rng.random(100) < 0.4
    precision, recall = real[predicted].mean(), predicted[real].mean()
    naive = 2 * precision * recall / (precision + recall)
    assert f1_score(predicted, real) == pytest.approx(naive)


def test_f1_of_nothing_is_unknown():
    nothing = np.zeros(3, bool)
    assert math.isnan(f1_score(nothing, nothing))
    assert f1_score(~nothing, nothing) == 0


def test_macro_f1_counts_every_class_that_occurs_alike():
    """Class 0: 2 of 2 found, one false: 4/5. Class 1: 1 of 2 found: 2/3. Class 2: none: 0."""
    real, read = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 1, 0, 1])
    assert macro_f1(read, real) == pytest.approx((4 / 5 + 1 / 2 + 0) / 3)


@pytest.mark.parametrize("lag", [-2, -1, 0, 1, 2])
def test_a_series_that_runs_late_has_a_positive_lag(rng, lag):
    signal = rng.normal(size=(4, 40))
    late = np.roll(signal, lag, 1)
    assert best_lag(late[:, 3:-3], signal[:, 3:-3]) == lag


def test_a_series_without_variation_has_lag_zero():
    assert best_lag(np.zeros((2, 8)), np.zeros((2, 8))) == 0


def test_percentiles_are_in_milliseconds():
    found = percentiles(np.arange(101) / 1000)
    assert found == pytest.approx({"p50_ms": 50, "p95_ms": 95, "p99_ms": 99})


def test_frechet_distance_of_shifted_features_is_the_squared_shift(rng):
    features = rng.normal(size=(500, 4))
    shift = np.array([1.0, 0, -2, 0])
    assert frechet_distance(features, features + shift) == pytest.approx(5)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_independent_columns_is_that_of_their_spreads(rng):
    """With diagonal covariances it is |m1 - m2|^2 + sum (s1 - s2)^2."""
    features = rng.normal(size=(300, 4))
    unit, _ = np.linalg.qr(features - features.mean(0))  # mean zero, no correlation
    unit /= unit.std(0, ddof=1)
    first, second = np.array([1.0, 2, 3, 4]), np.array([2.0, 2, 1, 0.5])
    expected = np.square(first - second).sum()
    assert frechet_distance(unit * first, unit * second) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_equals_one_by_matrix_square_roots(rng):
    mix = rng.normal(size=(3, 3))
    first, second = rng.normal(size=(80, 3)) @ mix, rng.normal(size=(90, 3)) + 0.5

    def root(matrix):
        values, vectors = np.linalg.eigh(matrix)
        return vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T

    a, b = np.cov(first.T), np.cov(second.T)
    middle = root(root(a) @ b @ root(a))
    naive = np.square(first.mean(0) - second.mean(0)).sum() + np.trace(a + b - 2 * middle)
    assert frechet_distance(first, second) == pytest.approx(naive)


def test_frechet_distance_takes_a_single_feature():
    x = np.array([[0.0], [2.0]])
    assert frechet_distance(x, x + 3) == pytest.approx(9)


def test_frame_statistics_are_means_spreads_and_sharpness():
    """Left half black, right half pure red: mean 1/2, spread 1/2, one step of 1/3 in 3 columns."""
    frame = np.zeros((1, 4, 4, 3), np.uint8)
    frame[:, :, 2:, 0] = 255
    assert frame_statistics(frame)[0] == pytest.approx([0.5, 0, 0, 0.5, 0, 0, 1 / 9])


def test_a_video_fails_when_a_state_lasts_and_not_for_one_odd_frame():
    low, high = np.array([0.0]), np.array([1.0])
    videos = np.full((3, 20, 1), 0.5)
    videos[1, 7] = 5  # one odd frame
    videos[2, 10:] = 5
    assert first_failure(videos, low, high, window=5).tolist() == [20, 20, 12]


def test_a_video_that_fails_at_its_very_end_has_not_survived():
    """The end of the first bad window once counted as a frame more, which is all frames here."""
    low, high = np.array([0.0]), np.array([1.0])
    videos = np.full((2, 6, 1), 0.5)
    videos[0, 3:] = 5
    videos[1] = 5
    assert first_failure(videos, low, high, window=5).tolist() == [5, 4]
    assert first_failure(videos, low, high, window=100).tolist() == [5, 5]


def test_auroc_is_the_chance_that_true_outscores_false():
    rng = np.random.default_rng(0)
    score, real = rng.integers(0, 6, 40), rng.random(40) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in score[real] for b in score[~real]]
    assert auroc(score, real) == pytest.approx(np.mean(pairs))
    assert auroc(real, real) == 1 and np.isnan(auroc(score, np.ones(40, bool)))
