"""Extent of noise correlation: which neighbours have correlated noise, and along which axes."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from noisewise.noise.base import Noise
from noisewise.noise.models.correlated import Correlated, kernel_autocovariance
from noisewise.noise.ops.causal_mixture import Axis

CORRELATED = 0.05  # autocorrelation above which noise counts as correlated
MAX_LAG = 5  # pixels to each side; row and column offsets are correlated at any lag


@lru_cache(maxsize=16)
def correlated_offsets(
    noise_models: tuple[Noise, ...], dims: int, max_lag: int = MAX_LAG
) -> tuple[tuple[int, ...], ...]:
    """Offsets ([Z], Y, X) at which any of the noise models has an autocorrelation above 0.05, without the centre.

    max_lag: pixels and slices to each side.
    """
    found: set[tuple[int, ...]] = set()
    for noise_model in noise_models:
        for z in range(max_lag + 1 if dims == 3 else 1):
            rho = autocorrelation_of(noise_model.spectral_approximation(), max_lag, z)
            for y, x in (rho.abs() > CORRELATED).nonzero().tolist():
                found |= {offset[-dims:] for offset in product({-z, z}, {-y, y}, {-x, x})}
    return tuple(sorted(found - {(0,) * dims}))


def noise_axis(noise_models: tuple[Noise, ...]) -> Axis:
    """Axis along which noise is correlated, YX for both; X for white noise, as cameras read out along X."""
    along = torch.stack(
        [autocorrelation_of(noise_model.spectral_approximation()).abs() for noise_model in noise_models]
    ).amax(0)
    y, x = (bool(part.max() > CORRELATED) for part in (along[1:, 0], along[0, 1:]))
    return ("YX" if x else "Y") if y else "X"


def autocorrelation_of(noise_model: Noise, max_lag: int = MAX_LAG, slices: int = 0) -> Tensor:
    """Autocorrelation (1 + max_lag, 1 + max_lag) at vertical and horizontal lags (pixels), a number of slices apart.

    Row and column offsets count relative to the variance at the darkest fitted signal.
    """
    side = max_lag + 1
    rho = torch.zeros(side, side, dtype=torch.float64)
    if not isinstance(noise_model, Correlated):
        rho[0, 0] = float(slices == 0)
        return rho
    pixel_variance = noise_model.dark_variance
    field: Tensor = noise_model.slice_correlation**slices
    covariance = pixel_variance * field * kernel_autocovariance(noise_model.kernel, (side, side))
    if slices == 0:  # row and column offsets of different slices are independent
        rows = kernel_autocovariance(noise_model.row_kernel[:, None], (side, 1))
        columns = kernel_autocovariance(noise_model.column_kernel[None], (1, side))
        covariance += rows + columns
    return covariance / (pixel_variance + noise_model.offset_variance())
