"""Planted harm: how often the checks of a finished result find it, and how often they blame an honest result.

    python benchmarks/harm.py --cache FOLDER            (half an hour the first time; then minutes)
    python benchmarks/harm.py --cache FOLDER --every 4  (every fourth image)

100 results over five kinds of images (real recordings, cells, textures, natural images, sparse scenes) are harmed:
blurred (by the width that raises the error by half), sharpened, scaled by 3 %, shifted by a pixel, a spot of 5 standard
deviations in a matched filter invented or erased, a seam, a stripe left.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from scipy.ndimage import gaussian_filter, gaussian_laplace, shift

import noisewise as nw
from common import DATA, in_units_of, make_parser, natural, table, write
from noise import fmd_data
from noise_planted import PlantedCamera, dense, unit
from noisewise.evaluate.finished import LIMITS, check_finished, filtered, spot_profile
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.scenes import draw
from noisewise.workflow.packaged import packaged_result

Image = np.ndarray
CAMERAS = (PlantedCamera(200, 2.0, 1.6), PlantedCamera(30, 2.0, 1.0), PlantedCamera(800, 0.5, 3.0))
STEPS = 60  # of further training
SPOT, SCALE, SEAM, STRIPE = 1.3, 1.03, 0.4, 0.6  # pixels; factor; standard deviations of the noise


def images() -> Iterator[tuple[str, str, Image, Image, nw.Noise]]:
    """Kind, name, noisy image, truth, and noise model (of real images: measured in repeats)."""
    for name, captures, mean in fmd_data():
        yield "real", f"fmd {name}", captures[0], mean, nw.measure(captures, axes="TYX").noise
    for channel in range(3):
        for number in range(4):
            noisy = tifffile.imread(DATA / "w2s" / f"noisy_avg1_ch{channel}.tif")[number]
            truth = tifffile.imread(DATA / "w2s" / f"gt_avg400_ch{channel}.tif")[number]
            yield "real", f"w2s {channel} {number}", noisy, in_units_of(noisy, truth), nw.measure(noisy).noise
    for kind, name, scene in scenes():
        for number, camera in enumerate(CAMERAS):
            seed = zlib.crc32(f"{name} {number}".encode()) % 2**31
            model = PoissonGaussian(camera.gain, camera.offset, camera.gain * camera.read_noise)
            yield kind, f"{name} {number}", camera.expose(scene, seed), camera.moments(scene)[0], model


def scenes() -> Iterator[tuple[str, str, Image]]:
    """Kind, name, and scene from 0 to 1."""
    for seed, kind in enumerate(
        ("nuclei", "filaments", "membranes", "vesicles", "puncta", "regions", "mixed", "mixed")
    ):
        yield "cells", f"{kind} {seed}", unit(draw(kind, (256, 256), 100 + seed).numpy())
    for seed, (blur, power) in enumerate(((1.5, 1), (2, 1), (3, 1), (2, 2), (3, 3), (1.2, 2))):
        yield "textures", f"dense {blur} {power}", dense(256, blur, power, seed)
    for number in (0, 2, 3, 5, 6, 8, 11):
        yield "natural", f"set12 {number}", natural("Set12")[number][:256, :256] / 255
    for seed in range(6):
        yield "sparse", f"sparse {seed}", unit(draw("puncta" if seed % 2 else "nuclei", (256, 256), seed).numpy()) ** 3


def honest(number: int, name: str, noisy: Image, noise: nw.Noise, folder: Path) -> Iterator[tuple[str, Image]]:
    """Results of the pretrained network: averaged over flips; of each third image also trained further."""
    made = {"averaged": {"steps": 0, "average": True}}
    if number % 3 == 0:
        made["trained"] = {"steps": STEPS}
    for how, options in made.items():
        path = folder / f"{name.replace(' ', '_')}_{how}.npy"
        if not path.exists():
            np.save(path, nw.denoise(noisy, method="simulated", noise=noise, report=lambda _: None, **options).mean)
        yield how, np.load(path).astype(float)


def as_written(image: Image, dtype: np.dtype) -> tuple[Image, float]:
    """A result as it is in a file of this pixel type, and the step to which it was rounded."""
    if dtype.kind not in "ui":
        return image, 0.0
    limits = np.iinfo(dtype)
    return np.rint(image).clip(limits.min, limits.max), 1.0


def second_result(noisy: Image, noise: nw.Noise) -> torch.Tensor:
    """What a report compares with."""
    return packaged_result(torch.from_numpy(noisy.astype(np.float32)), noise)


@dataclass(frozen=True)
class Case:
    """A noisy image, its result and truth, the standard deviation of the noise, and random numbers."""

    noisy: Image
    result: Image
    truth: Image
    std: Image
    rng: np.random.Generator


# -- harm --------------------------------------------------------------------------------------------


def blurred(one: Case) -> Image:
    """Blurred so that the squared error rises by half."""
    before = ((one.result - one.truth) ** 2).mean()
    for width in np.arange(0.3, 4, 0.1):
        harmed = gaussian_filter(one.result, width)
        if ((harmed - one.truth) ** 2).mean() > 1.5 * before:
            return harmed
    return harmed


def sharpened(one: Case) -> Image:
    """Sharpened so that the squared error rises by half."""
    edges = gaussian_laplace(one.result, 1.0)
    before = ((one.result - one.truth) ** 2).mean()
    for amount in np.arange(0.1, 6, 0.1):
        harmed = one.result - amount * edges
        if ((harmed - one.truth) ** 2).mean() > 1.5 * before:
            break
    return harmed


def scaled(one: Case) -> Image:
    """Contrast higher by 3 %."""
    return one.result.mean() + SCALE * (one.result - one.result.mean())


def shifted(one: Case) -> Image:
    """Shifted by a pixel."""
    return shift(one.result, (0, 1) if one.rng.random() < 0.5 else (1, 0), order=1, mode="nearest")


def spot_at(result: Image, std: Image, place: tuple[int, int], strength: float) -> Image:
    """A spot of a strength in standard deviations of its matched filter."""
    profile = spot_profile(SPOT).numpy()
    kernel = np.outer(profile, profile)
    harmed, (y, x), half = result.copy(), place, len(kernel) // 2
    harmed[y - half : y + half + 1, x - half : x + half + 1] += strength * std[y, x] * kernel
    return harmed


def invented(one: Case) -> Image:
    """A spot added."""
    place = tuple(int(one.rng.integers(12, size - 12)) for size in one.result.shape)
    return spot_at(one.result, one.std, place, 5.0)


def erased(one: Case) -> Image:
    """A spot taken away: planted in the noisy image instead (see `harmed_pair`)."""
    return one.result


def seam(one: Case) -> Image:
    """A step along a line, as between tiles."""
    harmed, at = one.result.copy(), int(one.rng.integers(30, one.result.shape[0] - 30))
    harmed[at:] += SEAM * float(np.median(one.std))
    return harmed


def stripe(one: Case) -> Image:
    """A row offset that was left."""
    harmed, at = one.result.copy(), int(one.rng.integers(10, one.result.shape[0] - 10))
    harmed[at] += STRIPE * one.std[at]
    return harmed


HARMS: dict[str, Callable[[Case], Image]] = {
    "blurred": blurred, "sharpened": sharpened, "scaled": scaled, "shifted": shifted, "invented": invented,
    "erased": erased, "seam": seam, "stripe": stripe,
}  # fmt: skip


def measured_spot(one: Case) -> Image:
    """The noisy image with a spot whose matched-filter value over the result is 5 standard deviations."""
    y, x = (int(one.rng.integers(12, size - 12)) for size in one.noisy.shape)
    residual = torch.from_numpy((one.noisy - one.result) / one.std)
    there = float(filtered(residual, SPOT)[y, x])
    return spot_at(one.noisy, one.std, (y, x), 5.0 - there)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="only every n-th image")
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    rows: list[dict[str, Any]] = []
    chosen = islice(enumerate(images()), 0, None, arguments.every)
    for number, (kind, name, recorded, truth, noise) in chosen:
        second, noisy = second_result(recorded, noise), recorded.astype(float)
        for how, result in honest(number, name, recorded, noise, arguments.cache):
            std = noise.mean_var(torch.from_numpy(result))[1].sqrt().numpy()
            for harm, apply in {"honest": None, **HARMS}.items():
                rng = np.random.default_rng(zlib.crc32(f"{name} {harm}".encode()))
                case = Case(noisy, result, truth, std, rng)
                harmed, seen, other = result if apply is None else apply(case), noisy, second
                if harm == "erased":
                    seen = measured_spot(case)
                    other = second_result(seen, noise)
                written, step = as_written(harmed, recorded.dtype)
                found = check_finished(torch.from_numpy(seen), torch.from_numpy(written), other, noise, step=step)
                values = {one.check: one.value for one in found}
                rows.append({"kind": kind, "name": name, "how": how, "harm": harm} | values)
    report(rows)
    write("harm", {"rows": rows}, arguments.dry)


def report(rows: list[dict[str, Any]]) -> None:
    """Quantiles over honest results, and how often each harm is above a limit."""
    kept = [row for row in rows if row["harm"] == "honest"]
    print(table([
        [check, limit, *np.quantile([abs(row[check]) for row in kept], (0.5, 0.9, 0.95, 0.98, 1)).round(3)]
        for check, limit in LIMITS.items()
    ], ["check", "limit", "50 %", "90 %", "95 %", "98 %", "most"]))  # fmt: skip
    for harm in ("honest", *HARMS):
        chosen = [row for row in rows if row["harm"] == harm]
        above = [[check for check, limit in LIMITS.items() if abs(row[check]) > limit] for row in chosen]
        counts = {check: sum(check in one for one in above) for check in LIMITS}
        print(f"{harm:10s} found {sum(map(bool, above))} of {len(chosen)}", {k: v for k, v in counts.items() if v})
        for kind in sorted({row["kind"] for row in chosen}):
            part = [bool(one) for one, row in zip(above, chosen, strict=True) if row["kind"] == kind]
            print(f"    {kind:10s} {sum(part)} of {len(part)}")


if __name__ == "__main__":
    main()
