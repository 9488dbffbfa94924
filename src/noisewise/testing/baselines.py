"""Classical denoisers as baselines: variance stabilisation, a filter of scikit-image for Gaussian noise, the inverse.

    f = anscombe(image);  denoise f;  inverse_anscombe(f)

Images are (Y, X) or (Z, Y, X) in ADU, with Poisson noise of gain `gain_adu_per_e` and Gaussian read noise of standard
deviation `read_noise_adu`, above `offset_adu`. The filters need `pip install 'noisewise[classical]'`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import product
from math import lgamma
from typing import Any

import numpy as np
import torch

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.noise.ops.stabilize import ANSCOMBE, Stabilizer

BRIGHT = 40.0  # electrons above which the closed form of the inverse is accurate to 0.05 %
NODES = 400  # of the table below that
INTEGRATED = 7.0  # standard deviations of the read noise in the table's integrals, on each side


# -- variance stabilisation ------------------------------------------------------------------------


def anscombe(image: Array, gain_adu_per_e: float, offset_adu: float = 0.0, read_noise_adu: float = 0.0) -> Array:
    """Generalised Anscombe transform: f(z) = 2 √max(z + 3/8 + σ², 0), z = (x − offset) / gain, σ = read noise / gain.

    The variance of Poisson-Gaussian noise becomes 1, from a few electrons on (at half an electron without read noise,
    it is 0.5).

    image: pixels of any shape, ADU. gain_adu_per_e: ADU per electron, above 0. offset_adu: pixel value without signal,
    ADU. read_noise_adu: standard deviation, ADU, 0 or more.

    Source: Murtagh, Starck, Bijaoui 1995, Astronomy and Astrophysics Supplement 112:179. Errors: `UserError` for NaN or
    infinite pixels, or impossible noise parameters.
    """
    pixels = np.asarray(image, np.float64)
    if not np.isfinite(pixels).all():
        raise UserError("the image has pixels that are NaN or infinite; replace them or crop the image")
    std = read_noise_electrons(gain_adu_per_e, offset_adu, read_noise_adu)
    return stabilised((pixels - offset_adu) / gain_adu_per_e, std)


def inverse_anscombe(
    stable: Array, gain_adu_per_e: float, offset_adu: float = 0.0, read_noise_adu: float = 0.0
) -> Array:
    """Exact unbiased inverse of `anscombe`, in ADU: it maps D = E[f(x) | s] to s.

    The algebraic inverse is biased, since the mean of roots is not the root of the mean. Below 40 electrons,
    E[f(x) | s] = Σₖ Pois(k; λ) ∫ f(k + σ z) N(z; 0, 1) dz is computed and interpolated. Above, it is the closed form of
    Mäkitalo and Foi, λ = D²/4 + √(3/2)/(4D) − 11/(8D²) + 5√(3/2)/(8D³) − 1/8 − σ², which with read noise is 3 % too
    low at one electron. Below the D of no light it is extrapolated linearly: 0 there would brighten a dark background.

    stable: result of `anscombe`, or a denoised version of it. gain_adu_per_e, offset_adu, read_noise_adu: as for
    `anscombe`.

    Source: Mäkitalo, Foi 2011, doi:10.1109/TIP.2010.2056693, and 2013, doi:10.1109/TIP.2012.2202675.
    Errors: `UserError` for impossible noise parameters.
    """
    std = read_noise_electrons(gain_adu_per_e, offset_adu, read_noise_adu)
    stable = np.asarray(stable, np.float64)
    electrons = np.square(np.linspace(0, np.sqrt(BRIGHT), NODES))
    expected = expectation(electrons, std)
    dark = (electrons[1] - electrons[0]) / (expected[1] - expected[0]) * (stable - expected[0])
    bright = closed_form(np.maximum(stable, expected[-1]), std)
    bright += BRIGHT - closed_form(expected[-1], std)  # continuous between the two
    found = np.where(stable < expected[-1], np.interp(stable, expected, electrons), bright)
    return np.asarray(np.where(stable < expected[0], dark, found) * gain_adu_per_e + offset_adu)


def stabilised(electrons: Array, std: float) -> Array:
    """2 √max(z + 3/8 + σ², 0): the package's transform, which is zero at no electrons, plus 2 √(3/8 + σ²)."""
    one, variance = torch.ones((), dtype=torch.float64), torch.tensor(std**2, dtype=torch.float64)
    transform = Stabilizer(one, variance + ANSCOMBE, 1e-30 * one, 0 * one)
    clipped = torch.as_tensor(np.maximum(electrons, -ANSCOMBE - std**2))
    return (transform(clipped) + 2 * (variance + ANSCOMBE).sqrt()).numpy()


def closed_form(stable: Any, std: float) -> Any:
    """Inverse in electrons, for bright pixels."""
    root = np.sqrt(1.5)
    return stable**2 / 4 + root / (4 * stable) - 11 / (8 * stable**2) + 5 * root / (8 * stable**3) - 1 / 8 - std**2


def expectation(electrons: Array, std: float) -> Array:
    """E[f(x) | λ] for each mean number of electrons λ."""
    counts = np.arange(int(electrons.max() + 12 * np.sqrt(electrons.max()) + 20))
    z = np.linspace(-INTEGRATED, INTEGRATED, 2001)
    weight = np.exp(-(z**2) / 2)
    of_count = stabilised(counts[:, None] + std * z, std) @ (weight / weight.sum())
    log_factorial = np.array([lgamma(k + 1.0) for k in counts])
    mean = np.maximum(electrons, 1e-300)[:, None]
    probability = np.exp(counts * np.log(mean) - mean - log_factorial)
    return np.asarray(probability @ of_count)


def read_noise_electrons(gain_adu_per_e: float, offset_adu: float, read_noise_adu: float) -> float:
    """Read noise in electrons. Errors: `UserError` for impossible noise parameters."""
    if not (0 < gain_adu_per_e < np.inf and 0 <= read_noise_adu < np.inf and np.isfinite(offset_adu)):
        raise UserError(
            f"gain {gain_adu_per_e:g} ADU/e, offset {offset_adu:g} ADU and read noise {read_noise_adu:g} ADU are not "
            "possible; the gain must be above 0, the read noise 0 or more"
        )
    return read_noise_adu / gain_adu_per_e


# -- denoisers -------------------------------------------------------------------------------------
# Their constants are the best on average over four scenes (cells, nuclei, smooth waves, discs) with 0.5 to 150
# electrons per pixel, with and without a read noise of 1.5 electrons.

NLM_PATCH, NLM_DISTANCE, NLM_H = 5, 5, 0.8  # pixels; distance to each side; standard deviations of the noise
WAVELET, LEVELS, SHIFTS = "sym8", 4, 4
TV_WEIGHT = 0.9


def denoise_nlm(image: Array, gain_adu_per_e: float, offset_adu: float = 0.0, read_noise_adu: float = 0.0) -> Array:
    """Denoise by non-local means of the stabilised image, weighting pixels by the similarity of their patches; ADU.

    Patches of 5 pixels in a window of 11, h = 0.8 standard deviations of the noise, whose variance is subtracted from
    the patches' distances. Pixels of a patch have equal weights (scikit-image's fast mode), which was also better.

    image: (Y, X) or (Z, Y, X), ADU. gain_adu_per_e, offset_adu, read_noise_adu: as for `anscombe`.

    Source: Buades, Coll, Morel 2005, doi:10.1109/CVPR.2005.38. Errors: `UserError` as `anscombe`, for images of another
    number of axes, and without scikit-image.
    """
    denoise = partial(
        restoration().denoise_nl_means,
        patch_size=NLM_PATCH, patch_distance=NLM_DISTANCE, h=NLM_H, sigma=1.0, fast_mode=True,
    )  # fmt: skip
    return through_anscombe(denoise, image, gain_adu_per_e, offset_adu, read_noise_adu)


def denoise_wavelet(image: Array, gain_adu_per_e: float, offset_adu: float = 0.0, read_noise_adu: float = 0.0) -> Array:
    """Denoise by wavelet shrinkage of the stabilised image, averaged over its shifts (cycle spinning), in ADU.

    sym8 wavelets, 4 levels, soft thresholds of BayesShrink: σ² / (standard deviation of the signal) in each band.
    Shifts by 0 to 3 pixels along Y and X (0 and 1 in stacks, along each axis).

    image: (Y, X) or (Z, Y, X), ADU. gain_adu_per_e, offset_adu, read_noise_adu: as for `anscombe`.

    Source: Chang, Yu, Vetterli 2000, doi:10.1109/83.862633; Coifman, Donoho 1995, doi:10.1007/978-1-4612-2544-7_9.
    Errors: `UserError` as `denoise_nlm`, and without PyWavelets.
    """
    threshold = partial(
        restoration("pywt").denoise_wavelet,
        sigma=1.0, wavelet=WAVELET, wavelet_levels=LEVELS, method="BayesShrink", mode="soft", rescale_sigma=False,
    )  # fmt: skip

    def cycle_spun(stable: Array) -> Array:
        axes = tuple(range(stable.ndim))
        shifts = list(product(range(SHIFTS if stable.ndim == 2 else 2), repeat=stable.ndim))
        total = np.zeros_like(stable)
        with warnings.catch_warnings():
            # PyWavelets warns that the coarsest wavelets exceed small images; this is harmless here.
            warnings.simplefilter("ignore", UserWarning)
            for shift in shifts:
                back = tuple(-pixels for pixels in shift)
                total += np.roll(threshold(np.roll(stable, shift, axes)), back, axes)
        return total / len(shifts)

    return through_anscombe(cycle_spun, image, gain_adu_per_e, offset_adu, read_noise_adu)


def denoise_tv(image: Array, gain_adu_per_e: float, offset_adu: float = 0.0, read_noise_adu: float = 0.0) -> Array:
    """Denoise by total variation of the stabilised image f, in ADU: the u that minimises w Σ |∇u| + ½ Σ (u − f)².

    The weight w is 0.9 standard deviations of the noise. Choosing it for each image by the discrepancy principle
    (mean (u − f)² = 1) or by Stein's unbiased risk estimate was worse: with few photons, the variance of the
    stabilised image is below 1, and both smooth too much.

    image: (Y, X) or (Z, Y, X), ADU. gain_adu_per_e, offset_adu, read_noise_adu: as for `anscombe`.

    Source: Rudin, Osher, Fatemi 1992, doi:10.1016/0167-2789(92)90242-F; Chambolle 2004,
    doi:10.1023/B:JMIV.0000011325.36760.1e. Errors: `UserError` as `denoise_nlm`.
    """
    denoise = partial(restoration().denoise_tv_chambolle, weight=TV_WEIGHT, eps=1e-5, max_num_iter=500)
    return through_anscombe(denoise, image, gain_adu_per_e, offset_adu, read_noise_adu)


def through_anscombe(
    denoise: Callable[[Array], Array], image: Array, gain_adu_per_e: float, offset_adu: float, read_noise_adu: float
) -> Array:
    """Stabilise, denoise noise of variance 1, and return to ADU. Errors: `UserError` for images without Y and X."""
    if np.ndim(image) not in (2, 3):
        raise UserError(f"an image of shape {np.shape(image)} cannot be denoised; give (Y, X) or (Z, Y, X)")
    noise_model = gain_adu_per_e, offset_adu, read_noise_adu
    return inverse_anscombe(denoise(anscombe(image, *noise_model)), *noise_model)


def restoration(*further: str) -> Any:
    """Import scikit-image's filters. Errors: `UserError` if it or a further package is not installed."""
    try:
        for package in further:
            import_module(package)
        return import_module("skimage.restoration")
    except ImportError as error:
        raise UserError(
            f"the package {error.name}, which classical denoisers need, is not installed: "
            "pip install scikit-image pywavelets"
        ) from error
