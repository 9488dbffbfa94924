"""Simulated detectors, from photons to pixel values (ADU): the detection chain, its moments, typical instruments.

    x = round(o + g·(m + r)),   m ~ Gamma(n·a, G/a),   n ~ Poisson(QE·photons + dark + clock-induced + hot)

An EM register or dynode chain multiplies each electron by G on average, with the excess noise factor F² = 1 + 1/a: mean
and variance of m are G·λ and F²·G²·λ, λ the mean of n. The gamma distribution is that of EM registers (Hirsch et al.
2013, doi:10.1371/journal.pone.0053671) and of the single-electron response of photomultipliers. r is the Gaussian
read noise, in electrons after the register; g is the gain (ADU per electron) and o the offset (ADU).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import InitVar, dataclass, fields
from typing import Any

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError

MOST = 1e9  # of any setting, and of photons per pixel: above every instrument, and far from overflow
LEAST = 1e-9
RANGES = {
    "quantum_efficiency": (0.0, 1.0),
    "dark_e": (0.0, MOST),
    "clock_induced_e": (0.0, MOST),
    "em_gain": (1.0, MOST),
    "excess_noise_factor": (1.0, MOST),
    "full_well_e": (1.0, math.inf),
    "gain_adu_per_e": (LEAST, MOST),
    "read_noise_e": (0.0, MOST),
    "row_noise_e": (0.0, MOST),
    "column_noise_e": (0.0, MOST),
    "offset_adu": (-MOST, MOST),
    "hot_fraction": (0.0, 1.0),
    "hot_dark_e": (0.0, MOST),
}
MAPS = ("gain_adu_per_e", "read_noise_e", "offset_adu")


@dataclass(frozen=True, kw_only=True, eq=False)
class Camera:
    """Camera or photomultiplier; the names of the settings state their units.

    Gain, read noise and offset are numbers or maps (Y, X). `Camera(gain=2.2, read_noise=1.6, offset=100)` is short for
    gain_adu_per_e, read_noise_e and offset_adu.

    Errors: `UserError` for settings out of range.
    """

    quantum_efficiency: float = 1.0
    """electrons per photon"""
    dark_e: float = 0.0
    """mean dark electrons per pixel and exposure"""
    clock_induced_e: float = 0.0
    """mean clock-induced electrons per pixel and exposure"""
    em_gain: float = 1.0
    """mean gain of the EM register"""
    excess_noise_factor: float | None = None
    """F², variance after the register relative to noise-free multiplication (None: 2 with em_gain > 1, else 1)"""
    full_well_e: float = math.inf
    """electrons that a pixel can hold"""
    gain_adu_per_e: float | Array = 1.0
    """gain, ADU per electron"""
    read_noise_e: float | Array = 0.0
    """standard deviation of the read noise of each pixel"""
    row_noise_e: float = 0.0
    """standard deviation of an offset common to each row, new in each frame"""
    column_noise_e: float = 0.0
    """standard deviation of an offset common to each column, new in each frame"""
    offset_adu: float | Array = 0.0
    """pixel value without signal"""
    hot_fraction: float = 0.0
    """fraction of hot pixels"""
    hot_dark_e: float = 20.0
    """mean dark electrons of a hot pixel, exponentially distributed"""
    pattern_seed: int = 0
    """random seed of the positions of hot pixels"""
    bits: int = 16
    """bits of the analogue-to-digital converter; 0: float32, neither rounded nor clipped"""
    gain: InitVar[float | Array | None] = None
    read_noise: InitVar[float | Array | None] = None
    offset: InitVar[float | Array | None] = None

    def __post_init__(
        self, gain: float | Array | None, read_noise: float | Array | None, offset: float | Array | None
    ) -> None:
        short = dict(zip(MAPS, (gain, read_noise, offset), strict=True))
        for name in RANGES:
            value = getattr(self, name) if short.get(name) is None else short[name]
            if value is not None or name != "excess_noise_factor":
                object.__setattr__(self, name, _checked(name, value))
        if self.bits not in (*range(17), 32):
            raise UserError(f"camera: bits {self.bits} is out of range; give 1 to 16, 32, or 0 for float32")
        _check_whole("pattern_seed", self.pattern_seed, 0)

    # -- instruments -------------------------------------------------------------------------------

    @classmethod
    def photon_counter(cls) -> Camera:
        """Ideal detector that counts every photon and adds no noise. Counts end at 65535."""
        return cls()

    @classmethod
    def scmos(cls, shape: tuple[int, int] | None = None, seed: int = 0) -> Camera:
        """Scientific CMOS camera; with a shape (Y, X), each pixel has its own gain, offset and read noise.

        seed: of these maps and of the positions of hot pixels.
        """
        # Data sheets of front-illuminated 4-megapixel sensors: 0.46 electrons per ADU, offset 100 ADU, read noise 1.4
        # electrons, full well 30 000 electrons. Read noise with a long right tail, and offsets that differ by 1 to
        # 2 ADU: Huang et al. 2013, doi:10.1038/nmeth.2488.
        gain: Any = 2.2
        read_noise: Any = 1.4
        offset: Any = 100.0
        if shape is not None:
            rng = np.random.default_rng(seed)
            tail = np.where(rng.random(shape) < 0.02, 1 + rng.exponential(1.5, shape), 1.0)
            gain = gain * (1 + 0.01 * rng.standard_normal(shape))
            read_noise = read_noise * rng.lognormal(0.0, 0.15, shape) * tail
            offset = offset + 1.5 * rng.standard_normal(shape)
        return cls(
            quantum_efficiency=0.8, dark_e=0.01, full_well_e=30_000, gain=gain, read_noise=read_noise, row_noise_e=0.3,
            offset=offset, hot_fraction=1e-4, pattern_seed=seed,
        )  # fmt: skip

    @classmethod
    def emccd(cls, em_gain: float = 200.0) -> Camera:
        """Electron-multiplying CCD, back-illuminated. em_gain: mean gain of the EM register, 1 or more."""
        # Data sheets, at a readout of 10 MHz: read noise 45 to 50 electrons, 0.002 to 0.01 clock-induced electrons,
        # full well 80 000 electrons.
        return cls(
            quantum_efficiency=0.9, dark_e=0.001, clock_induced_e=0.005, em_gain=em_gain, full_well_e=80_000,
            gain=0.1, read_noise=50.0, offset=200.0,
        )  # fmt: skip

    @classmethod
    def pmt(cls) -> Camera:
        """Photomultiplier of a confocal microscope, digitised to 8 bits at 20 ADU per photoelectron."""
        # Multialkali cathodes reach QE 0.25. F² = 1 + 1/(δ − 1) for dynodes of gain δ; 1.2 to 1.3 is common.
        return cls(
            quantum_efficiency=0.25, dark_e=0.001, excess_noise_factor=1.25, gain=20.0, read_noise=0.05, offset=4.0,
            bits=8,
        )  # fmt: skip

    # -- images and moments ------------------------------------------------------------------------

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type of the images: the smallest that holds the bits."""
        if self.bits == 0:
            return np.dtype(np.float32)
        return np.dtype(np.uint8 if self.bits <= 8 else np.uint16 if self.bits <= 16 else np.uint32)

    def expose(self, photons: Any, frames: int = 1, seed: int = 0) -> Array:
        """Record a scene: expected photons (..., Y, X) -> pixel values (ADU) of that shape, or (frames, ..., Y, X).

        photons: expected photons per pixel and frame. frames: number of frames, 1 or more. seed: of the random numbers;
        a frame depends on the seed and on its own number, not on the number of frames.

        Errors: `UserError` for photons that are negative, not finite or not numeric, for maps of another size, and for
        frames or a seed that are not such integers.
        """
        recorded = self.frames_of(photons, frames, seed)
        if frames == 1:
            return next(recorded)
        out: Array = np.empty((frames, *np.shape(photons)), self.dtype)
        for target, frame in zip(out, recorded, strict=True):
            target[...] = frame
        return out

    def frames_of(self, photons: Any, frames: int = 1, seed: int = 0) -> Iterator[Array]:
        """Yield the frames of `expose` one by one, so that only one is in memory."""
        _check_whole("frames", frames, 1)
        _check_whole("seed", seed, 0)
        rate_e = self._rate_e(photons)
        seeds = (np.random.SeedSequence(seed, spawn_key=(frame,)) for frame in range(frames))
        return (self._frame(rate_e, np.random.default_rng(seed)) for seed in seeds)

    def signal(self, photons: Any) -> Array:
        """E[x] = o + g·G·λ (ADU), float64, before clipping; photons (..., Y, X)."""
        return np.asarray(self.offset_adu + self.gain_adu_per_e * self.em_gain * self._rate_e(photons))

    def variance(self, photons: Any) -> Array:
        """Var[x] = g²·(F²·G²·λ + σ²) + 1/12 (ADU²), float64, before clipping; photons (..., Y, X).

        σ² is the sum of the variances of read, row and column noise. The 1/12 of rounding holds for noise above half
        an ADU; it is left out where nothing is rounded.
        """
        multiplied = self._excess * self.em_gain**2 * self._rate_e(photons)
        readout = np.square(self.read_noise_e) + self.row_noise_e**2 + self.column_noise_e**2
        rounding = 0.0 if self._is_exact else 1 / 12
        return np.asarray(np.square(self.gain_adu_per_e) * (multiplied + readout) + rounding)

    def record(self) -> dict[str, Any]:
        """Settings as JSON values.

        Without maps, `Camera(**record)` rebuilds the camera; maps are given by median and shape only.
        """
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        settings["excess_noise_factor"] = self._excess
        # JSON has no infinity; it is the default.
        return {name: _plain(value) for name, value in settings.items() if np.ndim(value) or value != math.inf}

    # -- the detection chain -----------------------------------------------------------------------

    @property
    def _excess(self) -> float:
        if self.excess_noise_factor is not None:
            return self.excess_noise_factor
        return 2.0 if self.em_gain > 1 else 1.0

    @property
    def _is_exact(self) -> bool:
        """Whether rounding does not change the pixel values."""
        noise = (self.read_noise_e, self.row_noise_e, self.column_noise_e)
        steps = (self.gain_adu_per_e * self.em_gain, self.offset_adu)
        continuous = self._excess > 1 or any(np.any(sigma) for sigma in noise)
        return self.bits == 0 or not (continuous or any(np.any(np.mod(step, 1)) for step in steps))

    def _rate_e(self, photons: Any) -> Array:
        """Mean electrons of each pixel, before the full well."""
        expected = check_photons(photons)
        for name in MAPS:
            size = np.shape(getattr(self, name))
            if size not in ((), expected.shape[-2:]):
                raise UserError(
                    f"camera: the map of {name} has shape {size}, the image {expected.shape}; (Y, X) must agree"
                )
        rate_e = self.quantum_efficiency * expected + (self.dark_e + self.clock_induced_e)
        return np.asarray(rate_e + self._hot_e(expected.shape[-2:]))

    def _hot_e(self, shape: tuple[int, ...]) -> Array | float:
        """Dark electrons of the hot pixels, 0 elsewhere; shape (Y, X)."""
        if not self.hot_fraction or not self.hot_dark_e:
            return 0.0
        # 1 − u is in (0, 1]; where it is below the fraction f, log(f / (1 − u)) is exponential with mean 1.
        uniform = 1 - np.random.default_rng(self.pattern_seed).random(shape)
        return self.hot_dark_e * np.maximum(0.0, np.log(self.hot_fraction / uniform))

    def _frame(self, rate_e: Array, rng: np.random.Generator) -> Array:
        signal_e = np.minimum(rng.poisson(rate_e), self.full_well_e)
        if self._excess > 1:
            scale = self._excess - 1
            signal_e = rng.gamma(signal_e / scale, scale)
        signal_e *= self.em_gain
        *stack, rows, columns = rate_e.shape
        for noise_e, shape in (
            (self.read_noise_e, (*stack, rows, columns)),
            (self.row_noise_e, (*stack, rows, 1)),
            (self.column_noise_e, (*stack, 1, columns)),
        ):
            if np.any(noise_e):
                signal_e += noise_e * rng.standard_normal(shape)
        return self._digitise(self.offset_adu + self.gain_adu_per_e * signal_e)

    def _digitise(self, value_adu: Array) -> Array:
        if self.bits:
            value_adu = np.clip(np.rint(value_adu), 0, 2**self.bits - 1)
        return value_adu.astype(self.dtype)


def thin(counts: Any, fraction: float, seed: int = 0) -> tuple[Array, Array]:
    """Split photon counts into two images (thinning): each photon goes to the first with probability `fraction`.

    For Poisson counts of mean s, the parts are independent Poisson counts of means fraction·s and (1 − fraction)·s.
    Their sum is the input.

    counts: integers of any shape. fraction: 0 to 1. seed: of the random numbers.

    Errors: `UserError` for counts that are negative or not integer, and for a fraction out of range.
    """
    whole = np.asarray(counts)
    if whole.dtype.kind not in "iu" or np.any(whole < 0) or np.any(whole > MOST):
        raise UserError("thin: pixels are not counts of photons; give integers from 0, without a camera offset")
    if not 0 <= fraction <= 1:
        raise UserError(f"thin: fraction {fraction} is out of range; give 0 to 1")
    _check_whole("seed", seed, 0)
    first = np.random.default_rng(seed).binomial(whole.astype(np.int64), fraction).astype(whole.dtype)
    return first, np.asarray(whole - first)


def check_photons(photons: Any, label: str = "photons") -> Array:
    """Expected photons (..., Y, X) as float64. Errors: `UserError` for values that cannot be numbers of photons."""
    expected = np.asarray(photons)
    if expected.dtype.kind not in "iuf":
        raise UserError(f"{label}: pixels of type {expected.dtype} are not photon numbers; give integers or floats")
    if expected.ndim < 2 or expected.size == 0:
        raise UserError(f"{label}: shape {expected.shape} is not an image; give at least rows and columns")
    if not np.isfinite(expected).all():
        raise UserError(f"{label}: some pixels are NaN or infinite; replace them by numbers")
    if expected.min() < 0 or expected.max() > MOST:
        found = f"pixels from {expected.min():g} to {expected.max():g} are not photon numbers"
        raise UserError(f"{label}: {found}; give 0 to {MOST:g}")
    return expected.astype(np.float64, copy=False)


def _checked(name: str, value: Any) -> float | Array:
    """A setting within its range: a float or, where maps are allowed, a read-only float64 map (Y, X)."""
    low, high = RANGES[name]
    try:
        array = np.array(value)
    except ValueError:  # ragged lists
        array = np.array(None)
    if array.dtype.kind not in "iuf" or array.size == 0 or array.ndim not in ((0, 2) if name in MAPS else (0,)):
        wanted = "a number or a map of shape (Y, X)" if name in MAPS else "a number"
        raise UserError(f"camera: {name} is not {wanted}; give {low:g} to {high:g}")
    if not (low <= array.min() and array.max() <= high):  # so that NaN is refused
        shown = f"{array:g}" if array.ndim == 0 else f"from {array.min():g} to {array.max():g}"
        raise UserError(f"camera: {name} {shown} is out of range; give {low:g} to {high:g}")
    if array.ndim == 0:
        return float(array)
    array = array.astype(np.float64)
    array.flags.writeable = False
    return array


def _check_whole(name: str, value: Any, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
        raise UserError(f"camera: {name} {value!r} is out of range; give an integer of at least {low}")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"median": float(np.median(value)), "shape": list(value.shape)}
    return value.item() if isinstance(value, np.generic) else value
