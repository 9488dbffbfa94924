"""Noise models of every kind for tests: fixed ones of about the same noise, and random ones."""

from __future__ import annotations

from functools import cache

import torch
from hypothesis import strategies as st

from noisewise.noise import models
from noisewise.noise.base import arguments
from noisewise.noise.models.autoregressive import Autoregressive
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gamma_poisson import GammaPoisson
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.gmm_polynomial import GmmPolynomial
from noisewise.noise.models.mixture import Mixture
from noisewise.noise.models.pixel_maps import PixelMaps
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.causal_mixture import LEAST_STD
from noisewise.noise.quantization import CONTINUOUS, Quantization

KINDS = sorted(models.kinds())
TRUTH = PoissonGaussian(2.2, 100.0, 3.5)
CLIPPED = Quantization(1.0, 90.0, 350.0)  # clips dark and bright pixels


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@cache
def planted(quantization=CONTINUOUS, count=100_000, seed=0):
    """Noisy values of signals from 101 to 801, more of them dark, from the true noise model."""
    signal = 101 + 700 * torch.rand(count, generator=rng(seed), dtype=torch.float64) ** 2
    return TRUTH.with_quantization(quantization).sample(signal, rng(seed + 1)), signal


@cache
def fitted(kind, quantization=CONTINUOUS):
    """A noise model that was fitted to the planted pairs."""
    return models.get(kind).fit(*planted(quantization), quantization=quantization)


def heavy_tailed(quantization=CONTINUOUS, fraction=0.02, width=6.0):
    """Skewed noise with a fraction of outliers, whose distribution is wider by the factor `width`."""
    knots = torch.tensor([100.0, 300.0, 800.0], dtype=torch.float64)
    log_weight = torch.tensor([[0.0, -0.5]] * 3)
    shift, log_scale = torch.tensor([[-0.2, 0.6], [-0.2, 0.5], [-0.1, 0.3]]), torch.tensor([[-0.3, 0.1]] * 3)
    outlier = torch.tensor([fraction, width])
    return Mixture(knots, log_weight, shift, log_scale, outlier, 2.2, -200.0, 4.0, quantization)


@cache
def example(kind, quantization=CONTINUOUS):
    """A noise model of each kind, of about the same noise; cached, so that tests share its tables."""
    if kind == "histogram":
        return fitted(kind).with_quantization(quantization)
    weight = torch.tensor([[0.0, 5.0], [0.0, -8.0], [5.0, 2.5], [6.5, 2.0], [1.0, 0.5], [0.0, 0.2]])
    return {
        "autoregressive": lambda: independent(12.0).with_quantization(quantization),
        "correlated": lambda: Correlated(TRUTH, quantization=quantization),
        "gamma_poisson": lambda: GammaPoisson(1.7, 0.55, 100.0, 3.5, 101.0, quantization),
        "gaussian": lambda: Gaussian(12.0, quantization),
        "gmm_polynomial": lambda: GmmPolynomial(weight.double(), 100.0, 800.0, 20.0, quantization),
        "mixture": lambda: heavy_tailed(quantization),
        "pixel_maps": lambda: PixelMaps(2.2, 100.0, 3.5, quantization, typical_gain=2.1, typical_offset=99.0),
        "poisson_gaussian": lambda: TRUTH.with_quantization(quantization),
    }[kind]()


def independent(std):
    """An autoregressive noise model whose pixels do not depend on their context: z ~ N(0, 1)."""
    noise_model = Autoregressive(Gaussian(std), torch.empty(0), signal_range=torch.tensor([0.0, 800.0]))
    with torch.no_grad():
        for weights in noise_model.mixture.parameters():
            weights.zero_()
        last = noise_model.mixture.head.bias
        last[2 * len(last) // 3 :] = torch.log(torch.expm1(torch.tensor(1.0 - LEAST_STD)))
    return noise_model


# -- random parameters -----------------------------------------------------------------------------


def random_models(kind, quantization=CONTINUOUS):
    """A strategy of noise models of this kind, for signals above 100 ADU."""
    return st.integers(0, 2**32 - 1).map(lambda seed: RANDOM[kind](seed).with_quantization(quantization))


def gaussian(seed):
    return Gaussian(uniform(seed, 2, 30))


def poisson_gaussian(seed, kind=PoissonGaussian):
    return kind(uniform(seed, 1, 4), uniform(seed + 1, 60, 100), uniform(seed + 2, 1, 8))


def gamma_poisson(seed):
    response_std = round(float(uniform(seed + 1, 0.25, 1)), 1)  # few values, since each needs a table
    return GammaPoisson(uniform(seed, 1, 3), response_std, uniform(seed + 2, 60, 100), uniform(seed + 3, 1, 6), 101.0)


def pixel_maps(seed):
    typical = {"typical_gain": uniform(seed + 3, 1, 4), "typical_offset": uniform(seed + 4, 60, 100)}
    return PixelMaps(uniform(seed, 1, 4), uniform(seed + 1, 60, 100), uniform(seed + 2, 1, 8), **typical)


def gmm_polynomial(seed):
    low, high = torch.tensor([-8.0, -8, 3, 2, -1, -1]), torch.tensor([8.0, 8, 5.5, 7, 1, 1])
    pairs = (low + (high - low) * torch.rand(3, 6, generator=rng(seed))).reshape(3, 3, 2)
    return GmmPolynomial(pairs.transpose(0, 1).reshape(9, 2), 100.0, 800.0, uniform(seed + 1, 1, 30))


def mixture(seed):
    log_weight, shift, log_scale = (torch.rand(3, 3, 4, generator=rng(seed)) - 0.5) * torch.tensor([2, 2, 0.8])[
        :, None, None
    ]
    knots, outlier = torch.tensor([100.0, 250.0, 800.0]), torch.stack([uniform(seed, 1e-4, 0.05), uniform(seed, 5, 8)])
    return Mixture(knots, log_weight, shift, log_scale, outlier, uniform(seed + 1, 1, 4), -100.0, uniform(seed, 2, 6))


def histogram(seed):
    """The fitted table, around another variance line."""
    line = {"slope": uniform(seed, 1, 4), "intercept": uniform(seed + 1, -100, 100), "least_std": uniform(seed, 2, 6)}
    return type(fitted("histogram"))(**(arguments(fitted("histogram")) | line))


RANDOM = {
    "autoregressive": lambda seed: independent(uniform(seed, 2, 30)),
    "correlated": lambda seed: Correlated(poisson_gaussian(seed)),
    "gamma_poisson": gamma_poisson,
    "gaussian": gaussian,
    "gmm_polynomial": gmm_polynomial,
    "histogram": histogram,
    "mixture": mixture,
    "pixel_maps": pixel_maps,
    "poisson_gaussian": poisson_gaussian,
}


def uniform(seed, low, high):
    return low + (high - low) * torch.rand((), generator=rng(seed), dtype=torch.float64)
