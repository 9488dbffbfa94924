"""Dense texture that optics band-limit: whether its noise is measured, and the default better than the noisy image.

    python benchmarks/choice.py                 (24 images, without training; 3 minutes)
    python benchmarks/choice.py --budget 30s    (with training, about 25 minutes)

Random fields, blurred by 0.7 to 5 pixels and raised to powers, with white photon noise. The oracle is `simulated` with
the true noise. What must hold: the gain within 15 % or an interval that holds it; the default at least 2 dB above the
noisy image wherever the oracle gains 3 dB; never below the noisy image.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

import noisewise as nw
from common import make_parser, table, write
from noise_planted import PlantedCamera, dense
from noisewise.noise.models.poisson_gaussian import PoissonGaussian

# Blur (pixels), power, side (pixels), photons in the brightest pixel, gain (ADU per electron).
CASES = (
    (3.0, 1, 192, 200, 2.0), (2.0, 2, 512, 155, 2.0), (2.5, 1, 256, 200, 2.0), (1.5, 2, 256, 100, 5.0),
    (2.0, 3, 256, 200, 3.0), (0.7, 1, 256, 100, 2.0), (0.7, 2, 256, 100, 2.0), (1.0, 1, 256, 50, 2.0),
    (1.0, 2, 384, 200, 1.0), (1.0, 3, 256, 400, 0.5), (1.5, 1, 192, 400, 2.0), (1.5, 1, 256, 30, 5.0),
    (1.5, 3, 384, 300, 2.0), (2.0, 1, 256, 1000, 0.5), (2.0, 1, 192, 50, 2.0), (2.0, 2, 256, 40, 10.0),
    (3.0, 1, 256, 1000, 1.0), (3.0, 2, 256, 100, 2.0), (3.0, 3, 384, 200, 5.0), (4.0, 1, 256, 200, 2.0),
    (4.0, 2, 256, 50, 2.0), (5.0, 1, 192, 100, 2.0), (5.0, 2, 384, 500, 0.5), (5.0, 3, 256, 60, 4.0),
)  # fmt: skip


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """PSNR in dB over the pixels that are there; range: that of the truth. An image without error has 100 dB."""
    error = ((image - truth)[np.isfinite(image)] ** 2).mean()
    return float(min(10 * np.log10(np.ptp(truth) ** 2 / max(error, 1e-12)), 100.0))


def row(number: int, budget: str | None) -> dict[str, Any]:
    """One image: noise measured, and PSNR of the noisy image, the default and the oracle."""
    blur, power, side, photons, gain = CASES[number]
    camera = PlantedCamera(photons, gain)
    scene = dense(side, blur, power, number)
    noisy, (truth, _) = camera.expose(scene, number), camera.moments(scene)
    checkup = nw.measure(noisy)
    options: dict[str, Any] = {"report": lambda _: None} | ({"steps": 0} if budget is None else {"budget": budget})
    start = time.perf_counter()
    found = nw.denoise(noisy, **options)
    seconds = time.perf_counter() - start
    oracle = nw.denoise(noisy, method="simulated", noise=PoissonGaussian(gain, 100.0, 0.0), **options)
    line = checkup.line
    return {
        "blur": blur, "power": power, "side": side, "photons": photons, "gain": gain, "kind": checkup.kind,
        "gain_found": line.slope / gain, "gain_error": line.slope_error / gain,
        "method": found.model.provenance["method"], "noisy": psnr(noisy.astype(float), truth),
        "default": psnr(found.mean, truth), "oracle": psnr(oracle.mean, truth), "seconds": seconds,
        "choice": found.model.provenance.get("choice"),
    }  # fmt: skip


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--budget", help="time for each image; without it, nothing is trained")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for number in range(len(CASES)):
        rows.append(row(number, arguments.budget))
        one = rows[-1]
        quality = f"noisy {one['noisy']:.2f} default {one['default']:.2f} oracle {one['oracle']:.2f}"
        gain = f"gain {one['gain_found']:.2f} ± {one['gain_error']:.2f}"
        print(number, *CASES[number], one["kind"], gain, one["method"], quality, flush=True)
    right = [abs(one["gain_found"] - 1) < max(0.15, 1.96 * one["gain_error"]) for one in rows]
    wanted = [one for one in rows if one["oracle"] - one["noisy"] >= 3]
    summary = {
        "images": len(rows),
        "gain_right": sum(right),
        "oracle_gains_3": len(wanted),
        "default_gains_2": sum(one["default"] - one["noisy"] >= 2 for one in wanted),
        "below_noisy": sum(one["default"] < one["noisy"] - 0.02 for one in rows),
        "mean_below_oracle": float(np.mean([one["oracle"] - one["default"] for one in rows])),
    }
    print(table([list(summary.values())], list(summary)))
    write("choice" if arguments.budget else "choice_untrained", {"summary": summary, "rows": rows}, arguments.dry)


if __name__ == "__main__":
    main()
