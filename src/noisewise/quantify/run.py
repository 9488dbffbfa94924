"""`quantify`: measurements in an image, with their distribution under the posterior."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.axes import Array
from noisewise.errors import NeedsTraining, UserError, counted
from noisewise.io import open_source
from noisewise.io.base import Source
from noisewise.io.files import drafted
from noisewise.io.light import read_light
from noisewise.io.selection import Selection
from noisewise.posterior import Posterior
from noisewise.quantify.measurements import EVERYWHERE, MEASUREMENTS, USES, Key, Options, Regions, Scene, Values
from noisewise.quantities import COVERAGE, SAMPLES, Quantities, refuse_few
from noisewise.quantities import quantify as quantify_samples
from noisewise.workflow.denoise import Result, denoise
from noisewise.workflow.predict import predict

DEFAULT = ("mean", "sum")
ORDER = "TCZYX"
BACKGROUND_PERCENTILE = 5.0  # of the posterior mean, where no background is given
SPOT_SHARE = 0.2  # of the brightest signal above the background: the least amplitude of a spot, if none is given
BRIGHT_PERCENTILE, ROUNDING = 99.9, 1000  # what is found is rounded to a fraction of the contrast
LARGEST_LABEL = 2**53  # whole numbers up to it are the same in every type of pixels
BINS = 256  # of the histogram in which a threshold is found
COLUMNS = ("measurement", "label", "channel", "frame", "position", "median", "low", "high", "of_mean")


@dataclass(frozen=True)
class Quantified:
    """What `quantify` found. quantities: measurements by `Key`, with their samples. coverage: of the intervals.
    notes: messages about the image and what was assumed. options: thresholds and backgrounds that were used.
    """

    name: str
    quantities: Quantities
    options: Options
    coverage: float = COVERAGE
    notes: list[str] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each quantity: median and interval over the samples, and the value of the posterior mean."""
        low, high = self.quantities.interval(self.coverage)
        parts = zip(
            self.quantities.names, self.quantities.median, low, high, self.quantities.of_mean, strict=True
        )  # fmt: skip
        return [dict(zip(COLUMNS, (*key, *map(float, values)), strict=True)) for key, *values in parts]

    def csv(self) -> str:
        """The rows as a table with commas."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        return text.getvalue()

    def record(self) -> dict[str, Any]:
        """Everything as JSON values."""
        used = {one.name: getattr(self.options, one.name) for one in fields(self.options)}
        return {
            "image": self.name, "samples": len(self.quantities.values), "coverage": self.coverage,
            "quantities": self.rows(), "options": used, "notes": self.notes,
        }  # fmt: skip


def quantify(
    image: Any, labels: Any = None, measure: str | Sequence[str] = DEFAULT, *, samples: int = SAMPLES,
    coverage: float = COVERAGE, model: Any = None, seed: int = 0, axes: str | None = None, series: int | None = None,
    options: Mapping[str, Any] | None = None, **settings: Any,
) -> Quantified:  # fmt: skip
    """Measure an image, with error bars: each measurement is made on samples of p(s|x).

    image: a path or an array. labels: regions, positive integers, in the shape of the image without its channels, or of
    one frame; a path or an array; None: the whole image. measure: names of `MEASUREMENTS`. samples: their number.
    coverage: of the intervals. model: a trained `Model`, or its file, with `settings` as for `predict`; None: the image
    is denoised first, with `settings` as for `denoise`, but without training where neither method, budget nor steps are
    given. axes: letters from `STCZYX`, if the image does not give them. series: number of the image in files that
    contain several. options: fields of `Options`.

    Returns a `Quantified`. Errors: `UserError` for images and labels that do not fit, measurements that are not
    possible, and methods that give no samples.
    """
    names = [measure] if isinstance(measure, str) else list(measure or ())
    if not names:
        raise UserError(f"nothing is to be measured; name one or more of: {', '.join(MEASUREMENTS)}")
    functions = [find_measure(name) for name in names]
    refuse_few(samples, coverage)
    selection = Selection.taken_from(settings)
    settings |= {name: getattr(selection, name) for name in ("channels", "ignore", "mask")}
    with selection.part_of(open_source(image, axes, series=series)) as source:
        regions, given = regions_of(labels, source), dict(options or {})
        scene = Scene(ordered(np.nan_to_num(source.read()), source.axes), regions)
        first = complete(given, scene.image)[0]
        for function in functions:  # what is not possible is refused before the work
            function(scene, first)
        settings |= {"seed": seed, "samples": samples}
        if model is None:
            found = denoise_untrained(source, settings) if untrained(settings) else denoise(source, **settings)
            posterior, notes = found.posterior, list(found.notes)
        else:
            posterior, notes = predict(source, model, **settings), []
        light = np.isfinite(read_light(source, tuple(slice(0, size) for size in source.shape)))
        light = ordered(light, source.axes)
        light[:, sorted(selection.other_channels(source))] = True  # measured as recorded
        regions, left_out = within(regions, np.asarray(light.all(1)))
        quantities, options_used, assumed = measured(
            posterior, source.axes, regions, light, functions, samples, seed, given
        )  # fmt: skip
        quantities, lost = quantities.without_missing()
        if not quantities.names:
            raise UserError(f"{source.name}: {lost[0]} is not a finite number; change the labels or the measurement")
        notes = [*source.notes, *notes, *left_out, *used(functions, assumed), *missing(lost)]
        return Quantified(source.name, quantities, options_used, coverage, list(dict.fromkeys(notes)))


def untrained(settings: Mapping[str, Any]) -> bool:
    """Whether neither a method nor a training is asked for: the packaged network then draws the samples."""
    return settings.get("method") in (None, "auto") and settings.get("budget") is None and settings.get("steps") is None


def denoise_untrained(source: Source, settings: Mapping[str, Any]) -> Result:
    """Denoise with the packaged network as it is; with a training where it cannot be used so."""
    try:
        return denoise(source, **{**settings, "steps": 0})
    except NeedsTraining:
        return denoise(source, **settings)


def measured(
    posterior: Posterior[Array], axes: str, regions: Regions, light: Array,
    functions: Sequence[Callable[[Scene, Options], Values]], samples: int, seed: int, given: Mapping[str, Any],
) -> tuple[Quantities, Options, dict[str, str]]:  # fmt: skip
    """Measure the samples of a posterior. light: which pixels (T, C, Z, Y, X) are light; others have no signal.

    Returns the quantities, the options, and a note on each of those that were found in the image.
    """
    mean = np.asarray(posterior.mean)
    options, assumed = complete(given, np.where(light, ordered(mean, axes), np.nan))
    nothing = np.array(options.background)[:, None, None, None]

    def every(image: Array) -> dict[Key, float]:
        scene = Scene(np.where(light, ordered(np.asarray(image), axes), nothing), regions)
        return {key: value for one in functions for key, value in one(scene, options).items()}

    return quantify_samples(every, mean, posterior.each_sample(samples, seed), finite=False), options, assumed


def within(regions: Regions, light: Array) -> tuple[Regions, list[str]]:
    """Regions without the pixels that hold no light, (T, Z, Y, X); and a note on these."""
    lost = int((~light & (regions.indices > 0)).sum())
    if not lost:
        return regions, []
    note = f"{counted(lost, 'pixel')} of regions hold no light (not finite, excluded, or fill) and are left out"
    return Regions(regions.names, np.where(light, regions.indices, 0)), [note]


def missing(lost: Sequence[Any]) -> list[str]:
    """A note on quantities that were not finite numbers."""
    if not lost:
        return []
    more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
    return [f"left out, because it is not a finite number for every sample: {lost[0]}{more}"]


def used(functions: Sequence[Callable[[Scene, Options], Values]], assumed: Mapping[str, str]) -> list[str]:
    """The notes on options that these measurements use."""
    return [note for name, note in assumed.items() if any(function in USES[name] for function in functions)]


def find_measure(name: str) -> Callable[[Scene, Options], Values]:
    """A measurement by its name. Errors: `UserError` for unknown names."""
    if name not in MEASUREMENTS:
        raise UserError(f"there is no measurement '{name}'; there are: {', '.join(MEASUREMENTS)}")
    return MEASUREMENTS[name]


def ordered(image: Array, axes: str) -> Array:
    """An image as (T, C, Z, Y, X)."""
    kept = "".join(axis for axis in ORDER if axis in axes)
    moved = image.transpose([axes.index(axis) for axis in kept])
    sizes = dict(zip(kept, moved.shape, strict=True))
    return moved.reshape([sizes.get(axis, 1) for axis in ORDER])


def regions_of(labels: Any, source: Source) -> Regions:
    """Regions (T or 1, Z, Y, X) from labels: non-negative integers.

    Errors: `UserError` for another shape than that of the image, values that are not whole numbers, and no region.
    """
    if "S" in source.axes:
        raise UserError(f"{source.name}: holds separate images ({source.axes}); measure them one by one, or give axes")
    sizes = {axis: size for axis, size in zip(source.axes, source.shape, strict=True) if axis != "C"}
    kept = [axis for axis in "TZYX" if axis in sizes]
    if labels is None:
        return Regions(np.array([EVERYWHERE]), np.ones([1, *(sizes.get(axis, 1) for axis in "ZYX")], np.int64))
    if getattr(getattr(labels, "dtype", None), "kind", "") == "b":
        labels = labels.astype(np.uint8)
    with open_source(labels) as opened:
        marks, name = opened.read(), opened.name
        marks = np.squeeze(marks if "S" in opened.axes else ordered(marks, opened.axes))
    if not np.isfinite(marks).all() or (marks != np.round(marks)).any() or marks.min() < 0:
        raise UserError(f"{name}: labels are whole numbers, 0 for no region; give an image of labels, not of light")
    if marks.max() > LARGEST_LABEL:
        raise UserError(f"{name}: the label {marks.max()} is too large; number the regions anew, from 1 on")
    for names in (kept, [axis for axis in kept if axis != "T"]):
        names = [axis for axis in names if sizes[axis] > 1]
        if marks.shape == tuple(sizes[axis] for axis in names):
            shape = [sizes[axis] if axis in names else 1 for axis in "TZYX"]
            break
    else:
        wanted = " x ".join(str(sizes[axis]) for axis in kept)
        got = " x ".join(map(str, marks.shape))
        raise UserError(f"{name}: labels of {got} pixels do not fit the image {source.name} of {wanted}")
    if not marks.any():
        raise UserError(f"{name}: holds no region, all labels are 0; give labels from 1 on")
    return Regions.of_labels(marks.astype(np.int64).reshape(shape))


def complete(given: Mapping[str, Any], mean: Array) -> tuple[Options, dict[str, str]]:
    """Options with what was not given, found in the posterior mean once for all samples; and a note on each of these.

    Errors: `UserError` for unknown options, impossible values, or another number of values than of channels.
    """
    unknown = sorted(set(given) - {one.name for one in fields(Options)})
    if unknown:
        raise UserError(f"there is no option '{unknown[0]}'; there are: {', '.join(f.name for f in fields(Options))}")
    channels, notes = [one[np.isfinite(one)] for one in np.moveaxis(mean, 1, 0)], dict[str, str]()

    def per_channel(name: str, found: Callable[[Array], float]) -> tuple[float, ...]:
        if given.get(name) is None:
            values = tuple(rounded(found(one), one) for one in channels)
            notes[name] = f"{name.replace('_', ' ')}: {', '.join(f'{v:.9g}' for v in values)}, found in the image"
            return values
        values = tuple(float(v) for v in np.atleast_1d(given[name]))
        if len(values) not in (1, len(channels)):
            raise UserError(f"{name}: {counted(len(values), 'value')} for {counted(len(channels), 'channel')}")
        if not np.isfinite(values).all():
            raise UserError(f"{name}: {', '.join(map(str, values))} is not finite; give pixel values")
        return values * len(channels) if len(values) == 1 else values

    background = per_channel("background", dark)
    threshold = per_channel("threshold", otsu)
    amplitude = per_channel("spot_amplitude", lambda one: SPOT_SHARE * (float(one.max()) - dark(one)))
    first, end = map(int, given.get("baseline") or (0, max(1, len(mean) // 10)))
    if not 0 <= first < end:
        raise UserError(f"baseline: no frame is from {first} to {end}, the end excluded; give such as 0 {max(end, 1)}")
    if end > len(mean) > 1:
        raise UserError(f"baseline: frames {first} to {end} of an image of {counted(len(mean), 'frame')}")
    others = {name: given[name] for name in ("line", "spot_sigma") if given.get(name) is not None}
    if not 0 < others.get("spot_sigma", 1) <= max(mean.shape[-2:]) / 4:
        raise UserError(f"spot_sigma: {others['spot_sigma']:g} is no width of spots here; give pixels, such as 1.5")
    if given.get("spot_amplitude") is not None and min(amplitude) <= 0:
        raise UserError(f"spot_amplitude: {min(amplitude):g} is no amplitude; give pixel values above 0")
    options = Options(threshold, background, spot_amplitude=amplitude, baseline=(first, end))
    return replace(options, **others), notes


def dark(image: Array) -> float:
    """The signal of the darkest pixels."""
    return float(np.percentile(image, BACKGROUND_PERCENTILE))


def rounded(value: float, image: Array) -> float:
    """A number that can be given again, rounded to less than a thousandth of the contrast of an image."""
    contrast = float(np.percentile(image, BRIGHT_PERCENTILE)) - dark(image)
    if contrast <= 0:
        return value
    return round(value, int(np.ceil(-np.log10(contrast / ROUNDING))))


def otsu(image: Array) -> float:
    """The threshold between two classes of pixels with the largest variance between them.

    Source: Otsu 1979, doi:10.1109/TSMC.1979.4310076.
    """
    counts, edges = np.histogram(image, BINS)
    middle = (edges[1:] + edges[:-1]) / 2
    weight = np.cumsum(counts).astype(np.float64)
    sums = np.cumsum(counts * middle)
    other = weight[-1] - weight
    with np.errstate(invalid="ignore", divide="ignore"):
        between = np.nan_to_num(weight * other * (sums / weight - (sums[-1] - sums) / other) ** 2)
    best = np.flatnonzero(between >= (1 - 1e-9) * between.max())  # several, where bins between the classes are empty
    return float(edges[1 + int(best[len(best) // 2])])


def write_csv(found: Quantified, path: Path) -> None:
    """Write the table, complete or not at all. Errors: `UserError` if it cannot be written."""
    with drafted(path, overwrite=True) as temporary:
        temporary.write_text(found.csv(), encoding="utf-8")
