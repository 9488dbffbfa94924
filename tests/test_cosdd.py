"""COSDD: a likelihood with causal context along one axis, signals from a code, and row noise that is removed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import noisewise as nw
from noisewise.axes import Layout, Symmetry
from noisewise.data.images import TrainingImage
from noisewise.data.patches import PatchSource
from noisewise.io import open_source
from noisewise.methods._ladder import parts
from noisewise.methods.cosdd import COSDD
from noisewise.noise.models.autoregressive import Autoregressive
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gaussian import Gaussian
from noisewise.predict.run import flips_and_rotations
from noisewise.testing.worlds import GaussianWorld, decibel_gap

from .conftest import image_spec, random_weights

SMALL = {
    "features": 24, "reading": 24, "width": 32, "latent": 16, "blocks": 1, "levels": 2, "patch_size": 32,
    "batch_size": 4, "learning_rate": 4e-3,
}  # fmt: skip
UNSUPERVISED = {"synthetic_weight": 0.0, "self_weight": 0.0, "pretrained": False}
ROWS = Correlated(Gaussian(10.0), row_kernel=6.0)
COLUMNS = Correlated(Gaussian(10.0), column_kernel=6.0)


def small_ladder(noise_model, dims=2, **settings):
    """The ladder of a small network in which no weight is zero."""
    method = COSDD(reading=8, width=8, latent=4, levels=2, features=8, **settings)
    return parts(random_weights(method.build(image_spec(dims), [noise_model]))).ladder


@pytest.mark.parametrize(
    ("noise_model", "axis"),
    [
        (ROWS, "X"),
        (COLUMNS, "Y"),
        (Gaussian(3.0), "X"),
        (Correlated(Gaussian(3.0), row_kernel=2.0, column_kernel=2.0), "YX"),
    ],
)
def test_the_axis_is_that_of_the_measured_noise(noise_model, axis):
    method = COSDD()
    assert method.along((noise_model,)) == axis
    assert method.traits.symmetry((noise_model,), 2) == Symmetry(swap_yx=False, no_flip_axes=axis)
    assert COSDD(axis="Y").along((noise_model,)) == "Y"


@pytest.mark.parametrize(("noise_model", "moved"), [(ROWS, (0, 1)), (COLUMNS, (1, 0))])
def test_given_the_code_a_pixel_depends_on_its_causal_context_alone(noise_model, moved):
    ladder = small_ladder(noise_model, context=6)
    x, code = torch.randn(1, 1, 24, 24), torch.randn(1, 16, 24, 24)
    x.requires_grad_(True)
    ladder.log_prob(x, code)[0, 0, 12, 12].backward()
    seen = {tuple(offset) for offset in (x.grad[0, 0].nonzero() - 12).tolist()}
    assert seen == {(-step * moved[0], -step * moved[1]) for step in range(7)}


def test_the_likelihood_is_a_density():
    """Its integral over the values of one pixel is one, whatever the pixels before it are."""
    ladder = small_ladder(ROWS)
    values = torch.linspace(-30, 30, 6001)
    x = torch.randn(1, 1, 1, 9).expand(6001, 1, 1, 9).clone()
    x[:, 0, 0, -1] = values
    with torch.no_grad():
        likely = ladder.log_prob(x, torch.randn(1, 16, 1, 9).expand(6001, 16, 1, 9))[:, 0, 0, -1]
    assert float(torch.trapezoid(likely.exp(), values)) == pytest.approx(1.0, abs=1e-3)


def test_the_signal_is_predicted_from_the_code_without_a_gradient_to_it():
    ladder = small_ladder(ROWS)
    code = torch.randn(2, 16, 12, 12, requires_grad=True)
    assert ladder.signal(code.detach()).requires_grad and ladder.signal(code).shape == (2, 1, 12, 12)
    assert small_ladder(ROWS, dims=3).dims == 3


def test_images_are_mirrored_across_the_noise_axis_and_not_along_it():
    image = np.arange(64 * 70, dtype=np.float32).reshape(64, 70)
    data = PatchSource(
        [TrainingImage(open_source(image), Layout("YX", "YX"))], (16, 16), 2, seed=0, memory_bytes=1e9,
        device=torch.device("cpu"), symmetry=Symmetry(swap_yx=False, no_flip_axes="X"),
    )  # fmt: skip
    drawn = [data.draw(step).noisy for step in range(40)]
    assert {float(step) for d in drawn for step in (d[..., 1:] - d[..., :-1]).flatten()} == {1.0}
    assert {float(step) for d in drawn for step in (d[..., 1:, :] - d[..., :-1, :]).flatten()} == {70.0, -70.0}
    image = torch.tensor([[1, 2], [3, 4]])
    kept = [transform(image).tolist() for transform, _ in flips_and_rotations((False,), "X")]
    assert kept == [[[1, 2], [3, 4]], [[3, 4], [1, 2]]]
    assert [len(list(flips_and_rotations(no_flip_axes=axes))) for axes in ("", "X", "YX")] == [8, 4, 2]
    assert Autoregressive(Gaussian(1.0), torch.empty(0), "Y").no_flip_axes == "Y"


@pytest.mark.parametrize("name", ["cosdd", "hdn"])
def test_noise_along_x_is_removed_from_images_alone(name):
    """Nearer the exact posterior than the best estimate that takes the noise for white, in closed form.

    Wiener's filter for white noise, G = P / (P + σ²), leaves the power (1 − G)² P + G² N.
    """
    falling = [0.8**lag for lag in range(6)]
    world = GaussianWorld(side=128, border=24, kernel=((*falling[:0:-1], *falling),))
    noisy = world.draw(16, 1)[1].numpy()
    signal, unseen = world.draw(4, 2)
    exact = world.posterior(unseen).mean
    inner = (slice(None), *[slice(world.border, -world.border)] * 2)
    model = nw.train(name, noisy, noise=world.noise, steps=160, **UNSUPERVISED, **SMALL)
    found = torch.from_numpy(model.predict(unseen.numpy(), average=False).mean)
    gain = world.power / (world.power + world.sigma**2)
    white = ((1 - gain) ** 2 * world.power + gain**2 * world.noise_power).mean() / world.residual_power.mean()
    gap = decibel_gap((found - signal)[inner], (exact - signal)[inner])
    assert gap < 10 * math.log10(white) - 0.5
