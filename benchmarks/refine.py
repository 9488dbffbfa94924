"""How accurate the noise model is, as measured and as refined by the denoiser.

    python benchmarks/refine.py            (two minutes on two cores)

Every second image of Set12 and every sixth of BSD68 with Gaussian noise of 15, 25 and 50 ADU: the ratio of the
measured to the true standard deviation. FMD, six white conditions: its ratio to that between four repeats.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

import noisewise as nw
from common import make_parser, table, write
from quality import WHITE, fmd, transfer_curve
from single import gaussian


def ratios(image: np.ndarray, std: Any) -> dict[str, float]:
    """Ratio of the measured to the true std, median over the image's signals, before and after; seconds to refine."""
    found = nw.measure(image)
    start = time.perf_counter()
    refined = nw.refine(image, found)
    seconds = time.perf_counter() - start
    signal = torch.from_numpy(np.quantile(image, np.linspace(0.1, 0.9, 17)).astype(np.float64))

    def ratio(checkup: nw.NoiseReport) -> float:
        return float((checkup.noise.mean_var(signal)[1].sqrt() / std(signal)).median())

    factor = refined.variance_correction or 1.0
    return {"measured": ratio(found), "refined": ratio(refined), "factor": factor, "seconds": seconds}


def between_repeats(captures: np.ndarray) -> Any:
    """Standard deviation at a signal, between repeats."""
    curve = transfer_curve(captures)
    return lambda signal: torch.from_numpy(np.interp(signal.numpy(), *curve)).sqrt()


def main() -> None:
    arguments = make_parser(__doc__).parse_args()
    rows = []
    for suite, every in (("Set12", 2), ("BSD68", 6)):
        for case in gaussian(suite, every):
            true = case.level
            found = ratios(case.noisy, lambda signal, true=true: torch.full_like(signal, true))
            rows.append({"suite": suite, "level": case.level, "image": case.name, **found})
            print(rows[-1], flush=True)
    names, captures, _ = fmd()
    for name, images in list(zip(names, captures, strict=True))[:WHITE]:
        rows.append({"suite": "FMD", "level": None, "image": name, **ratios(images[0], between_repeats(images))})
        print(rows[-1], flush=True)
    summary = []
    for suite, level in dict.fromkeys((row["suite"], row["level"]) for row in rows):
        part = [row for row in rows if (row["suite"], row["level"]) == (suite, level)]
        line: dict[str, Any] = {"suite": suite, "level": level, "images": len(part)}
        for key in ("measured", "refined"):
            error = np.array([row[key] for row in part]) - 1
            line |= {f"{key}_rms": float(np.sqrt((error**2).mean())), f"{key}_worst": float(np.abs(error).max())}
        summary.append(line | {"seconds": float(np.median([row["seconds"] for row in part]))})
    write("refine", {"summary": summary, "rows": rows}, arguments.dry)
    print(table([[*line.values()] for line in summary], list(summary[0])))


if __name__ == "__main__":
    main()
