"""The method that learns from drawn scenes: its prior, its photometry, what it says of its doubt."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import noisewise as nw
from noisewise import methods
from noisewise.methods.base import ImageSpec
from noisewise.methods.simulated import PRIOR, Simulated
from noisewise.noise.correlated import Correlated, kernel_of
from noisewise.noise.gaussian import Gaussian
from noisewise.noise.poisson_gaussian import PoissonGaussian

pytestmark = pytest.mark.usefixtures("one_thread")


def spec(dims: int) -> ImageSpec:
    one = (1.0,)
    return ImageSpec(
        spatial="ZYX"[-dims:], channels=1, spacing=(3.0, 1.0, 1.0)[-dims:], size=(4, 64, 64)[-dims:],
        mean=(100.0,), std=(20.0,), target_mean=one, target_std=one,
    )  # fmt: skip


def scene(side: int = 160) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    return 60 + 40 * torch.sin(x / 9) * torch.cos(y / 14) + 60 * ((x - 80) ** 2 + (y - 70) ** 2 < 900)


def test_the_packaged_prior_is_small() -> None:
    assert PRIOR.stat().st_size < 3 << 20


@pytest.mark.parametrize(
    "law",
    [Gaussian(15.0), PoissonGaussian(1.0, 0.0, 0.0), PoissonGaussian(10.0, 20.0, 5.0)],
    ids=["gaussian", "photons", "few photons"],
)
def test_the_prior_denoises_before_any_training(law: torch.nn.Module) -> None:
    signal = scene()
    noisy = law.sample(signal, torch.Generator().manual_seed(0)).numpy()
    method = Simulated()
    own = ImageSpec(**(vars(spec(2)) | {"mean": (float(noisy.mean()),), "std": (float(noisy.std()),)}))
    net = method.build(own, [law]).eval()
    with torch.no_grad():
        found = method.posterior(net, torch.from_numpy(noisy)[None, None])
    mean, std = found.mean[0, 0].numpy(), found.std[0, 0].numpy()
    before, after = np.mean((noisy - signal.numpy()) ** 2), np.mean((mean - signal.numpy()) ** 2)
    assert after < before / 20
    assert mean.mean() == pytest.approx(float(signal.mean()), rel=0.01)  # photometry
    assert 0.5 < np.sqrt(np.mean(std**2) / after) < 2


def test_in_three_dimensions_the_prior_takes_each_slice_for_itself() -> None:
    method, law = Simulated(), Gaussian(10.0)
    flat, deep = (method.build(spec(dims), [law]).eval() for dims in (2, 3))
    x = 100 + 20 * torch.randn(1, 1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = method.posterior(deep, x).mean
        slices = torch.stack([method.posterior(flat, x[:, :, z]).mean for z in range(4)], 2)
    torch.testing.assert_close(whole, slices, rtol=1e-4, atol=1e-2)


def test_correlated_noise_is_taken_off_too() -> None:
    rho = torch.zeros(3, 3)
    rho[0, 0], rho[0, 1], rho[1, 0], rho[1, 1] = 1.0, 0.6, 0.6, 0.36
    law = Correlated(Gaussian(12.0), kernel_of(rho))
    signal = scene()
    noisy = law.sample(signal, torch.Generator().manual_seed(2)).numpy()
    errors = {}
    for name in ("simulated", "n2v"):
        given = {"noise": law} if methods.get(name).uses_noise else {}
        mean = nw.train(name, noisy, steps=40, features=0 if given else 16, **given).predict(noisy).mean
        errors[name] = np.mean((mean - signal.numpy()) ** 2)
    assert errors["simulated"] < np.mean((noisy - signal.numpy()) ** 2) / 4
    assert errors["simulated"] < errors["n2v"] / 2


def test_without_the_prior_it_starts_from_nothing() -> None:
    torch.manual_seed(0)
    nets = [Simulated(prior=prior).build(spec(2), [Gaussian(1.0)]) for prior in (True, False)]
    first = [next(iter(net.backbone.parameters())) for net in nets]
    assert not torch.equal(*first)
    assert not Simulated(features=16).starts_from_prior
