"""Rotary positions and attention."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F

from worldsim.nn import Conv2d, SpaceAttention, attend, fused, norm, rotate, rotation


def test_rotated_products_depend_on_distance_alone_even_far_out():
    q, k = torch.randn(2, 1, 8)
    near = [rotate(v, rotation(torch.tensor([p]), 4, 100.0)) for v, p in ((q, 5), (k, 2))]
    far = [
        rotate(v, rotation(torch.tensor([p]), 4, 100.0))
        for v, p in ((q, 1_000_005), (k, 1_000_002))
    ]
    torch.testing.assert_close(
        (near[0] * near[1]).sum(), (far[0] * far[1]).sum(), atol=1e-5, rtol=1e-5
    )


def test_rotation_keeps_lengths_and_position_zero_turns_nothing():
    x = torch.randn(3, 8)
    turned = rotate(x, rotation(torch.tensor([0, 7, 123]), 4, 100.0))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turned[0], x[0])


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_attention_equals_torch_with_grouped_heads(kv_heads):
    q, k, v = (
        torch.randn(2, 4, 5, 8),
        torch.randn(2, kv_heads, 7, 8),
        torch.randn(2, kv_heads, 7, 8),
    )
    mask = torch.rand(2, 1, 5, 7) > 0.3
    mask[..., 0] = True
    groups = 4 // kv_heads
    k4, v4 = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    expected = F.scaled_dot_product_attention(q, k4, v4, mask, scale=1.0)
    torch.testing.assert_close(attend(q, k, v, mask), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [None, (6, 10), (1, 10), (2, 1, 6, 10), (2, 1, 1, 10)])
@pytest.mark.parametrize("kv_heads", [8, 4, 1])
def test_a_gpu_attends_as_a_cpu_does(shape, kv_heads):
    """Heads that share keys ask one after the other there."""
    q, k, v = torch.randn(2, 8, 6, 16), *torch.randn(2, 2, kv_heads, 10, 16)
    mask = None if shape is None else torch.rand(shape) < 0.7
    if mask is not None:
        mask[..., 0] = True
    groups = 8 // kv_heads
    torch.testing.assert_close(fused(q, k, v, mask, groups), attend(q, k, v, mask))


def test_temperature_is_learned_and_not_divided_again():
    """Scores are `scale * cos(q, k)`: QK-norm and 1 / sqrt(d) both would flatten them."""
    layer = SpaceAttention(16, 2, 2)
    x = torch.randn(1, 1, 3, 16)
    still = rotation(torch.zeros(3), 4, 100.0)
    q, k, _ = layer.project(x, still, "b t heads n dh")
    raw_q, raw_k, _ = layer.qkv(x).unflatten(-1, (3, 2, 8)).unbind(-3)
    cosine = F.cosine_similarity(raw_q[0, 0, 0, 0], raw_k[0, 0, 1, 0], dim=0)
    score = q[0, 0, 0, 0] @ k[0, 0, 0, 1]
    torch.testing.assert_close(score, layer.scale[0, 0, 0] * cosine, atol=1e-4, rtol=1e-4)


def test_norm_gives_unit_root_mean_square():
    torch.testing.assert_close(norm(torch.randn(5, 32) * 9).square().mean(-1), torch.ones(5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_convolution_is_the_same_one_and_follows_its_weights(dtype):
    layer, x = Conv2d(16, 24, 3, padding=1).to(dtype), torch.randn(2, 16, 8, 8, dtype=dtype)
    for _ in range(2):
        with torch.no_grad():
            packed = deepcopy(layer)(x), layer(x)
            expected = F.conv2d(x, layer.weight, layer.bias, padding=1)
            layer.weight.mul_(-2)  # as a training or a load does
        for one in packed:
            torch.testing.assert_close(one, expected)
