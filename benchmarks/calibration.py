"""What `calibrate` finds for simulated cameras and a real EMCCD, and how well its noise models fit held-out frames.

    python benchmarks/calibration.py            (about 7 minutes)

planted: 100 frames of a scene with a gradient from dark to bright, 128 x 128, 100 times; with 100 dark frames and
without. emccd: recordings of 3 x 3 pixels x 5000 frames at six light levels (the authors' figure: 3.859 electrons per
ADU without EM gain). models (noise models): log-likelihood of held-out frames, nats a pixel, and seconds of fitting.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import noisewise as nw
from common import DATA, make_parser, table, write
from noisewise.calibration.calibrate import calibrate_recording

REPEATS, FRAMES, SIZE = 100, 100, 128
GAIN, READ_NOISE_E, OFFSET = 2.2, 1.6, 100.0
ELECTRONS_PER_ADU = 3.859
KINDS = ("gaussian", "poisson_gaussian", "histogram", "mixture")


def ramp(high: float = 200.0) -> np.ndarray:
    """Photons with a gradient from dark to bright."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    return 0.3 + high * ((x + y) / 2) ** 2


def planted() -> dict[str, Any]:
    """Errors and coverage of gain, offset and read noise over the repeats."""
    camera = nw.Camera(gain=GAIN, read_noise=READ_NOISE_E, offset=OFFSET)
    truth = {
        "gain_adu_per_e": GAIN, "offset_adu": OFFSET, "read_noise_adu": GAIN * READ_NOISE_E,
        "read_noise_e": READ_NOISE_E,
    }  # fmt: skip
    found: dict[str, list[Any]] = {"with dark frames": [], "without": []}
    for seed in range(REPEATS):
        stack = camera.expose(ramp(), frames=FRAMES, seed=2 * seed)
        dark = camera.expose(np.zeros((SIZE, SIZE)), frames=FRAMES, seed=2 * seed + 1)
        found["with dark frames"].append(calibrate_recording(stack, dark=dark, kind="gaussian").detector)
        found["without"].append(calibrate_recording(stack, kind="gaussian").detector)
    return {
        way: {name: score([getattr(one, name) for one in all_of], value) for name, value in truth.items()}
        for way, all_of in found.items()
    }


def score(estimates: list[Any], truth: float) -> dict[str, float]:
    """Worst and median relative error, and the fractions of 95 % intervals that hold the truth and of values known."""
    known = [e for e in estimates if hasattr(e, "low")]
    if not known:
        return {"known": 0.0}
    errors = np.abs([e.value / truth - 1 for e in known])
    return {
        "known": len(known) / len(estimates), "median_error": float(np.median(errors)),
        "worst_error": float(errors.max()),
        "coverage": float(np.mean([e.low <= truth <= e.high for e in known])),
    }  # fmt: skip


def emccd() -> dict[str, Any]:
    """Electrons per ADU without EM gain, and the excess noise factor with it."""
    data = np.load(DATA / "emccd_calibration" / "emccd_calibration.npz")
    offset = float(data["ADU__1x-gain_no-signal_S0"].mean())
    zero = float(data["gain-IS__100x-gain_no-signal_S0"].mean())
    one = calibrate_recording(joined(data, "ADU__1x-gain_level"), axes="TYX", kind="gaussian", offset=offset).detector
    many = calibrate_recording(joined(data, "gain-IS__100x-gain_level"), axes="TYX", kind="gaussian", offset=zero)
    # The mean gain of the register, from one light level with and without it.
    one_x, many_x = (
        float(data[f"gain-GS__{gain}x-gain"].mean() - data[f"gain-GS__{gain}x-gain_no-signal_S0"].mean())
        for gain in (1, 100)
    )
    slope = many.detector.gain_adu_per_e.value
    return {
        "electrons_per_adu": 1 / one.gain_adu_per_e.value,
        "relative_to_authors": 1 / one.gain_adu_per_e.value / ELECTRONS_PER_ADU - 1,
        "interval": [1 / one.gain_adu_per_e.high, 1 / one.gain_adu_per_e.low],
        "em_gain": many_x / one_x,
        "variance_slope_100x": slope,
        "excess_factor_from_gains": slope * ELECTRONS_PER_ADU / (many_x / one_x),
        "excess_factor_from_skewness": str(many.detector.excess_factor),
        "third_ratio": str(many.detector.third_ratio),
        "warnings": many.warnings,
    }


def joined(data: Any, prefix: str) -> np.ndarray:
    """The light levels side by side: (5000, 3, 18)."""
    return np.concatenate([data[name] for name in sorted(data.files) if name.startswith(prefix)], 2)


def noise_models() -> list[dict[str, Any]]:
    """Held-out log-likelihood and time of each kind of noise model: EMCCD, sCMOS cameras, photomultiplier."""
    cameras = {
        "EMCCD": (nw.Camera.emccd(), ramp(60.0)),
        "sCMOS": (nw.Camera.scmos(), ramp()),
        "sCMOS, pixels differ": (nw.Camera.scmos(shape=(SIZE, SIZE), seed=0), ramp()),
        "photomultiplier": (nw.Camera.pmt(), ramp(30.0)),
    }
    rows = []
    for name, (camera, photons) in cameras.items():
        stack = camera.expose(photons, frames=FRAMES, seed=1)
        for kind in KINDS:
            start = time.perf_counter()
            found = calibrate_recording(stack, kind=kind)
            rows.append({
                "camera": name, "kind": kind, "log_likelihood": found.goodness.log_likelihood,
                "distance": found.goodness.distance, "seconds": time.perf_counter() - start,
            })  # fmt: skip
    return rows


def main() -> None:
    arguments = make_parser(__doc__).parse_args()
    result = {"emccd": emccd(), "models": noise_models(), "planted": planted()}
    print(result["emccd"])
    print(table([list(row.values()) for row in result["models"]], ["camera", "kind", "nats", "KS", "s"]))
    for way, scores in result["planted"].items():
        for name, values in scores.items():
            print(way, name, {k: round(v, 4) for k, v in values.items()})
    write("calibration", result, arguments.dry)


if __name__ == "__main__":
    main()
