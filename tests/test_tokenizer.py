"""Frames to latents and back."""

import pytest
import torch

from worldsim.tokenizer import Tokenizer, TokenizerConfig


def make_tokenizer(stride: int) -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(TokenizerConfig(width=16, blocks=1, channels=4, stride=stride)).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(4)


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("h, w", [(32, 32), (64, 96), (96, 64)])
def test_any_frame_size_of_whole_cells_comes_back_as_it_went(stride, h, w):
    tokenizer = make_tokenizer(stride)
    frames = torch.randint(0, 256, (2, 3, h, w, 3), dtype=torch.uint8)
    latents = tokenizer.encode(frames)
    assert latents.shape == (2, 3, 4, h // stride, w // stride)
    assert tokenizer.decode(latents).shape == frames.shape
    assert tokenizer.decode(latents).dtype == torch.uint8


def test_a_size_that_cells_do_not_fill_is_refused_with_the_nearest(tokenizer):
    with pytest.raises(ValueError, match=r"multiples of 4, got 38x62; resize to 36x60"):
        tokenizer.encode(torch.zeros(62, 38, 3, dtype=torch.uint8))


def test_statistics_standardise_latents(tokenizer):
    frames = torch.randint(0, 256, (64, 32, 32, 3), dtype=torch.uint8)
    tokenizer.fit_statistics(frames)
    latents = tokenizer.encode(frames).detach()
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), atol=1e-2, rtol=0)


def test_it_learns_a_picture():
    torch.manual_seed(0)
    tokenizer = Tokenizer(TokenizerConfig(width=32, blocks=1))
    frame = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    frame[:, 8:24, 4:20] = torch.tensor([200, 60, 30], dtype=torch.uint8)
    optimizer = torch.optim.Adam(tokenizer.parameters(), 3e-3)
    for _ in range(60):
        loss, metrics = tokenizer.loss(frame)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert metrics["psnr"] > 22


def test_sensitivity_tells_what_an_error_of_the_latents_does_to_pixels(tokenizer):
    """Against finite differences along random errors, the same for every cell alone."""
    g = torch.Generator().manual_seed(0)
    latents = torch.randn(4, 4, 4, 4, generator=g)
    metric = tokenizer.sensitivity(latents, draws=512)
    assert metric.trace().item() == pytest.approx(4) and torch.equal(metric, metric.mT)

    def pixels(z):
        mean, std = (part.view(-1, 1, 1) for part in (tokenizer.latent_mean, tokenizer.latent_std))
        return tokenizer.decoder(z * std + mean)

    told, seen = [], []
    with torch.no_grad():
        for error in torch.randn(12, 4, generator=g):
            told.append((error @ metric @ error).item())
            alone = torch.zeros(16, *latents.shape)
            for cell in range(16):
                alone[cell, :, :, cell // 4, cell % 4] = 1e-2 * error
            moved = pixels((latents + alone).flatten(0, 1)).unflatten(0, (16, 4)) - pixels(latents)
            seen.append(moved.square().sum().item())
    told, seen = torch.tensor(told), torch.tensor(seen)
    torch.testing.assert_close(told / told.mean(), seen / seen.mean(), rtol=0.15, atol=0)
