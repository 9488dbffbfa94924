"""The U-Net: any size, its measured receptive field, its pooling plan, its exact rearrangements."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noisewise.nets.standardized import Standardized
from noisewise.nets.unet import BlurPool, UNet, depth_to_space, pooling_plan, space_to_depth
from noisewise.predict.receptive_field import receptive_radius

FORMS = {
    "classic": {"features": 4},
    "n2v2": {"features": 4, "pool": "blur", "top_skip": False},
    "fast": {"features": 4, "growth": 1.0, "blocks": 1, "pool": "conv", "merge": "add"},
}


def make(form: str, dims: int, stem: bool = False) -> UNet:
    factor = (1, 2, 2)[-dims:]
    torch.manual_seed(0)
    return UNet(pools=[factor, factor], stem=factor if stem else None, **FORMS[form])  # type: ignore[arg-type]


def wrapped(net: UNet) -> Standardized:
    return Standardized(net, net.dims, [0.0], [1.0], [0.0], [1.0])


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_the_output_has_the_size_of_the_input(form: str, data: st.DataObject) -> None:
    dims = data.draw(st.sampled_from([2, 3]))
    size = [data.draw(st.integers(1, 21)) for _ in range(dims)]
    x = torch.randn(1, 1, *size)
    assert make(form, dims, stem=True).eval()(x).shape == x.shape


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stem", [False, True])
def test_the_receptive_field_is_what_autograd_finds(form: str, stem: bool) -> None:
    """Independent of the probe: gradients of random networks extend as far as measured, and never farther."""
    net = make(form, 2, stem).double().eval()
    for parameter in net.parameters():  # residual branches start at zero
        torch.nn.init.normal_(parameter, std=0.5)
    radius = receptive_radius(wrapped(net))
    farthest = 0
    for trial in range(40):
        torch.manual_seed(trial)
        x = torch.randn(1, 1, 128, 8 * net.stride[1], dtype=torch.float64, requires_grad=True)
        at = 56 + trial % net.stride[0]
        net(x)[0, 0, at].sum().backward()
        rows = x.grad.abs().amax((0, 1, 3)).nonzero()[:, 0]  # type: ignore[union-attr]
        farthest = max(farthest, int((rows - at).abs().max()))
    assert farthest <= radius[0]
    assert farthest >= radius[0] - 2


def test_the_classic_form_has_the_weights_of_the_n2v_network() -> None:
    """Two levels, 32 features, batch norm: counted by hand from the layer sizes."""
    layers = [(1, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 64), (128, 64), (64, 32), (64, 32), (32, 32)]
    expected = sum(9 * a * b + b + 2 * b for a, b in layers) + 32 + 1
    net = UNet(pools=[(2, 2), (2, 2)], features=32)
    assert sum(p.numel() for p in net.parameters()) == expected


@given(st.sampled_from([(2, 2), (1, 2, 2), (2, 2, 2)]), st.integers(1, 3))
def test_space_to_depth_and_back(factor: tuple[int, ...], channels: int) -> None:
    x = torch.randn(2, channels, *(4 * f for f in factor))
    folded = space_to_depth(x, factor)
    assert torch.equal(depth_to_space(folded, factor), x)
    if len(factor) == 2 and channels == 1:
        assert torch.equal(folded, torch.nn.functional.pixel_unshuffle(x, 2))


def test_blur_pool_keeps_a_constant_and_halves() -> None:
    pool = BlurPool(3, (1, 2, 2))
    x = torch.full((1, 3, 3, 8, 6), 2.5)
    assert torch.allclose(pool(x), torch.full((1, 3, 3, 4, 3), 2.5))


def test_blur_pool_shifts_less_than_max_pool() -> None:
    """Its reason to exist: pooling a signal and its shift by one pixel gives more similar results."""
    torch.manual_seed(0)
    x = torch.randn(1, 1, 64, 64)
    shifted = x.roll(1, -1)
    blur, largest = BlurPool(1, (2, 2)), torch.nn.MaxPool2d(2)

    def change(pool: torch.nn.Module) -> float:
        return float((pool(x) - pool(shifted)).var() / pool(x).var())

    assert change(blur) < 0.5 * change(largest)


@pytest.mark.parametrize(
    ("spacing", "size", "expected"),
    [
        ((1.0, 1.0), (64, 64), [(2, 2), (2, 2)]),
        ((1.0, 1.0, 1.0), (64, 64, 64), [(2, 2, 2), (2, 2, 2)]),
        ((3.0, 1.0, 1.0), (3, 64, 64), [(1, 2, 2), (1, 2, 2)]),  # three thin slices are never pooled
        ((2.0, 1.0, 1.0), (64, 64, 64), [(1, 2, 2), (2, 2, 2)]),  # cubes after one level
    ],
)
def test_pooling_follows_the_voxel_size(spacing, size, expected) -> None:  # type: ignore[no-untyped-def]
    assert list(pooling_plan(spacing, size, 2)) == expected
