"""Conversion of images to photon counts: the gain and offset of the camera, or the reason why there are none."""

from __future__ import annotations

from noisewise.errors import UserError
from noisewise.noise.base import Noise
from noisewise.noise.models.gamma_poisson import GammaPoisson
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.thinning import as_photon_noise

MOST_READ_NOISE = 0.5  # electrons; rounding still recovers most photon numbers
GAIN_TOLERANCE = 0.1  # a measured gain this close to one is one, in images of integers
ADVICE = "choose another method (noisewise methods)"


def gain_and_offset(noise_model: Noise, mean: float, std: float) -> tuple[float, float]:
    """Gain (ADU per photon) and offset (ADU) of images with this noise model, mean and standard deviation (ADU).

    Errors: `UserError` where photon numbers cannot be recovered.
    """
    photon_noise = as_photon_noise(noise_model, mean, std)
    if isinstance(photon_noise, GammaPoisson):
        raise UserError(f"the detector has excess noise, so pixel values are not photon counts; {ADVICE}")
    if not isinstance(photon_noise, PoissonGaussian) or float(photon_noise.gain) <= 0:
        raise UserError(f"the noise variance does not grow with the signal, so there is no photon noise; {ADVICE}")
    gain, offset = float(photon_noise.gain), float(photon_noise.offset)
    read_noise = float(photon_noise.read_noise) / gain
    if read_noise > MOST_READ_NOISE:
        raise UserError(f"a read noise of {read_noise:.2g} electrons hides the photon numbers; {ADVICE}")
    if photon_noise.quantization.step == 1 and abs(gain - 1) < GAIN_TOLERANCE and abs(offset) < 0.5:
        return 1.0, 0.0
    return gain, offset
