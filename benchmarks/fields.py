"""Dense random fields, as defocused or granular tissue: how far from the best linear filter that knows everything.

    python benchmarks/fields.py        (two minutes on two cores)

White noise is blurred by 1 to 3 pixels, and becomes photons (gain 2 ADU, offset 100 ADU) with a contrast of a third.
The packaged network is untrained and given the noise model. The Wiener filter knows the spectrum and the noise. PSNR
over the range of the truth (0.1 to 99.9 %), mean over images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

import noisewise as nw
from common import Rows, make_parser
from noisewise.evaluate.metrics import psnr
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import Quantization

BLURS, PHOTONS, SEEDS = (1.0, 1.5, 2.0, 3.0), (20, 60, 200), (0, 1, 2)
SIDE, CONTRAST, GAIN, OFFSET = 256, 1 / 3, 2.0, 100.0


def field(blur: float, photons: float, seed: int) -> np.ndarray:
    """Photons (Y, X): a Gaussian field on a torus."""
    white = np.random.default_rng(seed).standard_normal((SIDE, SIDE))
    smooth = ndimage.gaussian_filter(white, blur, mode="wrap")
    return np.maximum(photons * (1 + CONTRAST * smooth / smooth.std()), 0)


def wiener(noisy: np.ndarray, truth: np.ndarray, blur: float) -> np.ndarray:
    """The best linear filter for this spectrum, and white noise of the mean variance."""
    frequency = np.fft.fftfreq(SIDE)
    along = np.exp(-2 * (np.pi * frequency * blur) ** 2)
    power = (along[:, None] * along) ** 2
    power *= truth.var() / power.mean()
    change = np.fft.ifft2(power / (power + truth.mean()) * np.fft.fft2(noisy - noisy.mean())).real
    return np.asarray(noisy.mean() + change)


def measure(blur: float, photons: float) -> dict[str, Any]:
    """Mean PSNR of the noisy image, of the result, and of the Wiener filter."""
    noise = PoissonGaussian(GAIN, OFFSET, 0.0, Quantization(1.0))
    found: dict[str, list[float]] = {}
    for seed in SEEDS:
        truth = field(blur, photons, seed)
        recorded = (GAIN * np.random.default_rng(seed).poisson(truth) + OFFSET).astype(np.uint16)
        denoised = nw.denoise(recorded, method="simulated", noise=noise, steps=0, average=False).mean
        noisy, result = ((image - OFFSET) / GAIN for image in (recorded.astype(float), denoised))
        extent = float(np.ptp(np.quantile(truth, (0.001, 0.999))))
        for name, image in (("noisy", noisy), ("result", result), ("wiener", wiener(noisy, truth, blur))):
            found.setdefault(name, []).append(psnr(image, truth, extent))
    return {name: float(np.mean(values)) for name, values in found.items()}


def main() -> None:
    rows = Rows("fields", make_parser(__doc__, rows=True).parse_args())
    for blur in BLURS:
        for photons in PHOTONS:
            rows.measure(lambda b=blur, p=photons: measure(b, p), blur=blur, photons=photons)


if __name__ == "__main__":
    main()
