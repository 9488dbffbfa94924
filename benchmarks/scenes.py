"""Do synthetic scenes cover real images? Spectra, and differences between neighbours, of both.

    python benchmarks/scenes.py            (a minute)

Of patches of 128 x 128 pixels with hardly any noise: the exponent of the power spectrum between 4 and 32 cycles
(windowed), and the kurtosis of the differences between horizontal neighbours; quantiles of both.
"""

from __future__ import annotations

import numpy as np
import tifffile

from common import DATA, make_parser, natural, write
from noisewise.evaluate.resolution import spectral_exponent
from noisewise.scenes import KINDS, draw

SIDE, MIXED = 128, 200
QUANTILES = (5, 25, 50, 75, 95)


def kurtosis(image: np.ndarray) -> float:
    """Kurtosis of the differences between neighbours."""
    step = np.diff(image, axis=1)
    return float(np.mean(step**4) / max(np.mean(step**2) ** 2, 1e-30))


def cut(images: list[np.ndarray]) -> list[np.ndarray]:
    """Two corners of each image."""
    return [part.astype(np.float64) for image in images for part in (image[:SIDE, :SIDE], image[-SIDE:, -SIDE:])]


def main() -> None:
    arguments = make_parser(__doc__).parse_args()
    w2s = [plane for dye in range(3) for plane in tifffile.imread(DATA / "w2s" / f"gt_avg400_ch{dye}.tif")]
    counts = dict.fromkeys(KINDS, 40) | {"mixed": MIXED}
    patches = {
        "*real:* Set12 and BSD68": cut(natural("Set12") + natural("BSD68")),
        "*real:* FMD, means of 50": cut([*tifffile.imread(DATA / "fmd" / "gt_avg50.tif")]),
        "*real:* W2S, means of 400": cut(w2s),
    } | {
        f"`{kind}`": [draw(kind, (SIDE, SIDE), seed).double().numpy() for seed in range(count)]
        for kind, count in counts.items()
    }  # fmt: skip
    measures = {"exponents": spectral_exponent, "kurtosis": kurtosis}
    found = {
        name: {key: np.percentile([of(part) for part in parts], QUANTILES).tolist() for key, parts in patches.items()}
        for name, of in measures.items()
    }
    write("scenes", {"quantiles": QUANTILES, **found}, arguments.dry)


if __name__ == "__main__":
    main()
