"""Tables of measured and recorded noise, and of synthetic scenes, for `readme.py`."""

from __future__ import annotations

from typing import Any

from common import table
from result_files import result


def measured() -> str:
    """Check-ups of single images against planted noise and repeats."""
    found = result("noise")
    keys = ("gain_error", "std_error", "gain_error_own", "std_error_own", "std_error_estimate_sigma")
    light = [
        [line["photons"] or "**all**", *(f"{100 * line[key]:.1f} %" for key in keys)]
        for line in found["planted"]["summary"]
    ]
    header = ["photons", "gain", "standard deviation", "gain*", "standard deviation*", "`estimate_sigma`"]
    real = [
        [
            row["condition"].replace("_", " "), f"{100 * row['std_error']:.1f} %",
            *(f"{row[key][axis]:+.2f}" for axis in "XY" for key in ("rho", "rho_repeats")), row["verdict"],
        ]
        for row in found["fmd"]
    ]  # fmt: skip
    columns = ["", "standard deviation", "along X", "(repeats)", "along Y", "(repeats)", "kind"]
    white, planted = found["w2s"], found["rows"]["planted"]
    return "\n".join([
        "Single images (`benchmarks/noise.py`). Median errors over clean images, exposed by a simulated camera at 3 to",
        "1000 mean photons with a read noise of 0, 2 and 5 electrons; standard deviation over the image's signals:", "",
        table(light, header), "",
        "\\* against the planted noise plus the noise of the clean image itself, which is a recording: from 100",
        "photons on it exceeds the planted noise. Last column: scikit-image's estimator, which gives one value an",
        "image.", "",
        "Real images (Fluorescence Microscopy Denoising data) against four repeats: error of the standard deviation,",
        "and autocorrelation of neighbouring pixels:", "", table(real, columns), "",
        f"Of {white['images']} W2S images with white noise, {white['white']} are reported as white; the",
        f"largest autocorrelation found is {white['largest_rho']:.3f}. Row noise of half the read noise,",
        f"planted along X or Y, is found along its axis in {sum(row['found'] for row in planted)} of",
        f"{len(planted)} images. A check-up of 512 x 512 pixels takes {found['seconds_512']:.1f} s on two",
        "cores.",
    ])  # fmt: skip


def recorded() -> str:
    """Calibrations of planted cameras and of a real EMCCD."""
    found = result("calibration")
    names = {
        "gain_adu_per_e": "gain", "offset_adu": "offset", "read_noise_adu": "read noise, ADU",
        "read_noise_e": "read noise, electrons",
    }  # fmt: skip
    planted = [
        [
            f"{names[name]}, {how}", f"{100 * scores['median_error']:.2f} %", f"{100 * scores['worst_error']:.2f} %",
            f"{100 * scores['coverage']:.0f} %",
        ]
        for how, by_name in found["planted"].items()
        for name, scores in by_name.items()
    ]  # fmt: skip
    real = found["emccd"]
    return "\n".join([
        "A planted camera (`benchmarks/calibration.py`): 100 frames of 128 x 128 pixels, 100 times; errors, and the",
        "fraction of 95 % intervals that contain the true value:", "",
        table(planted, ["", "median error", "largest error", "coverage"]), "",
        "Log-likelihood of held-out frames, nats per pixel (higher is better):", "", held_out_likelihoods(found), "",
        f"A real EMCCD: {real['electrons_per_adu']:.2f} electrons per ADU without EM gain; its authors report",
        f"3.86 ({100 * real['relative_to_authors']:+.1f} %). At a gain of {real['em_gain']:.0f} the variance",
        f"is {real['excess_factor_from_gains']:.2f} times that of photons alone; the skewness of the noise,",
        f"without any other recording, gives {real['excess_factor_from_skewness']}.",
    ])  # fmt: skip


def held_out_likelihoods(found: dict[str, Any]) -> str:
    """Cameras by kinds of noise model."""
    scores = found["models"]
    cameras = list(dict.fromkeys(row["camera"] for row in scores))
    kinds = list(dict.fromkeys(row["kind"] for row in scores))
    nats = {(row["camera"], row["kind"]): row["log_likelihood"] for row in scores}
    return table([[camera, *(f"{nats[camera, kind]:.3f}" for kind in kinds)] for camera in cameras], ["", *kinds])


def scene_statistics() -> str:
    """Spectra and kurtosis of real images and of synthetic scenes."""
    found = result("scenes")
    header = ["", *(f"{quantile} %" for quantile in found["quantiles"])]
    exponents, kurtosis = (
        table([[name, *(f"{value:.1f}" for value in values)] for name, values in found[key].items()], header)
        for key in ("exponents", "kurtosis")
    )
    return "\n".join([
        "Exponent of the power spectrum between 4 and 32 cycles in 128 pixels, quantiles (`benchmarks/scenes.py`):",
        "", exponents, "",
        "Kurtosis of the differences between neighbouring pixels (3 for Gaussian fields):", "", kurtosis,
    ])  # fmt: skip
