"""How far noise reaches: the pixels whose noise goes together with that of their neighbour."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from noisewise.noise.base import Noise
from noisewise.noise.models.correlated import Correlated, lagged
from noisewise.noise.ops.causal_mixture import Axis

SHARED = 0.05  # autocorrelation, from which on a pixel tells of its neighbour's noise
NEAR = 5  # pixels to each side: rows and columns share their offsets without end


@lru_cache(maxsize=16)
def correlated_offsets(noise_models: tuple[Noise, ...], dims: int, far: int = NEAR) -> tuple[tuple[int, ...], ...]:
    """Offsets ([Z], Y, X) at which the noise of any of the laws has an autocorrelation above 0.05, without the centre.

    far: pixels and slices to each side that are looked at.
    """
    found: set[tuple[int, ...]] = set()
    for noise_model in noise_models:
        for z in range(far + 1 if dims == 3 else 1):
            for y, x in (autocorrelation_of(noise_model.spectral(), far, z).abs() > SHARED).nonzero().tolist():
                found |= {offset[-dims:] for offset in product({-z, z}, {-y, y}, {-x, x})}
    return tuple(sorted(found - {(0,) * dims}))


def noise_axis(noise_models: tuple[Noise, ...]) -> Axis:
    """The axis along which noise goes together, YX for both; where it does not, X, the one that cameras read along."""
    along = torch.stack([autocorrelation_of(noise_model.spectral()).abs() for noise_model in noise_models]).amax(0)
    y, x = (bool(part.max() > SHARED) for part in (along[1:, 0], along[0, 1:]))
    return ("YX" if x else "Y") if y else "X"


def autocorrelation_of(noise_model: Noise, far: int = NEAR, slices: int = 0) -> Tensor:
    """ρ (1 + far, 1 + far) of a law's noise at vertical and horizontal distances in pixels, so many slices away.

    Rows and columns count with their share of the variance at the darkest signal the law was made for.
    """
    side = far + 1
    rho = torch.zeros(side, side, dtype=torch.float64)
    if not isinstance(noise_model, Correlated):
        rho[0, 0] = float(slices == 0)
        return rho
    pixel = noise_model.dark_variance
    total = pixel + noise_model.offset_variance()
    covariance: Tensor = pixel * noise_model.between**slices * lagged(noise_model.kernel, (side, side))
    if slices == 0:  # each has rows and columns of its own
        covariance += lagged(noise_model.row_kernel[:, None], (side, 1)) + lagged(
            noise_model.column_kernel[None], (1, side)
        )
    return covariance / total
