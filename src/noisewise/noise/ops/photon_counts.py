"""Images whose pixels are counts of photons: the camera's gain and offset taken off, or a reason why that cannot be."""

from __future__ import annotations

from noisewise.errors import UserError
from noisewise.noise.base import Noise
from noisewise.noise.models.gamma_poisson import GammaPoisson
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.thinning import as_photon_noise

MOST_READ_NOISE = 0.5  # electrons, with which rounding still finds most photon numbers
NEARLY = 0.1  # of a gain of one, in images of whole numbers: it is one, and was measured a little off
INSTEAD = "use a method that is not for photon counts alone (noisewise methods)"


def gain_and_offset(noise_model: Noise, mean: float, std: float) -> tuple[float, float]:
    """ADU of one photon, and of none, of images with this law, mean and standard deviation (ADU).

    Errors: `UserError` where numbers of photons are not to be had.
    """
    found = as_photon_noise(noise_model, mean, std)
    if isinstance(found, GammaPoisson):
        raise UserError(f"the detector multiplies each electron by chance, so pixels are no counts; {INSTEAD}")
    if not isinstance(found, PoissonGaussian) or float(found.gain) <= 0:
        raise UserError(f"the noise does not grow with the signal as that of photons does; {INSTEAD}")
    gain, offset = float(found.gain), float(found.offset)
    read_noise = float(found.read_noise) / gain
    if read_noise > MOST_READ_NOISE:
        raise UserError(f"a read noise of {read_noise:.2g} electrons hides how many photons there were; {INSTEAD}")
    if found.quantization.step == 1 and abs(gain - 1) < NEARLY and abs(offset) < 0.5:
        return 1.0, 0.0
    return gain, offset
