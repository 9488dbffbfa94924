"""Read noise models of other programs: Gaussian mixtures of CAREamics and PPN2V, histograms of PN2V.

Sources: Krull et al. 2020 (PN2V), doi:10.3389/fcomp.2020.00005; Prakash et al. 2020 (PPN2V), arXiv:1911.12291.
"""

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
    f"not a noise model; give .safetensors of noisewise, .npz with {', '.join(MIXTURE_KEYS)} (CAREamics, PPN2V) "
    "or .npy of shape (3, N, N) (PN2V)"
)
EMPTY = 1e-20  # sum of a row below which PN2V had no pixels for it
SPLIT = 8  # points along each axis that stand for one bin
PILE_UP = 3.0  # times the next bin: an outermost bin with more holds clipped values
ROW_PAIRS = 1e4  # pairs that one row counts as


def read_foreign(path: Path) -> Noise:
    """Read a noise model from a `.npz` or `.npy` file; no pickle is loaded.

    Errors: `UserError` if the file holds no noise model.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such noise file")
    try:
        arrays = read_arrays(path)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: {EXPECTED}") from error
    noise_model = noise_model_from(path, arrays)
    noise_model.provenance = {"file": path.name, "kind": "read from another program's file"} | noise_model.provenance
    return noise_model


def read_arrays(path: Path) -> dict[str, Array]:
    """Arrays of the file by name; a single array has an empty name."""
    with path.open("rb") as file:
        content = np.load(file, allow_pickle=False)
        return {"": content} if isinstance(content, np.ndarray) else {name: content[name] for name in content.files}


def noise_model_from(path: Path, arrays: dict[str, Array]) -> Noise:
    """Noise model that these arrays describe. Errors: `UserError` if they describe none."""
    if any(array.dtype.kind not in "iuf" for array in arrays.values()):
        raise UserError(f"{path}: {EXPECTED}")
    values = {name: array.astype(np.float64) for name, array in arrays.items()}
    if not all(np.isfinite(value).all() for value in values.values()):
        raise UserError(f"{path}: the noise model holds NaN or infinite numbers; make it again")
    if set(MIXTURE_KEYS) <= set(values):
        return read_mixture(path, values)
    tables = [value for value in values.values() if value.ndim == 3 and value.shape[0] == 3]
    if len(values) == 1 and tables and tables[0].shape[1] == tables[0].shape[2] > 1:
        return read_histogram(path, tables[0])
    raise UserError(f"{path}: {EXPECTED}")


def read_mixture(path: Path, values: dict[str, Array]) -> GmmPolynomial:
    """Gaussian mixture of CAREamics or PPN2V. Errors: `UserError` for impossible shapes and ranges."""
    weight = values["trained_weight"]
    scalars = [values[name] for name in MIXTURE_KEYS[1:]]
    if weight.ndim != 2 or weight.shape[0] % 3 or not weight.size or any(scalar.size != 1 for scalar in scalars):
        raise UserError(f"{path}: trained_weight {weight.shape} does not fit its limits; make the noise model again")
    low, high, least = (float(scalar.item()) for scalar in scalars)
    if not (high > low and least > 0):
        raise UserError(f"{path}: signals {low:g} to {high:g}, min_sigma {least:g} are no noise model; make it again")
    noise_model = GmmPolynomial(torch.from_numpy(weight), low, high, least)
    noise_model.provenance = {"signal_range": [low, high]}
    return noise_model


def read_histogram(path: Path, table: Array) -> Histogram:
    """Histogram of PN2V (3, N, N): p(x|s) with s along the rows, then the lower and upper bounds of the bins.

    Errors: `UserError` for a histogram that is empty or has no range.
    """
    probability, low, high = table[0], float(table[1].min()), float(table[2].max())
    filled = probability.sum(1) > EMPTY
    if not high > low or (probability < 0).any() or filled.sum() < 2:
        raise UserError(f"{path}: the histogram is empty or has no range; make the noise model again")
    width = (high - low) / len(probability)
    centres = low + width * (np.arange(len(probability)) + 0.5)
    probability = probability[filled] / probability[filled].sum(1, keepdims=True)
    signals = centres[filled]
    ends = float(signals[0] - width / 2), float(signals[-1] + width / 2)
    pairs = Pairs(variance_line(probability, centres, signals), *ends, clipping_limits(probability, centres))
    add_bins(pairs, probability, centres, signals, width)
    noise_model = Histogram.from_pairs(pairs)
    noise_model.provenance = {"signal_range": [pairs.low, pairs.high]}
    return noise_model


def clipping_limits(probability: Array, centres: Array) -> Quantization:
    """Limits where the recording was clipped: the outermost bin holds far more than the next one."""
    totals = probability.sum(0)
    low = float(centres[0]) if totals[0] > PILE_UP * totals[1] else None
    return Quantization(0.0, low, float(centres[-1]) if totals[-1] > PILE_UP * totals[-2] else None)


def variance_line(probability: Array, centres: Array, signals: Array) -> VarianceLine:
    """Variance line of the rows; a constant if the variance does not rise with the signal."""
    squares = (probability * (centres - signals[:, None]) ** 2).sum(1)
    line = fit_line(torch.from_numpy(signals), torch.from_numpy(squares), 100.0)
    return line if line.slope > 0 else VarianceLine(0.0, float(np.median(squares)), line.covariance)


def add_bins(pairs: Pairs, probability: Array, centres: Array, signals: Array, width: float) -> None:
    """Count the bins as pairs, evenly distributed over the area of each bin."""
    within = ((np.arange(SPLIT) + 0.5) / SPLIT - 0.5) * width
    noisy = torch.from_numpy((centres[:, None] + within).ravel())
    for step in within:
        for row, signal in zip(probability, signals, strict=True):
            count = torch.from_numpy(np.repeat(row, SPLIT)) * ROW_PAIRS / SPLIT**2
            pairs.add(noisy[count > 0], torch.full_like(noisy, signal + step)[count > 0], count[count > 0])
