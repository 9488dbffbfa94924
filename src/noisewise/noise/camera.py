"""From photons to counts: the chain of a camera or a photomultiplier, its moments, and typical instruments.

    x = round(o + g·(m + r)),   m ~ Gamma(n·a, G/a),   n ~ Poisson(QE·photons + dark + clock-induced + hot)

a = 1/(F² − 1): an EM register or a dynode chain that multiplies each electron by G on average and adds noise, so that
mean and variance of m are G·λ and F²·G²·λ (λ: the mean of n). The gamma law is that of Hirsch et al., PLoS ONE 8,
e53671 (2013) for EM registers and of the single-electron response of photomultipliers. r is the Gaussian noise of
readout, in electrons behind the register; g and o are amplification and offset.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import InitVar, dataclass, fields
from typing import Any

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError

MOST = 1e9  # of any setting and of photons a pixel: beyond every instrument, and far from overflow
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
    """A camera or a photomultiplier; units are in the names of its settings.

    Gain, read noise and offset are numbers or maps of shape (Y, X). `Camera(gain=2.2, read_noise=1.6, offset=100)` is
    the short way to set gain_adu_per_e, read_noise_e and offset_adu.

    Errors: `UserError` for settings out of range.
    """

    quantum_efficiency: float = 1.0
    """electrons a photon"""
    dark_e: float = 0.0
    """mean dark electrons a pixel and exposure"""
    clock_induced_e: float = 0.0
    """mean clock-induced electrons a pixel and exposure"""
    em_gain: float = 1.0
    """mean gain of the EM register"""
    excess_noise_factor: float | None = None
    """F², the variance behind the register as a multiple of an ideal register's (None: 2 with em_gain > 1, else 1)"""
    full_well_e: float = math.inf
    """electrons a pixel can hold"""
    gain_adu_per_e: float | Array = 1.0
    """amplification, grey levels an electron"""
    read_noise_e: float | Array = 0.0
    """standard deviation of the noise that each pixel gets when it is read"""
    row_noise_e: float = 0.0
    """standard deviation of an offset that each row shares, fresh in each frame"""
    column_noise_e: float = 0.0
    """standard deviation of an offset that each column shares, fresh in each frame"""
    offset_adu: float | Array = 0.0
    """grey level of no signal"""
    hot_fraction: float = 0.0
    """share of pixels that are hot"""
    hot_dark_e: float = 20.0
    """dark electrons of a hot pixel: the mean of their exponential distribution"""
    pattern_seed: int = 0
    """which pixels are hot"""
    bits: int = 16
    """of the analogue-to-digital converter; 0: float32, neither rounded nor clipped"""
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
            raise UserError(f"camera: bits {self.bits} is not a converter's; give 1 to 16, 32, or 0 for float32")
        _check_whole("pattern_seed", self.pattern_seed, 0)

    # -- instruments -------------------------------------------------------------------------------

    @classmethod
    def photon_counter(cls) -> Camera:
        """The ideal: every photon is counted, nothing is added. Counts end at 65535."""
        return cls()

    @classmethod
    def scmos(cls, shape: tuple[int, int] | None = None, seed: int = 0) -> Camera:
        """A scientific CMOS camera; with a shape (Y, X), each pixel has its own gain, offset and read noise."""
        # As data sheets of front-illuminated 4-megapixel sensors have it: 0.46 electrons a grey level, offset 100,
        # read noise 1.4 electrons, full well 30 000 electrons. Read noise with a long right tail, and offsets that
        # differ by 1 to 2 grey levels: Huang et al., Nature Methods 10, 653 (2013).
        gain: Any = 2.2
        read_noise: Any = 1.4
        offset: Any = 100.0
        if shape is not None:
            rng = np.random.default_rng(seed)
            restless = np.where(rng.random(shape) < 0.02, 1 + rng.exponential(1.5, shape), 1.0)
            gain = gain * (1 + 0.01 * rng.standard_normal(shape))
            read_noise = read_noise * rng.lognormal(0.0, 0.15, shape) * restless
            offset = offset + 1.5 * rng.standard_normal(shape)
        return cls(
            quantum_efficiency=0.8, dark_e=0.01, full_well_e=30_000, gain=gain, read_noise=read_noise, row_noise_e=0.3,
            offset=offset, hot_fraction=1e-4, pattern_seed=seed,
        )  # fmt: skip

    @classmethod
    def emccd(cls, em_gain: float = 200.0) -> Camera:
        """An electron-multiplying CCD, back-illuminated."""
        # As data sheets have it at a readout of 10 MHz: read noise 45 to 50 electrons, 0.002 to 0.01 clock-induced
        # electrons, full well 80 000 electrons.
        return cls(
            quantum_efficiency=0.9, dark_e=0.001, clock_induced_e=0.005, em_gain=em_gain, full_well_e=80_000,
            gain=0.1, read_noise=50.0, offset=200.0,
        )  # fmt: skip

    @classmethod
    def pmt(cls) -> Camera:
        """The photomultiplier of a confocal microscope, digitised to 8 bits at 20 grey levels a photoelectron."""
        # Multialkali cathodes reach QE 0.25. F² = 1 + 1/(δ − 1) for dynodes of gain δ; 1.2 to 1.3 is common.
        return cls(
            quantum_efficiency=0.25, dark_e=0.001, excess_noise_factor=1.25, gain=20.0, read_noise=0.05, offset=4.0,
            bits=8,
        )  # fmt: skip

    # -- what it records ---------------------------------------------------------------------------

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type of its images: the smallest that holds the bits."""
        if self.bits == 0:
            return np.dtype(np.float32)
        return np.dtype(np.uint8 if self.bits <= 8 else np.uint16 if self.bits <= 16 else np.uint32)

    def expose(self, photons: Any, frames: int = 1, seed: int = 0) -> Array:
        """Record a scene: expected photons (..., Y, X) -> grey levels of that shape, or (frames, ..., Y, X).

        A frame depends on the seed and its own number, not on how many follow.

        Errors: `UserError` for photons that are negative, not finite or no numbers, and maps of another size.
        """
        recorded = self.frames_of(photons, frames, seed)
        if frames == 1:
            return next(recorded)
        out: Array = np.empty((frames, *np.shape(photons)), self.dtype)
        for target, frame in zip(out, recorded, strict=True):
            target[...] = frame
        return out

    def frames_of(self, photons: Any, frames: int = 1, seed: int = 0) -> Iterator[Array]:
        """The frames of `expose`, one after the other: only one is in memory."""
        _check_whole("frames", frames, 1)
        _check_whole("seed", seed, 0)
        rate_e = self._rate_e(photons)
        seeds = (np.random.SeedSequence(seed, spawn_key=(frame,)) for frame in range(frames))
        return (self._frame(rate_e, np.random.default_rng(seed)) for seed in seeds)

    def signal(self, photons: Any) -> Array:
        """E[x] = o + g·G·λ in grey levels, float64, before clipping; photons (..., Y, X)."""
        return np.asarray(self.offset_adu + self.gain_adu_per_e * self.em_gain * self._rate_e(photons))

    def variance(self, photons: Any) -> Array:
        """Var[x] = g²·(F²·G²·λ + σ²) + 1/12 in squared grey levels, float64, before clipping; photons (..., Y, X).

        σ² sums the variances of read, row and column noise. The 1/12 of rounding holds once the noise exceeds half
        a grey level; it is left out where nothing is rounded.
        """
        multiplied = self._excess * self.em_gain**2 * self._rate_e(photons)
        readout = np.square(self.read_noise_e) + self.row_noise_e**2 + self.column_noise_e**2
        rounding = 0.0 if self._is_whole else 1 / 12
        return np.asarray(np.square(self.gain_adu_per_e) * (multiplied + readout) + rounding)

    def record(self) -> dict[str, Any]:
        """The settings as JSON-able values: `Camera(**record)` is this camera. Of a map, only median and shape."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        settings["excess_noise_factor"] = self._excess
        # JSON has no infinity, which is the default.
        return {name: _plain(value) for name, value in settings.items() if np.ndim(value) or value != math.inf}

    # -- the chain ---------------------------------------------------------------------------------

    @property
    def _excess(self) -> float:
        if self.excess_noise_factor is not None:
            return self.excess_noise_factor
        return 2.0 if self.em_gain > 1 else 1.0

    @property
    def _is_whole(self) -> bool:
        """Whether grey levels need no rounding."""
        noise = (self.read_noise_e, self.row_noise_e, self.column_noise_e)
        steps = (self.gain_adu_per_e * self.em_gain, self.offset_adu)
        smooth = self._excess > 1 or any(np.any(sigma) for sigma in noise)
        return self.bits == 0 or not (smooth or any(np.any(np.mod(step, 1)) for step in steps))

    def _rate_e(self, photons: Any) -> Array:
        """Mean electrons a pixel, before the full well."""
        light = check_photons(photons)
        for name in MAPS:
            size = np.shape(getattr(self, name))
            if size not in ((), light.shape[-2:]):
                raise UserError(
                    f"camera: the map of {name} has shape {size}, the image {light.shape}; (Y, X) must agree"
                )
        rate_e = self.quantum_efficiency * light + (self.dark_e + self.clock_induced_e)
        return np.asarray(rate_e + self._hot_e(light.shape[-2:]))

    def _hot_e(self, shape: tuple[int, ...]) -> Array | float:
        """Dark electrons of the hot pixels, 0 elsewhere; shape (Y, X)."""
        if not self.hot_fraction or not self.hot_dark_e:
            return 0.0
        # 1 − u is in (0, 1]; where it is below the fraction f, log(f / (1 − u)) is exponential with mean 1.
        level = 1 - np.random.default_rng(self.pattern_seed).random(shape)
        return self.hot_dark_e * np.maximum(0.0, np.log(self.hot_fraction / level))

    def _frame(self, rate_e: Array, rng: np.random.Generator) -> Array:
        signal_e = np.minimum(rng.poisson(rate_e), self.full_well_e)
        if self._excess > 1:
            spread = self._excess - 1
            signal_e = rng.gamma(signal_e / spread, spread)
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

    def _digitise(self, level_adu: Array) -> Array:
        if self.bits:
            level_adu = np.clip(np.rint(level_adu), 0, 2**self.bits - 1)
        return level_adu.astype(self.dtype)


def thin(counts: Any, fraction: float, seed: int = 0) -> tuple[Array, Array]:
    """Split photon counts into two images, each photon going to the first with probability `fraction`.

    counts: integers of any shape. Of Poisson counts of mean s, the parts are independent and Poisson with means
    fraction·s and (1 − fraction)·s; their sum is the input.

    Errors: `UserError` for counts that are no whole numbers or negative.
    """
    whole = np.asarray(counts)
    if whole.dtype.kind not in "iu" or np.any(whole < 0) or np.any(whole > MOST):
        raise UserError("thin: only counted photons can be split; give whole numbers from 0, without a camera's offset")
    if not 0 <= fraction <= 1:
        raise UserError(f"thin: fraction {fraction} is out of range; give 0 to 1")
    _check_whole("seed", seed, 0)
    kept = np.random.default_rng(seed).binomial(whole.astype(np.int64), fraction).astype(whole.dtype)
    return kept, np.asarray(whole - kept)


def check_photons(photons: Any, label: str = "photons") -> Array:
    """Expected photons (..., Y, X) as float64. Errors: `UserError` for what cannot be a number of photons."""
    light = np.asarray(photons)
    if light.dtype.kind not in "iuf":
        raise UserError(f"{label}: pixels of type {light.dtype} are no numbers of photons; give integers or floats")
    if light.ndim < 2 or light.size == 0:
        raise UserError(f"{label}: shape {light.shape} is not an image; give at least rows and columns")
    if not np.isfinite(light).all():
        raise UserError(f"{label}: some pixels are NaN or infinite; replace them by numbers")
    if light.min() < 0 or light.max() > MOST:
        what = f"pixels from {light.min():g} to {light.max():g} are no numbers of photons"
        raise UserError(f"{label}: {what}; give 0 to {MOST:g}")
    return light.astype(np.float64, copy=False)


def _checked(name: str, value: Any) -> float | Array:
    """A setting within its range: a float, or where it may be one, a float64 map (Y, X) that nobody can change."""
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
        raise UserError(f"camera: {name} {value!r} is out of range; give a whole number from {low}")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"median": float(np.median(value)), "shape": list(value.shape)}
    return value.item() if isinstance(value, np.generic) else value
