"""Quantities: measurements on an image, with their distribution under the posterior."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisewise.errors import UserError, counted

Array = np.ndarray[Any, np.dtype[Any]]
COVERAGE = 0.9  # of intervals, unless another one is asked for
SAMPLES = 39  # of which the second from below and from above are a 90 % interval
WHOLE = "value"  # name of what a function without names returns


@dataclass(frozen=True)
class Quantities:
    """Measurements on samples of p(s|x). names: of the quantities. values: (samples, quantities).

    of_mean: the same measurements on the posterior mean, which is biased for measurements that are not linear.
    """

    names: tuple[Any, ...]
    values: Array
    of_mean: Array

    @property
    def median(self) -> Array:
        """The median of each quantity."""
        return np.asarray(np.median(self.values, 0))

    def without_missing(self) -> tuple[Quantities, tuple[Any, ...]]:
        """The quantities that are finite numbers for the mean and all samples, and the names of the others."""
        known = np.isfinite(self.values).all(0) & np.isfinite(self.of_mean)
        left, lost = (tuple(n for n, one in zip(self.names, known, strict=True) if one == k) for k in (True, False))
        return Quantities(left, self.values[:, known], self.of_mean[known]), lost

    def interval(self, coverage: float = COVERAGE) -> tuple[Array, Array]:
        """Lower and upper bounds of each quantity, from the ranks of the samples.

        Of n exact samples, the k-th from below and from above enclose the true value with probability
        1 − 2 k / (n + 1); between whole ranks values are interpolated.

        Errors: `UserError` for a coverage out of range, or one that needs more samples.
        """
        refuse_few(len(self.values), coverage)
        outside = (1 - coverage) / 2
        low, high = np.quantile(self.values, (outside, 1 - outside), axis=0, method="weibull")
        return np.asarray(low), np.asarray(high)


def refuse_few(samples: int, coverage: float) -> None:
    """Errors: `UserError` for a coverage out of range, or too few samples for intervals of it."""
    if not 0 < coverage < 1:
        raise UserError(f"coverage {coverage:g} is not between 0 and 1; give a fraction, such as 0.9")
    needed = math.ceil(2 / (1 - coverage) - 1 - 1e-9)
    if samples < needed:
        raise UserError(f"an interval of {coverage:.3g} needs {counted(needed, 'sample')} or more, not {samples}")


def quantify(
    measure: Callable[[Array], Any], mean: Array, samples: Iterable[Array], finite: bool = True
) -> Quantities:  # fmt: skip
    """Measure samples one by one.

    measure: image -> a number, a sequence of numbers, or numbers by name; of every image the same ones. mean: the
    posterior mean. samples: images. finite: refuse values that are not finite numbers.

    Errors: `UserError` for such values, or another number of them for some sample.
    """
    first = named(measure(mean))
    names, rows = tuple(first), list[list[float]]()
    if not names:
        raise UserError("the measurement gives no values; return a number, several, or a dict")
    if finite:
        check_finite(first, "the mean")
    for number, image in enumerate(samples):
        found = named(measure(image))
        if tuple(found) != names:
            raise UserError(
                f"the measurement gives {counted(len(found), 'value')} for sample {number}, and {len(names)} for the "
                f"mean; give the same quantities for every image"
            )
        if finite:
            check_finite(found, f"sample {number}")
        rows.append(list(found.values()))
    if not rows:
        raise UserError("there is no sample to measure; ask for 1 or more, 39 for intervals of 90 %")
    return Quantities(names, np.array(rows).reshape(-1, len(names)), np.array(list(first.values())))


def named(found: Any) -> dict[Any, float]:
    """Values by name. Errors: `UserError` for what are no numbers."""
    try:
        if isinstance(found, Mapping):
            return {name: float(value) for name, value in found.items()}
        if np.ndim(found) == 0:
            return {WHOLE: float(found)}
        return {number: float(value) for number, value in enumerate(np.ravel(found))}
    except (TypeError, ValueError) as error:
        kind = type(found).__name__
        raise UserError(f"the measurement gives {kind}, not numbers; return a number, several, or a dict") from error


def check_finite(found: Mapping[Any, float], where: str) -> None:
    """Errors: `UserError` for values that are not finite."""
    for name, value in found.items():
        if not math.isfinite(value):
            what = "the measurement" if name == WHOLE else f"{name}"
            raise UserError(f"{what} is not a finite number for {where} ({value}); leave it out, or change the labels")
