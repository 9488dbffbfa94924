"""Which law of noise a method works with: the one that was given, else measured in the images, else bootstrapped.

Where the packaged denoiser is to be used, what was measured is also refined by it.
"""

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
from noisewise.refine import refine

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
        return open_laws(given, channels)
    try:
        found = [checkup] if checkup is not None and len(sources) == 1 else []
        chosen = list(sources[:: max(1, -(-len(sources) // MEASURED_IMAGES))])
        found += [measure(chosen, channel=c) for c in range(len(found), channels)]
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
    if method.starts_from_prior:
        found = [refine(sources[0], one, channel=c) for c, one in enumerate(found)]
    return laws_of(found, method)


def laws_of(checkups: Sequence[CheckUp], method: Method) -> tuple[Noise, ...]:
    """The measured law of each channel. Errors: `UserError` where there is hardly any noise in any of them."""
    if all(checkup.kind == "none" for checkup in checkups):
        raise UserError(
            f"{checkups[0].name}: has no noise worth removing; if it has, give a noise model (--noise, from noisewise "
            f"calibrate), or take a method that needs none, such as n2v"
        )
    return tuple(checkup.noise if method.uses_correlation else checkup.pixel_noise for checkup in checkups)


def open_laws(given: Any, channels: int) -> tuple[Noise, ...]:
    """Noise models from files or objects. Errors: `UserError` if they are none, or too few or many."""
    several = list(given) if isinstance(given, list | tuple) else [given]
    laws = tuple(part if isinstance(part, Noise) else load_noise(Path(part)) for part in several)
    if len(laws) not in (1, channels):
        raise UserError(f"{len(laws)} noise models for {channels} channels; give one for all, or one a channel")
    return laws
