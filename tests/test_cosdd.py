"""COSDD: the likelihood remembers along one axis and no other, signals come from a code, and rows are taken away."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import noisewise as nw
from noisewise.data.patches import PatchSource
from noisewise.data.images import Layout, Scene
from noisewise.testing.worlds import GaussianWorld, decibel_gap
from noisewise.io import open_source
from noisewise.methods._latent import parts
from noisewise.methods.base import ImageSpec
from noisewise.methods.cosdd import COSDD
from noisewise.noise.models.autoregressive import Autoregressive
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gaussian import Gaussian
from noisewise.predict.run import turns

from .conftest import stirred

SMALL = {"features": 24, "reading": 24, "width": 32, "latent": 16, "blocks": 1, "levels": 2, "patch_size": 48}
SPEC = ImageSpec(
    spatial="YX", channels=1, spacing=(1.0, 1.0), size=(64, 64), mean=(0.0,), std=(1.0,), target_mean=(0.0,),
    target_std=(1.0,),
)  # fmt: skip
ROWS = Correlated(Gaussian(10.0), row_kernel=6.0)
COLUMNS = Correlated(Gaussian(10.0), column_kernel=6.0)


def small_ladder(noise_model, spec=SPEC, **settings):
    """What comes from a code, in a network in which no weight is zero."""
    method = COSDD(reading=8, width=8, latent=4, levels=2, features=8, **settings)
    return parts(stirred(method.build(spec, [noise_model]))).ladder


@pytest.mark.parametrize(
    ("law", "axis"),
    [
        (ROWS, "X"),
        (COLUMNS, "Y"),
        (Gaussian(3.0), "X"),
        (Correlated(Gaussian(3.0), row_kernel=2.0, column_kernel=2.0), "YX"),
    ],
)
def test_the_axis_is_that_of_the_measured_noise(noise_model, axis):
    method = COSDD()
    assert method.along((noise_model,)) == axis and method.no_flip_axes((noise_model,)) == axis and method.anisotropic((noise_model,), 2)
    assert replace(method, axis="Y").along((noise_model,)) == "Y"


@pytest.mark.parametrize(("law", "moved"), [(ROWS, (0, 1)), (COLUMNS, (1, 0))])
def test_given_the_code_a_pixel_is_told_by_those_before_it_on_its_line(noise_model, moved):
    ladder = small_ladder(noise_model, far=6)
    x, code = torch.randn(1, 1, 24, 24), torch.randn(1, 16, 24, 24)
    x.requires_grad_(True)
    ladder.likelihood(x, code)[0, 0, 12, 12].backward()
    seen = {tuple(offset) for offset in (x.grad[0, 0].nonzero() - 12).tolist()}
    assert seen == {(-step * moved[0], -step * moved[1]) for step in range(7)}


def test_the_likelihood_is_a_density():
    """Over the values of one pixel it adds up to one, whatever those before it are."""
    ladder = small_ladder(ROWS)
    values = torch.linspace(-30, 30, 6001)
    x = torch.randn(1, 1, 1, 9).expand(6001, 1, 1, 9).clone()
    x[:, 0, 0, -1] = values
    with torch.no_grad():
        likely = ladder.likelihood(x, torch.randn(1, 16, 1, 9).expand(6001, 16, 1, 9))[:, 0, 0, -1]
    assert float(torch.trapezoid(likely.exp(), values)) == pytest.approx(1.0, abs=1e-3)


def test_the_signal_is_learned_from_the_code_and_shapes_it_not():
    ladder = small_ladder(ROWS)
    code = torch.randn(2, 16, 12, 12, requires_grad=True)
    assert ladder.signal(code.detach()).requires_grad and ladder.signal(code).shape == (2, 1, 12, 12)
    assert small_ladder(ROWS, replace(SPEC, spatial="ZYX", spacing=(1, 1, 1), size=(8, 32, 32))).dims == 3


def test_images_are_mirrored_across_the_noise_and_not_along_it():
    image = np.arange(64 * 70, dtype=np.float32).reshape(64, 70)
    data = PatchSource(
        [Scene(open_source(image), Layout("YX", "YX"))], (16, 16), 2, seed=0, memory_bytes=1e9,
        device=torch.device("cpu"), turned=False, no_flip_axes="X",
    )  # fmt: skip
    drawn = [data.draw(step).noisy for step in range(40)]
    assert {float(step) for d in drawn for step in (d[..., 1:] - d[..., :-1]).flatten()} == {1.0}
    assert {float(step) for d in drawn for step in (d[..., 1:, :] - d[..., :-1, :]).flatten()} == {70.0, -70.0}
    kept = [turn(torch.tensor([[1, 2], [3, 4]])).tolist() for turn, _ in turns((False,), "X")]
    assert kept == [[[1, 2], [3, 4]], [[3, 4], [1, 2]]]
    assert [len(list(turns(no_flip_axes=axes))) for axes in ("", "X", "YX")] == [8, 4, 2]
    assert Autoregressive(Gaussian(1.0), torch.empty(0), "Y").no_flip_axes == "Y"


@pytest.mark.parametrize("name", ["cosdd", "hdn"])
def test_noise_along_x_is_taken_away_by_images_alone(name):
    """Nearer the exact posterior than the best that is possible to whoever takes the noise for white, in closed form.

    Wiener's filter for white noise, G = P / (P + σ²), leaves the power (1 − G)² P + G² N.
    """
    falling = [0.8**lag for lag in range(6)]
    world = GaussianWorld(side=128, border=24, kernel=((*falling[:0:-1], *falling),))
    noisy = world.draw(16, 1)[1].numpy()
    signal, unseen = world.draw(4, 2)
    exact = world.posterior(unseen).mean
    inner = (slice(None), *[slice(world.border, -world.border)] * 2)
    model = nw.train(name, noisy, noise=world.noise, steps=250, drawn=0.0, own=0.0, prior=False, **SMALL)
    found = torch.from_numpy(model.predict(unseen.numpy()).mean)
    gain = world.power / (world.power + world.sigma**2)
    white = ((1 - gain) ** 2 * world.power + gain**2 * world.noise_power).mean() / world.residual_power.mean()
    gap = decibel_gap((found - signal)[inner], (exact - signal)[inner])
    assert gap < 10 * math.log10(white) - 0.5
