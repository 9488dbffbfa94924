"""Which law of noise a method works with: the one that was given, else measured in the images, else bootstrapped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from noisewise import methods
from noisewise.errors import UserError
from noisewise.io.base import Source
from noisewise.methods.base import Method
from noisewise.noise.base import Noise, load_noise
from noisewise.noise.checkup import CheckUp
from noisewise.noise.measure import measure

MEASURED_IMAGES = 8  # of many images, so many are looked at

Bootstrap = Callable[[], list[Noise]]


def find_laws(
    method: Method, sources: Sequence[Source], given: Any = None, bootstrap: Bootstrap | None = None,
    checkup: CheckUp | None = None,
) -> tuple[Noise, ...]:  # fmt: skip
    """One law for all channels, or one a channel; none if the method does not use any.

    given: noise models (files, `Noise`), one or one a channel; or None. bootstrap: makes laws where measuring fails.
    checkup: of the first channel of a single image, if it was made already.

    Errors: `UserError` for laws that cannot be used, or if there is none to be had.
    """
    if not method.wants_noise:
        if given is not None:
            raise UserError(
                f"method '{methods.name_of(method)}' does not use a noise model; leave it out, or use one of: "
                f"{', '.join(name for name in methods.modules() if methods.get(name).uses_noise)}"
            )
        return ()
    channels = sources[0].size_of("C")
    if given is not None:
        laws = open_laws(given, channels)
        for source in sources:
            check_size(source, laws)
        return laws
    try:
        found = [checkup] if checkup is not None and len(sources) == 1 else []
        chosen = list(sources[:: max(1, -(-len(sources) // MEASURED_IMAGES))])
        found += [measure(chosen, channel=c) for c in range(len(found), channels)]
        return tuple(law_of(part) for part in found)
    except UserError as error:
        if bootstrap is None:
            raise
        try:
            return tuple(bootstrap())
        except UserError:
            raise UserError(
                f"{error}; so its noise cannot be told: give a noise model (--noise, from noisewise calibrate), "
                f"or take a method that needs none, such as n2v"
            ) from error


def law_of(checkup: CheckUp) -> Noise:
    """The measured law. Errors: `UserError` where there is hardly any noise."""
    if checkup.kind == "none":
        raise UserError(f"{checkup.name}: {checkup.verdict}")
    return checkup.noise


def open_laws(given: Any, channels: int) -> tuple[Noise, ...]:
    """Noise models from files or objects. Errors: `UserError` if they are none, or too few or many."""
    several = list(given) if isinstance(given, list | tuple) else [given]
    laws = tuple(part if isinstance(part, Noise) else load_noise(Path(part)) for part in several)
    if len(laws) not in (1, channels):
        raise UserError(f"{len(laws)} noise models for {channels} channels; give one for all, or one a channel")
    return laws


def check_size(source: Source, laws: Sequence[Noise]) -> None:
    """Laws of single pixels must reach over the image. Errors: `UserError`."""
    height, width = source.size_of("Y"), source.size_of("X")
    for size in (law.size for law in laws):
        if size is not None and (size[0] < height or size[1] < width):
            raise UserError(
                f"{source.name}: has {height} x {width} pixels, the noise model only {size[0]} x {size[1]}; crop the "
                f"image, or calibrate the part of the sensor that it was taken with"
            )
