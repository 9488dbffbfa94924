"""The noise model that a method is given: the user's, one estimated from the images, or one from denoised images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from noisewise import methods
from noisewise.errors import UserError, counted
from noisewise.estimate.measure import measure
from noisewise.estimate.report import NoiseReport
from noisewise.io.base import Source
from noisewise.io.light import with_light
from noisewise.methods.base import Method
from noisewise.noise.base import Noise
from noisewise.noise.files import load_noise
from noisewise.workflow.refine_noise import refine

MEASURED_IMAGES = 8  # of many images, this number is measured

FromDenoised = Callable[[], list[Noise]]
INSTEAD = (
    "give a noise model (noisewise calibrate FRAMES -o NOISE makes one), or use a method that needs none: "
    "noisewise denoise IMAGE --method n2v"
)


def check_up(sources: Sequence[Source]) -> NoiseReport | None:
    """The check-up of the first channel with light of the images, together; None where it cannot be made."""
    try:
        return measure(some_images(sources), channel=with_light(sources[0])[0])
    except UserError:  # too small, constant, saturated: no reason to refuse the image
        return None


def some_images(sources: Sequence[Source]) -> list[Source]:
    """All of a few images, or some of many, evenly chosen."""
    return list(sources[:: max(1, -(-len(sources) // MEASURED_IMAGES))])


def find_noise_models(
    method: Method, sources: Sequence[Source], given: Any = None, from_denoised: FromDenoised | None = None,
    checkup: NoiseReport | None = None,
) -> tuple[Noise, ...]:  # fmt: skip
    """One noise model for all channels, or one per channel; none if the method does not use any.

    given: noise models (files, `Noise`), one or one per channel; or None. from_denoised: makes noise models where
    measuring fails. checkup: of the first channel, if it was made already.

    Errors: `UserError` for noise models that cannot be used, or if none can be obtained.
    """
    traits = method.traits
    if traits.noise == "none":
        if given is not None:
            raise UserError(
                f"method '{methods.name_of(method)}' does not use a noise model; leave it out, or use one of: "
                f"{', '.join(methods.having(lambda other: other.noise != 'none'))}"
            )
        return ()
    channels = sources[0].size_of("C")
    if given is not None:
        return open_noise_models(given, channels)
    try:
        light = with_light(sources[0])
        found = [] if checkup is None else [checkup]
        found += [measure(some_images(sources), channel=c) for c in light[len(found) :]]
    except UserError as error:
        if from_denoised is None:
            raise
        return noise_models_from_denoised(from_denoised, error)
    if traits.pretrained:
        found = [
            one if one.few_photons else refine(sources[0], one, channel=c) for c, one in zip(light, found, strict=True)
        ]
    of_channel = dict(zip(light, measured_noise_models(found, method), strict=True))
    return tuple(of_channel.get(c, of_channel[light[0]]) for c in range(channels))


def noise_models_from_denoised(make: FromDenoised, failure: UserError) -> tuple[Noise, ...]:
    """Noise models from a denoised image, after measuring failed. Errors: `UserError` if that fails too."""
    try:
        return tuple(make())
    except UserError:
        raise UserError(f"{failure}; so its noise cannot be measured: {INSTEAD}") from failure


def measured_noise_models(checkups: Sequence[NoiseReport], method: Method) -> tuple[Noise, ...]:
    """The measured noise model of each channel. Errors: `UserError` where there is hardly any noise in any of them."""
    if all(checkup.kind == "none" for checkup in checkups):
        std = checkups[0].std(checkups[0].signal_range[1])
        raise UserError(f"{checkups[0].name}: has no noise worth removing ({std:.2g} ADU); if it has, {INSTEAD}")
    correlated = method.traits.noise == "correlated"
    return tuple(checkup.noise if correlated else checkup.pixel_noise for checkup in checkups)


def open_noise_models(given: Any, channels: int) -> tuple[Noise, ...]:
    """Noise models from files or objects. Errors: `UserError` if they are none, or too few or many."""
    several = list(given) if isinstance(given, list | tuple) else [given]
    noise_models = tuple(part if isinstance(part, Noise) else load_noise(Path(part)) for part in several)
    if len(noise_models) not in (1, channels):
        numbers = f"{counted(len(noise_models), 'noise model')} for {counted(channels, 'channel')}"
        raise UserError(f"{numbers}; give one for all, or one a channel")
    return noise_models
