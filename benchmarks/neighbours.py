"""Stacks and movies: what the planes before and behind bring, and that they do no harm.

    python benchmarks/neighbours.py                (all; a quarter of an hour on two cores)
    python benchmarks/neighbours.py --parts sequences

sequences: clean movies and stacks with planted photon noise (the brightest pixels have 3, 10 or 40 photons; gain 2 ADU,
offset 100 ADU), denoised untrained with the noise model that is measured in them: each plane on its own, and with its
neighbours. PSNR over the range of those photons, mean over planes. `slow` ones move slowly; `no help` ones have
cuts, large steps, flicker, or planes with nothing in common.
events: spots that light up in one plane, on still or moving scenes: the part of their light that is left, a mean over
all events, and the part of it that appears in the planes before and behind. blinking: the same for spots that are on in
some planes, at random.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import tifffile
from scipy.ndimage import shift

import noisewise as nw
from common import DATA, Rows, make_parser
from noisewise.evaluate.metrics import psnr

PHOTONS = (3, 10, 40)
GAIN, OFFSET = 2.0, 100.0  # ADU a photon, ADU
FRAMES, SIDE = 24, 200
EVENTS, RADIUS, SNR = 240, 2.0, 5.0  # spots; their standard deviation, pixels; of the mean of a region
SLOW = ("lysosome_1", "lysosome_2", "lysosome_3", "membrane", "drift 0.3", "nuclei in depth")
NO_HELP = ("strangers", "cuts", "steps of 10", "flicker", "jumps")
STILL = ("still",)


@cache
def lysosomes(number: int) -> np.ndarray:
    """A movie (T, Y, X) without its background."""
    movie = tifffile.imread(DATA / "lysosome_time" / f"lysosome_0{number}.tif")[:FRAMES].astype(float)
    return np.clip(movie - np.quantile(movie, 0.01), 0, None)


@cache
def cells(number: int = 1) -> np.ndarray:
    """A mean of 50 captures (Y, X)."""
    return tifffile.imread(DATA / "fmd" / "gt_avg50.tif")[number].astype(float)


def window(y: float, x: float, number: int = 1) -> np.ndarray:
    """A part of the cells at a subpixel position."""
    moved = shift(cells(number), (-(y % 1), -(x % 1)), order=3, mode="nearest")
    return np.clip(moved[int(y) : int(y) + SIDE, int(x) : int(x) + SIDE], 0, None)


def clean(name: str) -> np.ndarray:
    """A sequence of planes."""
    rng = np.random.default_rng(0)
    if name.startswith("lysosome"):
        return lysosomes(int(name[-1]))
    if name == "membrane":
        movie = tifffile.imread(DATA / "clean" / "membrane_2d_timelapse.tif").astype(float)
        return movie - movie.min()
    if name == "nuclei in depth":
        volume = tifffile.imread(DATA / "clean" / "stardist_img3d.tif").astype(float)
        return np.clip(volume - np.quantile(volume, 0.01), 0, None)
    if name == "still":
        return np.repeat(window(100, 100)[None], 5, 0)
    if name == "drift 0.3":
        return np.stack([window(50 + 0.3 * k, 60 + 0.2 * k) for k in range(12)])
    if name == "steps of 10":
        return np.stack([window(20 + 8 * k, 20 + 6 * k) for k in range(12)])
    if name == "jumps":
        return np.stack([window(*rng.uniform(0, 300, 2).astype(int)) for _ in range(12)])
    if name == "flicker":
        return window(100, 100)[None] * np.exp(0.5 * rng.normal(size=(12, 1, 1)))
    if name == "cuts":
        return np.concatenate([lysosomes(number)[:3] for number in (1, 2, 3, 1)])
    if name == "strangers":
        return np.stack([lysosomes(k % 3 + 1)[7 * k % FRAMES] for k in range(12)])
    raise ValueError(name)


def exposed(signal: np.ndarray, seed: int = 0) -> np.ndarray:
    """Photons (Z, Y, X) as a camera of 16 bits records them."""
    return (GAIN * np.random.default_rng(seed).poisson(signal) + OFFSET).astype(np.uint16)


def denoised(noisy: np.ndarray, neighbours: bool) -> np.ndarray:
    """Photons of each plane."""
    result = nw.denoise(noisy, axes="TYX", method="simulated", steps=0, average=False, neighbours=neighbours)
    return (result.mean - OFFSET) / GAIN


def sequence(name: str, photons: float) -> dict[str, Any]:
    """Mean PSNR of all planes: as recorded, each plane on its own, with neighbours; of `auto`, which chooses."""
    signal = clean(name)
    signal = signal / np.quantile(signal, 0.999) * photons
    noisy = exposed(signal)
    kept = slice(2, 3) if name in STILL else slice(None)

    def score(image: np.ndarray) -> float:
        return float(np.mean([psnr(a, b, photons) for a, b in zip(image[kept], signal[kept], strict=True)]))

    chosen = nw.denoise(noisy, axes="TYX", steps=0, average=False)
    return {
        "noisy": score((noisy - OFFSET) / GAIN), "alone": score(denoised(noisy, False)),
        "neighbours": score(denoised(noisy, True)), "auto": score((chosen.mean - OFFSET) / GAIN),
    }  # fmt: skip


def spots(count: int, planes: int, side: int, seed: int) -> list[tuple[int, int, int]]:
    """Plane and centre of events, far from one another and from the border."""
    rng, found = np.random.default_rng(seed), list[tuple[int, int, int]]()
    while len(found) < count:
        new = (int(rng.integers(2, planes - 2)), *map(int, rng.integers(12, side - 12, 2)))
        if all(abs(new[0] - z) > 4 or max(abs(new[1] - y), abs(new[2] - x)) > 20 for z, y, x in found):
            found.append(new)
    return found


def events(scene: str, level: float, blinking: bool) -> dict[str, Any]:
    """What is left of spots whose mean in a region has a signal-to-noise ratio of `SNR`, on a scene of so many photons.

    kept: amplitude, mean over events, relative to the truth. error: its standard error. beside: what appears in the
    planes beside, relative to it.
    """
    y, x = np.mgrid[-6:7, -6:7]
    spot = np.exp(-(y**2 + x**2) / (2 * RADIUS**2))
    region = spot > 0.5
    found: dict[str, list[float]] = {}
    count, seed = 0, 0
    while count < EVENTS:
        base = np.repeat(clean(scene)[:1], FRAMES, 0) if scene == "still" else clean(scene)
        base = base[:FRAMES] / np.quantile(base, 0.999) * level
        planted, where = base.copy(), spots(40, len(base), base.shape[1], seed)
        amplitudes = []
        for z, v, u in where:
            cut = np.s_[v - 6 : v + 7, u - 6 : u + 7]
            amplitude = SNR * np.sqrt(base[z][cut][region].mean() + 0.5) / np.sqrt(region.sum()) / spot[region].mean()
            on = [z] if not blinking else [z, *np.random.default_rng(v).integers(0, len(base), 4)]
            for plane in set(on):
                planted[plane][cut] += amplitude * spot
            amplitudes.append(amplitude)
        noisy = exposed(planted, seed)
        for kind in ("alone", "neighbours"):
            image = denoised(noisy, kind == "neighbours")
            for (z, v, u), amplitude in zip(where, amplitudes, strict=True):
                cut = np.s_[v - 6 : v + 7, u - 6 : u + 7]
                unit = amplitude * spot[region].mean()
                found.setdefault(f"{kind}_kept", []).append((image[z][cut] - base[z][cut])[region].mean() / unit)
                if not blinking:
                    off = np.mean([(image[z + k][cut] - base[z + k][cut])[region].mean() for k in (-1, 1)])
                    found.setdefault(f"{kind}_beside", []).append(off / unit)
        count, seed = count + len(where), seed + 1
    return {"events": count} | {key: float(np.mean(value)) for key, value in found.items()} | {
        f"{key}_error": float(np.std(value) / len(value) ** 0.5) for key, value in found.items()
    }  # fmt: skip


def main() -> None:
    parser = make_parser(__doc__, rows=True)
    parser.add_argument("--parts", nargs="*", default=["sequences", "events"])
    arguments = parser.parse_args()
    rows = Rows("neighbours", arguments)
    if "sequences" in arguments.parts:
        for name in (*SLOW, *STILL, *NO_HELP):
            for photons in PHOTONS:
                rows.measure(lambda n=name, p=photons: sequence(n, p), part="sequences", scene=name, photons=photons)
    if "events" in arguments.parts:
        for scene in ("still", "lysosome_1"):
            for level in PHOTONS:
                for blinking in (False, True):
                    rows.measure(
                        lambda s=scene, n=level, b=blinking: events(s, n, b),
                        part="events", scene=scene, photons=level, blinking=blinking,
                    )  # fmt: skip


if __name__ == "__main__":
    main()
