"""Choose a method by the check-up of the noise and by the wanted outputs, and check that it suits the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any

from noisewise import methods
from noisewise.errors import UserError
from noisewise.estimate.report import NoiseReport
from noisewise.io.write import WriteOptions
from noisewise.methods.base import Method, Traits

ORDER = ("simulated", "hdn", "cosdd", "n2v", "pn2v", "r2r", "n2n", "care")  # in which methods are recommended
DENOISE_OPTIONS = "output, method, target, noise, axes, budget, steps, seed, device, model, report"


def choose_method(
    asked: str | Method, checkup: NoiseReport | None, noise: Any = None, write: WriteOptions | None = None
) -> str | Method:
    """The method asked for; for `auto`: unchanged without noise, gap for photon counts, simulated where a noise model
    is known, otherwise n2v, which needs none, or one that gives what is wanted.

    checkup: of the first channel, or None if it failed. noise: noise models that were given. write: what is wanted.
    """
    if asked != "auto":
        return asked
    write = write or WriteOptions()
    if checkup is not None and checkup.few_photons and not noise:
        return "gap"
    if checkup is not None and checkup.kind == "none" and not noise and write.mean_alone:
        return "unchanged"
    if noise or (checkup is not None and checkup.kind in methods.get("simulated")().traits.removes):
        return "simulated"
    if write.samples or write.mode:
        return "hdn"
    return "pn2v" if write.std else "n2v"


def make_method(method: str | Method, settings: dict[str, Any]) -> Method:
    """A method from its name and settings. Errors: `UserError` for unknown names or wrong values."""
    if isinstance(method, str) and not settings:
        return methods.get(method)()
    from pydantic import TypeAdapter, ValidationError

    if isinstance(method, Method):
        kind, settings = type(method), asdict(method) | settings
    else:
        kind = methods.get(method)
    known = [field.name for field in fields(kind)]
    unknown = set(settings) - set(known)
    if unknown:
        raise UserError(
            f"method {methods.name_of(kind)} has no setting '{sorted(unknown)[0]}'; it has: {', '.join(known)}; "
            f"denoise itself has: {DENOISE_OPTIONS}, {', '.join(field.name for field in fields(WriteOptions))}"
        )
    try:
        return TypeAdapter(kind).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"setting '{'.'.join(map(str, first['loc']))}': {first['msg']}") from error


def refuse_unsupported(method: Method, write: WriteOptions) -> None:
    """Errors: `UserError` if the method does not give what is to be written."""
    name, traits = methods.name_of(method), method.traits
    if write.std and not traits.std:
        others = recommended(lambda other: other.std)
        raise UserError(
            f"method {name} gives no standard deviation; methods that do: {alternatives(others)} (noisewise denoise "
            f"IMAGE --method {others[0]} --std), or care: noisewise train care IMAGE --target CLEAN --uncertainty "
            "-o MODEL"
        )
    if (write.samples or write.mode) and not traits.samples:
        others = recommended(lambda other: other.samples)
        raise UserError(
            f"method {name} gives no samples; methods that do: {alternatives(others)}; for example: "
            f"noisewise denoise IMAGE --method {others[0]} --samples 8"
        )


def suitability_warnings(method: Method, checkup: NoiseReport | None, dims: int) -> list[str]:
    """Where the method cannot remove this kind of noise, and what to use instead."""
    traits, name = method.traits, methods.name_of(method)
    if checkup is None or traits.needs != "noisy" or checkup.kind == "none" or traits.changes_nothing:
        return []
    found = []
    if checkup.kind not in traits.removes:
        suited = suited_methods(checkup)
        found.append(checkup.verdict + (f" {methods_for(suited)}" if suited else ""))
    if checkup.uneven and traits.noise != "none":
        found.append(checkup.uneven[0].upper() + checkup.uneven[1:] + ".")
    if dims == 3 and "rows" not in traits.removes and checkup.slice_correlation:
        found.append(
            f"Successive slices share their noise (correlation {checkup.slice_correlation:.2f}), which it keeps. "
            f"Denoise slice by slice: noisewise train {name} IMAGE --spatial YX -o MODEL. "
            f"Or hide the slices beside each pixel: noisewise train n2v IMAGE --blind-shape auto -o MODEL."
        )
    return [f"{name} may not suit this image. {sentence}" for sentence in found]


def suited_methods(checkup: NoiseReport) -> list[str]:
    """Methods that need noisy images alone and remove this kind of noise, the recommended ones first."""
    suited = recommended(
        lambda traits: checkup.kind in traits.removes and traits.needs == "noisy" and not traits.counts_only
    )
    return [*recommended(lambda traits: traits.counts_only), *suited] if checkup.few_photons else suited


def methods_for(suited: Sequence[str]) -> str:
    """The methods that remove a kind of noise, and a command with the first."""
    return f"Methods that remove it: {alternatives(suited)}; for example: noisewise denoise IMAGE --method {suited[0]}"


def recommended(condition: Callable[[Traits], bool]) -> list[str]:
    """Methods whose traits with default settings meet a condition, the recommended ones first.

    Without `unchanged`, which removes nothing.
    """
    found = methods.having(lambda traits: condition(traits) and not traits.changes_nothing)
    return sorted(found, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def alternatives(found: Sequence[str]) -> str:
    """`a, b or c`."""
    return " or ".join([*([", ".join(found[:-1])] if found[1:] else []), *found[-1:]])


def names(condition: Callable[[Traits], bool]) -> str:
    """`a, b or c`: methods whose traits meet a condition, the recommended ones first."""
    return alternatives(recommended(condition))


def check_targets(traits: Traits, name: str, images: int, targets: int) -> None:
    """Errors: `UserError` unless there is one target per image where the method needs it, and none where not."""
    if traits.needs == "noisy" and targets:
        raise UserError(f"method '{name}' learns from noisy images alone; leave out the target, or use n2n or care")
    if traits.needs == "pairs" and not targets:
        return  # repeats along the time axis may do
    if traits.needs != "noisy" and targets != images:
        what = "a second noisy image" if traits.needs == "pairs" else "a clean image"
        raise UserError(
            f"method '{name}' needs {what} as target for each input, and got {targets} for {images}; "
            f"without targets, use {names(lambda other: other.needs == 'noisy')}"
        )
