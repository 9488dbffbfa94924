"""Noise models of other programs: Gaussian mixtures of CAREamics and PPN2V, histograms of PN2V."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.noise.base import Noise
from noisewise.noise.fit.pairs import Pairs
from noisewise.noise.fit.variance_line import VarianceLine, fit_line
from noisewise.noise.models.gmm_polynomial import GmmPolynomial
from noisewise.noise.models.histogram import Histogram
from noisewise.noise.quantization import Quantization

MIXTURE_KEYS = ("trained_weight", "min_signal", "max_signal", "min_sigma")
EXPECTED = (
    f"not a noise model; known are .safetensors of noisewise, .npz with {', '.join(MIXTURE_KEYS)} (CAREamics, PPN2V) "
    "and .npy of shape (3, N, N) (PN2V)"
)
EMPTY = 1e-20  # the sum of a row below which PN2V had no pixels for it
SPLIT = 8  # a bin is taken apart into so many points along each axis
PILE = 3.0  # times its neighbour: a bin that holds so much holds what was clipped
ROW_PAIRS = 1e4  # a row of shares counts as so many pairs


def read_foreign(path: Path) -> Noise:
    """A noise model from a `.npz` or `.npy` file; no pickle is loaded.

    Errors: `UserError` if it is not one.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such noise file")
    try:
        arrays = read_arrays(path)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: {EXPECTED}") from error
    noise_model = law_of(path, arrays)
    noise_model.provenance = {"file": path.name, "kind": "read from another program's file"} | noise_model.provenance
    return noise_model


def read_arrays(path: Path) -> dict[str, Array]:
    """What is in the file, by name; a single array has the name ``."""
    with path.open("rb") as file:
        content = np.load(file, allow_pickle=False)
        return {"": content} if isinstance(content, np.ndarray) else {name: content[name] for name in content.files}


def law_of(path: Path, arrays: dict[str, Array]) -> Noise:
    """The law that these arrays describe. Errors: `UserError`."""
    if any(array.dtype.kind not in "iuf" for array in arrays.values()):
        raise UserError(f"{path}: {EXPECTED}")
    values = {name: array.astype(np.float64) for name, array in arrays.items()}
    if not all(np.isfinite(value).all() for value in values.values()):
        raise UserError(f"{path}: holds NaN or infinite numbers; make the noise model again")
    if set(MIXTURE_KEYS) <= set(values):
        return mixture_of(path, values)
    tables = [value for value in values.values() if value.ndim == 3 and value.shape[0] == 3]
    if len(values) == 1 and tables and tables[0].shape[1] == tables[0].shape[2] > 1:
        return histogram_of(path, tables[0])
    raise UserError(f"{path}: {EXPECTED}")


def mixture_of(path: Path, values: dict[str, Array]) -> GmmPolynomial:
    """A Gaussian mixture of CAREamics or PPN2V. Errors: `UserError` for shapes and ranges that cannot be."""
    weight = values["trained_weight"]
    scalars = [values[name] for name in MIXTURE_KEYS[1:]]
    if weight.ndim != 2 or weight.shape[0] % 3 or not weight.size or any(scalar.size != 1 for scalar in scalars):
        raise UserError(f"{path}: trained_weight {weight.shape} and its limits do not fit; make the noise model again")
    low, high, least = (float(scalar.item()) for scalar in scalars)
    if not (high > low and least > 0):
        raise UserError(f"{path}: signals from {low:g} to {high:g}, min_sigma {least:g}: make the noise model again")
    noise_model = GmmPolynomial(torch.from_numpy(weight), low, high, least)
    noise_model.provenance = {"signal_range": [low, high]}
    return noise_model


def histogram_of(path: Path, table: Array) -> Histogram:
    """A histogram of PN2V: p(x|s) with s along the rows; the others hold the range, as lower and upper bounds.

    Errors: `UserError` for one that is empty or has no range.
    """
    shares, low, high = table[0], float(table[1].min()), float(table[2].max())
    full = shares.sum(1) > EMPTY
    if not high > low or (shares < 0).any() or full.sum() < 2:
        raise UserError(f"{path}: the histogram is empty or has no range; make the noise model again")
    width = (high - low) / len(shares)
    middles = low + width * (np.arange(len(shares)) + 0.5)
    shares = shares[full] / shares[full].sum(1, keepdims=True)
    signals = middles[full]
    ends = float(signals[0] - width / 2), float(signals[-1] + width / 2)
    pairs = Pairs(line_through(shares, middles, signals), *ends, limits_of(shares, middles))
    add_bins(pairs, shares, middles, signals, width)
    noise_model = Histogram.from_pairs(pairs)
    noise_model.provenance = {"signal_range": [pairs.low, pairs.high]}
    return noise_model


def limits_of(shares: Array, middles: Array) -> Quantization:
    """Where the recording was clipped: the outermost bin holds far more than the next."""
    totals = shares.sum(0)
    low = float(middles[0]) if totals[0] > PILE * totals[1] else None
    return Quantization(0.0, low, float(middles[-1]) if totals[-1] > PILE * totals[-2] else None)


def line_through(shares: Array, middles: Array, signals: Array) -> VarianceLine:
    """The line of the variance of the rows; a constant if it does not rise."""
    squares = (shares * (middles - signals[:, None]) ** 2).sum(1)
    line = fit_line(torch.from_numpy(signals), torch.from_numpy(squares), 100.0)
    return line if line.slope > 0 else VarianceLine(0.0, float(np.median(squares)), line.covariance)


def add_bins(pairs: Pairs, shares: Array, middles: Array, signals: Array, width: float) -> None:
    """Count the bins as pairs, each spread over its area."""
    within = ((np.arange(SPLIT) + 0.5) / SPLIT - 0.5) * width
    noisy = torch.from_numpy((middles[:, None] + within).ravel())
    for step in within:
        for row, signal in zip(shares, signals, strict=True):
            count = torch.from_numpy(np.repeat(row, SPLIT)) * ROW_PAIRS / SPLIT**2
            pairs.add(noisy[count > 0], torch.full_like(noisy, signal + step)[count > 0], count[count > 0])
