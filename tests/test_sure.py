"""SURE: its loss against the true error of a linear filter, in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noisewise.methods.base import Batch, Denoiser
from noisewise.methods.sure import SURE, variance_of
from noisewise.noise.base import Noise
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import Quantization

from .conftest import denoiser, image_spec

KERNEL = torch.tensor([[0.02, 0.1, 0.05], [0.08, 0.45, 0.1], [0.0, 0.15, 0.05]])
MEAN, STD = 160.0, 40.0
NOISE_MODELS: dict[str, Noise] = {
    "gaussian": Gaussian(14.0),
    "rounded": Gaussian(3.0, Quantization(4.0)),
    "poisson": PoissonGaussian(2.0, 100.0, 0.0),
    "poisson-gaussian": PoissonGaussian(2.0, 100.0, 6.0),
    "correlated": Correlated(PoissonGaussian(2.0, 100.0, 6.0), quantization=Quantization(1.0)),
}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Filter(nn.Module):
    """A 3 x 3 filter; in place of a network."""

    def __init__(self, kernel: Tensor) -> None:
        super().__init__()
        self.kernel = nn.Parameter(kernel.clone())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel[None, None], padding=1)


def net_of(kernel: Tensor, noise_model: Noise) -> Denoiser:
    return denoiser(Filter(kernel), [MEAN], [STD], [noise_model])


def scene(side: int = 200, fine: float = 1.0) -> Tensor:
    """A wavy signal of 110 to 230 ADU."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return (170 + 60 * torch.sin(fine * y / 3) * torch.cos(fine * x / 5))[None, None].float()


def inner(shape: torch.Size) -> Tensor:
    """True where a filter sees no border."""
    valid = torch.zeros(shape, dtype=torch.bool)
    valid[..., 1:-1, 1:-1] = True
    return valid


def true_error(kernel: Tensor, noise_model: Noise, signal: Tensor) -> tuple[float, float]:
    """E (f(x ± α z) − s)² of the filter and the variance of the noise, mean over inner pixels, in normalised units.

    f(x ± α z) − s has the mean h * s − s and the variance (1 + α²) h² * v.
    """
    valid, s = inner(signal.shape), signal.double()
    variance = noise_model.mean_var(s)[1].expand(s.shape)
    blurred = F.conv2d((s - MEAN) / STD, kernel.double()[None, None], padding=1) * STD + MEAN
    spread = (1 + SURE().probe ** 2) * F.conv2d(variance, kernel.double()[None, None] ** 2, padding=1)
    return float(((blurred - s) ** 2 + spread)[valid].mean() / STD**2), float(variance[valid].mean() / STD**2)


def losses(kernel: Tensor, noise_model: Noise, signal: Tensor, count: int, held_out: bool = False) -> Tensor:
    net = net_of(kernel, noise_model)
    found = []
    for seed in range(count):
        noisy = noise_model.sample(signal, rng(seed))
        batch = Batch(noisy=noisy, valid=inner(noisy.shape), generator=rng(100 + seed), held_out=held_out)
        found.append(SURE().loss(net, batch).item())
    return torch.tensor(found)


@pytest.mark.parametrize("name", NOISE_MODELS)
def test_the_expected_loss_is_the_error_plus_the_variance_of_the_noise(name: str) -> None:
    noise_model, signal = NOISE_MODELS[name], scene()
    error, variance = true_error(KERNEL, noise_model, signal)
    found = losses(KERNEL, noise_model, signal, 24)
    precision = float(found.std()) / math.sqrt(len(found))
    assert precision < 0.01 * variance
    assert float(found.mean()) == pytest.approx(error + variance, abs=4 * precision + 2e-3 * variance)


def test_the_best_filter_by_the_loss_is_the_best_by_the_truth() -> None:
    """Between keeping the noise and blurring the signal; the plain squared error would keep the noise."""
    noise_model, signal = NOISE_MODELS["poisson-gaussian"], scene(fine=2.5)
    blur = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    same = torch.zeros(3, 3)
    same[1, 1] = 1
    shares = torch.linspace(0, 1, 6).tolist()
    found = [float(losses(same + a * (blur - same), noise_model, signal, 4).mean()) for a in shares]
    true = [sum(true_error(same + a * (blur - same), noise_model, signal)) for a in shares]
    for a, b in zip(found, true, strict=True):
        assert a == pytest.approx(b, rel=0.03)
    assert found.index(min(found)) == true.index(min(true)) not in (0, len(shares) - 1)


def test_the_gradient_is_that_of_the_true_error() -> None:
    """In each weight of the filter: the derivative of the closed form, by finite differences."""
    noise_model, signal = NOISE_MODELS["poisson"], scene()
    net, total = net_of(KERNEL, noise_model), torch.zeros(3, 3)
    for seed in range(24):
        noisy = noise_model.sample(signal, rng(seed))
        net.zero_grad()
        SURE().loss(net, Batch(noisy=noisy, valid=inner(noisy.shape), generator=rng(100 + seed))).backward()
        total += net.backbone.kernel.grad / 24
    for y, x in ((1, 1), (0, 0), (1, 2)):
        step = torch.zeros(3, 3)
        step[y, x] = 1e-3
        slope = (
            true_error(KERNEL + step, noise_model, signal)[0] - true_error(KERNEL - step, noise_model, signal)[0]
        ) / 2e-3
        assert float(total[y, x]) == pytest.approx(slope, abs=0.01)


def test_held_out_pixels_get_more_probes() -> None:
    """Few pixels, and a loss that decides when training ends: the same mean, with less variance."""
    noise_model, signal = NOISE_MODELS["gaussian"], scene(40)
    error, variance = true_error(KERNEL, noise_model, signal)
    one, many = (losses(KERNEL, noise_model, signal, 40, held_out) for held_out in (False, True))
    assert float(many.mean()) == pytest.approx(error + variance, abs=4 * float(many.std()) / math.sqrt(40))
    assert float((many - many.mean()).std()) < float((one - one.mean()).std())


def test_the_variance_at_the_neighbours_mean_is_right_on_average() -> None:
    """Channel by channel, in the units that the network sees."""
    noise_models = [NOISE_MODELS["poisson-gaussian"], Gaussian(9.0)]
    net = denoiser(Filter(KERNEL), [160.0, 50.0], [40.0, 10.0], noise_models)
    signal = torch.stack([torch.full((300, 300), 150.0), torch.full((300, 300), 55.0)])[None]
    noisy = torch.stack([one.sample(s, rng(i)) for i, (one, s) in enumerate(zip(noise_models, signal[0], strict=True))])
    found = variance_of(net, noisy[None]).mean((0, 2, 3))
    assert float(found[0]) == pytest.approx((2 * 50 + 36) / 40**2, rel=0.01)
    assert float(found[1]) == pytest.approx(81 / 10**2, rel=0.001)


def test_only_valid_pixels_count() -> None:
    noise_model, noisy = NOISE_MODELS["gaussian"], scene(30)
    valid = torch.zeros(noisy.shape, dtype=torch.bool)
    valid[0, 0, 10, 11] = True
    other = noisy.clone()
    other[0, 0, 20:] += 500
    one, two = (
        SURE().loss(net_of(KERNEL, noise_model), Batch(noisy=image, valid=valid, generator=rng())).item()
        for image in (noisy, other)
    )
    assert one == two


@pytest.mark.parametrize(
    ("name", "mean", "few"),
    [("poisson", 106.0, True), ("correlated", 120.0, True), ("poisson", 400.0, False), ("gaussian", 106.0, False)],
)
def test_few_photons_give_a_warning(name: str, mean: float, few: bool) -> None:
    net = SURE(features=4).build(image_spec(mean=(mean,), std=(9.0,)), [NOISE_MODELS[name]])
    assert len(net.warnings) == few
    assert all("photons" in warning and "noisewise methods" in warning for warning in net.warnings)
