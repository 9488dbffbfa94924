"""Specks are taken away from results, and nothing else; the check of finished results finds them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter
from torch import Tensor

import noisewise as nw
from noisewise import methods
from noisewise.evaluate.finished import LIMITS, specks
from noisewise.methods.base import ImageSpec
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.specks import SMOOTH, WHITE, Speck, median_along, without_specks
from noisewise.scenes import draw

STD = torch.tensor(10.0)
PLACES = ((20, 30), (40, 41), (70, 12))


def smooth_plane() -> Tensor:
    """A smooth image with faint ripples, as denoisers leave them."""
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(80.0), indexing="ij")
    return (100 + 50 * torch.sin(y / 25) * torch.cos(x / 19) + 0.1 * torch.cos(1.7 * x + 0.9 * y))[None, None]


def with_specks(plane: Tensor, height: float) -> Tensor:
    changed = plane.clone()
    for y, x in PLACES:
        changed[..., y, x] += height * STD
    return changed


@pytest.mark.parametrize("side", [3, 5])
def test_medians(side: int) -> None:
    image = torch.randn(2, 1, 30, 20, generator=torch.Generator().manual_seed(0))
    for axis, size in ((-2, (1, 1, side, 1)), (-1, (1, 1, 1, side))):
        np.testing.assert_array_equal(
            median_along(image, side, axis), median_filter(image.numpy(), size, mode="nearest")
        )


@pytest.mark.parametrize("kinds", [WHITE, SMOOTH], ids=["white", "smooth"])
def test_specks_are_removed_and_what_noise_cannot_hide_is_kept(kinds: tuple[Speck, ...]) -> None:
    plane = smooth_plane()
    np.testing.assert_allclose(without_specks(plane, STD, kinds), plane, atol=0.06 * float(STD))
    faint = without_specks(with_specks(plane, 0.25), STD, kinds)
    np.testing.assert_allclose(faint, plane, atol=0.1 * float(STD))
    bright = with_specks(plane, 2.0)
    kept = without_specks(bright, STD, kinds)
    assert all(kept[0, 0, y, x] == bright[0, 0, y, x] for y, x in PLACES)


def test_streaks_of_single_pixels_are_removed_where_noise_is_smooth() -> None:
    plane = smooth_plane()
    streaked = plane.clone()
    streaked[..., 50, 20:32] += 0.3 * STD
    np.testing.assert_allclose(without_specks(streaked, STD, SMOOTH), plane, atol=0.06 * float(STD))


def test_detail_of_single_pixels_is_kept_in_white_noise() -> None:
    texture = 10 + torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(1))
    changed = without_specks(texture, STD, WHITE) != texture
    assert float(changed.float().mean()) < 1e-3


def test_the_check_counts_them() -> None:
    plane = smooth_plane()
    none, found = (specks(with_specks(plane, height)[0, 0].double(), STD) for height in (0.0, 0.25))
    assert none.value == 0 and found.value == pytest.approx(1000 * len(PLACES) / plane.numel())
    many = plane.clone()
    many[..., 5::12, 5::12] += 0.25 * STD
    assert specks(many[0, 0].double(), STD).value > LIMITS["specks"]


def test_stacks_lose_specks_plane_by_plane() -> None:
    """A network for stacks that treats each slice on its own gives what the one for planes gives."""
    noise = PoissonGaussian(2.0, 100.0, 3.0)
    image = noise.sample(100 + 50 * draw("nuclei", (64, 64), 2).float(), torch.Generator().manual_seed(0)).float()
    found = []
    for spatial, shape in (("YX", (1, 1, 64, 64)), ("ZYX", (1, 1, 1, 64, 64))):
        spec = ImageSpec(
            spatial=spatial, channels=1, spacing=(1.0,) * len(spatial), size=shape[2:], mean=(float(image.mean()),),
            std=(float(image.std()),), target_mean=(1.0,), target_std=(1.0,),
        )  # fmt: skip
        method = methods.get("simulated")(spatial=spatial)
        net = method.build(spec, [noise]).eval()
        with torch.no_grad():
            found.append(method.posterior(net, image.reshape(shape)).mean.reshape(64, 64))
    torch.testing.assert_close(*found, rtol=0, atol=1e-2)


def test_results_of_the_packaged_network_have_none() -> None:
    scene = 3 * draw("nuclei", (128, 128), 5).numpy()
    noisy = nw.Camera(gain=2, read_noise=2, offset=100).expose(scene, seed=1)
    result = nw.denoise(noisy, method="simulated", steps=0)
    std = result.model.noise_models[0].mean_var(torch.from_numpy(result.mean).double())[1].sqrt()
    assert specks(torch.from_numpy(result.mean).double(), std).value < LIMITS["specks"]
