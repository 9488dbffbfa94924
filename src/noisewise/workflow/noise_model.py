"""The noise model that a method is given: the user's, one estimated from the images, or one from denoised images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
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

MEASURED_IMAGES = 8  # of many images, this number is measured

FromDenoised = Callable[[], list[Noise]]
INSTEAD = (
    "give a noise model (noisewise calibrate FRAMES -o NOISE makes one), or use a method that needs none: "
    "noisewise denoise IMAGE --method n2v"
)


class MeasuredNoise:
    """The noise of images, measured together when it is needed.

    sources: the images; all have the channels of the first one. Those with light are measured.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources, self.channels = sources, sources[0].size_of("C")

    @cached_property
    def light(self) -> list[int]:
        """The channels with light."""
        return with_light(self.sources[0])

    @cached_property
    def checkup(self) -> NoiseReport | None:
        """The check-up of the first channel; None where it cannot be made."""
        try:
            return measure(some_images(self.sources), channel=self.light[0])
        except UserError:  # too small, constant, saturated: no reason to refuse the image
            return None

    @cached_property
    def checkups(self) -> list[NoiseReport]:
        """Those of all channels. Errors: `UserError` where one cannot be made."""
        found = [] if self.checkup is None else [self.checkup]
        return found + [measure(some_images(self.sources), channel=c) for c in self.light[len(found) :]]

    def of_all_channels(self, found: Sequence[Noise]) -> tuple[Noise, ...]:
        """The noise models of the channels with light, and for the others that of the first one."""
        of_channel = dict(zip(self.light, found, strict=True))
        return tuple(of_channel.get(c, found[0]) for c in range(self.channels))


def some_images(sources: Sequence[Source]) -> list[Source]:
    """All of a few images, or some of many, evenly chosen."""
    return list(sources[:: max(1, -(-len(sources) // MEASURED_IMAGES))])


def find_noise_models(
    method: Method, measured: MeasuredNoise, given: Any = None, from_denoised: FromDenoised | None = None
) -> tuple[Noise, ...]:
    """One noise model for all channels, or one per channel; none if the method does not use any.

    measured: the noise of the images. given: noise models (files, `Noise`), one or one per channel; or None.
    from_denoised: makes noise models where measuring fails.

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
    if given is not None:
        return open_noise_models(given, measured.channels)
    try:
        checkups = measured.checkups
    except UserError as error:
        if from_denoised is None:
            raise
        return noise_models_from_denoised(from_denoised, error)
    return measured.of_all_channels(measured_noise_models(checkups, method))


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
