"""CARE with uncertainty: the planted standard deviation, and a mean that does not depend on it."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import noisewise as nw
from noisewise.methods.base import Batch, Denoiser
from noisewise.methods.care import CARE
from noisewise.posterior import Normal, Point

from .conftest import blobs, denoiser

SMALL = {"network": "classic", "features": 4, "depth": 1, "batch_size": 2, "patch_size": 32}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class PerPixel(nn.Sequential):
    """A function of each pixel's value alone."""

    def __init__(self, heads: int) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(1, 16, 1), nn.Tanh(), nn.Conv2d(16, heads, 1))


def heads_of(method: CARE) -> int:
    return 2 if method.uncertainty else 1


def net_of(method: CARE) -> Denoiser:
    net = denoiser(PerPixel(heads_of(method)), [10.0], [2.0], heads=heads_of(method))
    net.target_mean.fill_(50.0)
    net.target_std.fill_(8.0)
    return net


def planted(count: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Input, target that scatters about a bent line by 2 to 10 units, and by how much, as functions of the input."""
    noisy = 6 + 8 * torch.rand((count, 1, 64, 64), generator=rng(1))
    std = noisy - 4
    target = 50 + 5 * (noisy - 10) + std * torch.randn(noisy.shape, generator=rng(2))
    return noisy, target, std


@cache
def fitted(steps: int = 400) -> Denoiser:
    (noisy, target, _), method = planted(), CARE(uncertainty=True)
    net, valid = net_of(method), torch.ones_like(noisy, dtype=torch.bool)
    optimiser = torch.optim.Adam(net.parameters(), 0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        method.loss(net, Batch(noisy=noisy, valid=valid, target=target, generator=rng())).backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def test_the_standard_deviation_is_the_planted_one() -> None:
    net = fitted()
    x = torch.linspace(6.5, 13.5, 29).reshape(1, 1, 1, -1)
    with torch.no_grad():
        found = CARE(uncertainty=True).posterior(net, x)
    assert isinstance(found, Normal)
    torch.testing.assert_close(found.std, x - 4, rtol=0.1, atol=0)
    assert ((found.mean - (50 + 5 * (x - 10))).abs() < 0.2 * (x - 4)).all()


def test_intervals_have_their_coverage() -> None:
    net = fitted()
    fresh = planted(8)[0][4:]
    truth = 50 + 5 * (fresh - 10) + (fresh - 4) * torch.randn(fresh.shape, generator=rng(5))
    with torch.no_grad():
        low, high = CARE(uncertainty=True).posterior(net, fresh).interval(0.9)
    assert float(((low < truth) & (truth < high)).float().mean()) == pytest.approx(0.9, abs=0.02)
    bright = fresh > 12
    assert float(((low < truth) & (truth < high))[bright].float().mean()) == pytest.approx(0.9, abs=0.03)


def test_the_mean_is_trained_as_without_uncertainty() -> None:
    """The gradient at what the network puts out for the mean is that of the squared error alone."""
    noisy, target, _ = planted(1)
    valid = torch.rand(noisy.shape, generator=rng(3)) < 0.7
    gradients = []
    for method in (CARE(), CARE(uncertainty=True)):
        maps = torch.randn((1, 2, 64, 64), generator=rng(4))[:, : heads_of(method)].requires_grad_()
        net = net_of(method)
        net.backbone.forward = lambda _, maps=maps: maps  # type: ignore[method-assign]
        method.loss(net, Batch(noisy=noisy, valid=valid, target=target, generator=rng())).backward()
        gradients.append(maps.grad)
    assert torch.equal(gradients[0][:, 0], gradients[1][:, 0]) and (gradients[1][:, 1][valid[:, 0]] != 0).all()
    expected = 2 * (maps[:, 0] - (target[:, 0] - 50) / 8) * valid[:, 0] / valid.sum()
    torch.testing.assert_close(gradients[0][:, 0], expected.detach())


def test_the_loss_is_the_squared_error_and_the_likelihood_of_the_residuals() -> None:
    noisy, target, _ = planted(1)
    method = CARE(uncertainty=True)
    net, valid = net_of(method), torch.rand(noisy.shape, generator=rng(3)) < 0.7
    with torch.no_grad():
        found = method.posterior(net, noisy)
        batch = Batch(noisy=noisy, valid=valid, target=target, generator=rng())
        loss, held_out = method.loss(net, batch), method.loss(net, Batch(**{**vars(batch), "held_out": True}))
    squared = (((found.mean - target) / 8) ** 2)[valid].mean()
    normal = torch.distributions.Normal(found.mean / 8, found.std / 8)
    nats = -normal.log_prob(target / 8)[valid].mean() - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(loss, squared + nats, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        held_out, squared, rtol=1e-4, atol=1e-4
    )  # the validation loss is the same with and without


@pytest.mark.parametrize(
    ("shape", "axes"), [((40, 44), "YX"), ((2, 33, 40), "CYX"), ((3, 30, 31), "ZYX"), ((2, 33, 40), "TYX")]
)
def test_the_posterior_has_the_shape_of_the_image(shape: tuple[int, ...], axes: str) -> None:
    signal = blobs(shape)
    noisy = (signal + np.random.default_rng(0).normal(0, 15, shape)).astype(np.float32)
    model = nw.train("care", noisy, 10 * signal, axes=axes, uncertainty=True, steps=3, **SMALL)
    for average in (False, True):
        found = model.predict(noisy, axes=axes, average=average)
        assert isinstance(found, Normal)
        assert found.mean.shape == found.std.shape == shape and found.std.dtype == np.float32
        assert (found.std > 0).all() and np.isfinite(found.std).all()


def test_without_uncertainty_there_is_only_a_mean() -> None:
    signal = blobs((40, 44))
    found = nw.train("care", signal + 1, signal, steps=2, **SMALL).predict(signal)
    assert isinstance(found, Point) and found.std is None
    with pytest.raises(ValueError, match="choose a method with a standard deviation"):
        found.interval()
    with pytest.raises(ValueError, match="choose a method with samples"):
        found.sample(2)
