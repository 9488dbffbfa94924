"""Error bars of regions of real images: how often the truth lies in 90 % intervals of means over discs and masks.

    python benchmarks/regions.py                 (20 images; ten minutes on two cores)
    python benchmarks/regions.py --only w2s

The truth is the mean of 50 captures (FMD) or of 400 (W2S), and the noisy image is drawn from it with the noise that was
measured in a capture: between captures the light changes by up to 8 %, unevenly over the field, so that the mean of a
region of a capture is not that of the truth, even where nothing is denoised (`raw`: how often the truth lies within
1.645 standard deviations of the mean of the noisy pixels of a capture; 90 % if it was the truth of that capture).

The noise is measured in the whole image. Of each, 192 x 192 pixels are denoised, without training, and sampled 39
times; the interval of a mean is from the second value from below to the second from above. 200 regions an image: discs
with radii of 5 to 40 pixels, and the brighter half of such discs. The interval of a sum is that of the mean, times the
number of pixels. What is left of noise in the truth is added to the samples. For comparison: intervals from the
standard deviations of pixels, as if these erred independently.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

import noisewise as nw
from common import make_parser, table, write
from coverage import Z90, images
from noisewise.noise.quantization import CONTINUOUS

SIDE, REGIONS, RADII, SAMPLES = 192, 200, (5, 40), 39
ORDER = 3  # of the polynomial


def brought_to(noisy: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The truth times a polynomial of the place, plus a constant: the light and the offset of the noisy image."""
    y, x = (np.linspace(-1, 1, size) for size in noisy.shape)
    powers = [(i, j) for i in range(ORDER + 1) for j in range(ORDER + 1 - i)]
    terms = [truth * (y[:, None] ** i * x**j) for i, j in powers] + [np.ones_like(truth)]
    basis = np.stack([np.asarray(term, np.float64).ravel() for term in terms], 1)
    found = np.linalg.lstsq(basis, noisy.ravel().astype(np.float64), rcond=None)[0]
    return np.asarray((basis @ found).reshape(noisy.shape))


def regions(brightness: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Discs, and the brighter halves of discs, as masks."""
    height, width = brightness.shape
    rows, columns = np.mgrid[:height, :width]
    for number in range(REGIONS):
        radius = np.exp(rng.uniform(*np.log(RADII)))
        y, x = rng.uniform(radius, height - radius), rng.uniform(radius, width - radius)
        disc = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        yield disc & (brightness > np.median(brightness[disc])) if number % 2 else disc


def row(name: str, noisy: np.ndarray, truth: np.ndarray, captures: int) -> dict[str, Any]:
    """How often the intervals of an image hold the truth."""
    start = [(size - SIDE) // 2 for size in noisy.shape]
    cut = tuple(slice(first, first + SIDE) for first in start)
    measured, capture, rng = nw.measure(noisy), noisy[cut], np.random.default_rng(0)
    model = measured.noise.with_quantization(CONTINUOUS)  # the truth is a mean of clipped values already
    drawn_image = model.sample(truth, generator=1).astype(np.float32)
    noise, noisy, truth = nw.measure(drawn_image).noise, drawn_image[cut], truth[cut]
    variance = np.maximum(measured.line(truth), 0)
    own = variance / captures
    found = nw.denoise(noisy, noise=noise, samples=SAMPLES, steps=0, report=lambda _: None)
    assert found.std is not None
    started = time.perf_counter()
    drawn = found.posterior.sample(SAMPLES).astype(np.float64)
    seconds = (time.perf_counter() - started) / SAMPLES
    inside, claimed, raw, places = [], [], [], []
    for region in regions(found.mean, rng):
        count = region.sum()
        noise = rng.normal(size=SAMPLES) * np.sqrt(own[region].sum()) / count
        values = np.sort(drawn[:, region].mean(1) + noise)
        true, mean = truth[region].mean(), found.mean[region].mean()
        inside.append(values[1] <= true <= values[-2])
        raw.append(abs(capture[region].mean() - true) <= Z90 * np.sqrt((variance + own)[region].sum()) / count)
        places.append((values < true).mean())
        claimed.append(abs(mean - true) <= Z90 * np.sqrt((found.std[region] ** 2 + own[region]).sum()) / count)
    spread = drawn.var(0, ddof=1).mean() / (found.std**2).mean()
    error = ((found.mean - truth) ** 2).mean() - own.mean()
    return {
        "image": name, "kind": measured.kind, "raw": float(np.mean(raw)), "covered": float(np.mean(inside)),
        "pixels": float(np.mean(claimed)), "place": float(np.mean(places)),
        "sample_variance_over_std": float(spread),
        "sample_variance_over_error": float(drawn.var(0, ddof=1).mean() / error), "seconds": seconds,
    }  # fmt: skip


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--only", default="", help="a part of the names of images")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for name, noisy, truth, captures in images(brought_to):
        if arguments.only in name:
            rows.append(row(name, noisy, truth, captures))
            print({key: round(v, 3) if isinstance(v, float) else v for key, v in rows[-1].items()}, flush=True)
    covered, pixels = ([one[key] for one in rows] for key in ("covered", "pixels"))
    print(table([[len(rows), np.mean(covered), np.mean(pixels)]], ["images", "samples", "standard deviations"]))
    write("regions", {"rows": rows, "samples": SAMPLES, "regions": REGIONS}, arguments.dry)


if __name__ == "__main__":
    main()
