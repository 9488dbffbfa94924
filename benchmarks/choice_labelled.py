"""The choice of `denoise` on cameras and scenes of many kinds: is its result as good as that of the best candidate?

    python benchmarks/choice_labelled.py                (72 images, without training; about 10 minutes)
    python benchmarks/choice_labelled.py --only rows    (images whose kind contains this)

White noise, rows, columns, correlated noise, counts, clean, saturated and filtered images, stacks, movies, repeats,
images unlike those trained on, masked images. The candidates are `simulated`, `gap` where pixels are counts, and the
image itself, each with what is measured in the image. A choice is right if its result is at most 0.1 dB below the best.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, median_filter

import noisewise as nw
from choice import psnr
from common import make_parser, natural, write
from noise_planted import PlantedCamera, dense, unit
from noisewise.scenes import draw
from tables_choice import RIGHT, labelled_table

SIDE = 192


@dataclass(frozen=True)
class Case:
    """A noisy image with its truth (ADU), axes, and the methods that it is compared with."""

    kind: str
    name: str
    noisy: np.ndarray
    truth: np.ndarray
    axes: str = "YX"
    methods: tuple[str, ...] = ("simulated", "unchanged")


def scene(kind: str, seed: int, side: int = SIDE) -> np.ndarray:
    """A drawn scene, 0 to 1."""
    return unit(draw(kind, (side, side), 200 + seed).numpy())


def planted(kind: str, name: str, image: np.ndarray, camera: PlantedCamera, seed: int) -> Case:
    """A scene seen by a camera."""
    return Case(kind, name, camera.expose(image, seed), camera.moments(image)[0])


def cases() -> Iterator[Case]:
    """All images."""
    yield from white_noise()
    yield from lines()
    yield from correlated()
    yield from counts()
    yield from processed()
    yield from several_planes()
    yield from strangers()
    yield from masked()


def white_noise() -> Iterator[Case]:
    """Cells under cameras of many gains, and hardly any noise."""
    kinds = ("nuclei", "filaments", "membranes", "vesicles", "puncta", "mixed")
    cameras = (PlantedCamera(200, 2.0, 1.6), PlantedCamera(20, 5.0, 1.0), PlantedCamera(1500, 0.5, 3.0))
    for seed, kind in enumerate(kinds):
        for number, camera in enumerate(cameras[: 2 + seed % 2]):
            yield planted("white", f"{kind} {number}", scene(kind, seed), camera, seed)
    for seed, kind in enumerate(("nuclei", "mixed", "regions", "leaves")):
        clean = np.rint(500 + 4000 * scene(kind, seed))
        yield Case("clean", kind, clean.astype(np.uint16), clean)


def lines() -> Iterator[Case]:
    """Row and column offsets."""
    for seed, kind in enumerate(("nuclei", "filaments", "mixed", "vesicles")):
        for rows in (1.5, 6.0):
            camera = PlantedCamera(100, 2.0, 2.0, rows=rows)
            image = scene(kind, 10 + seed)
            yield planted("rows", f"{kind} {rows}", image, camera, seed)
            if rows == 6.0:
                noisy = camera.expose(image.T, seed).T.copy()
                yield Case("columns", f"{kind} {rows}", noisy, camera.moments(image)[0])


def correlated() -> Iterator[Case]:
    """Noise whose neighbours are correlated along both axes."""
    for seed, kind in enumerate(("nuclei", "filaments", "mixed", "membranes")):
        for blur in (0.6, 1.0):
            camera = PlantedCamera(80, 2.0, 2.0, blur=blur)
            yield planted("correlated", f"{kind} {blur}", scene(kind, 20 + seed), camera, seed)


def counts() -> Iterator[Case]:
    """Photon counts, few and many."""
    rng = np.random.default_rng(5)
    for seed, kind in enumerate(("nuclei", "filaments", "vesicles")):
        for peak in (2.0, 10.0):
            truth = peak * (0.05 + 0.95 * scene(kind, 30 + seed))
            noisy = rng.poisson(truth).astype(np.uint16)
            yield Case("counts", f"{kind} {peak}", noisy, truth, methods=("gap", "simulated", "unchanged"))


def processed() -> Iterator[Case]:
    """Saturated images, and images that were filtered after recording."""
    for seed, kind in enumerate(("nuclei", "mixed", "puncta")):
        image = scene(kind, 40 + seed)
        camera = PlantedCamera(300, 2.0, 2.0)
        noisy, truth = camera.expose(image, seed), camera.moments(image)[0]
        limit = int(np.quantile(noisy, 0.97))
        yield Case("saturated", kind, np.minimum(noisy, limit), np.minimum(truth, limit))
        noisy, truth = camera.expose(image, seed + 50), camera.moments(image)[0]
        yield Case("filtered", f"{kind} Gaussian", gaussian_filter(noisy.astype(np.float32), 0.7), truth)
        yield Case("filtered", f"{kind} median", median_filter(noisy, 3), truth)


def several_planes() -> Iterator[Case]:
    """A stack, a movie, and repeats of one field."""
    camera = PlantedCamera(100, 2.0, 2.0)
    for seed, kind in enumerate(("nuclei", "vesicles")):
        depth = np.stack([scene(kind, 50 + seed, 128) * weight for weight in (0.4, 0.7, 1.0, 0.8, 0.5)])
        yield Case("stack", kind, camera.expose(depth, seed), camera.moments(depth)[0], "ZYX")
        moved = np.stack([np.roll(scene(kind, 60 + seed, 128), 2 * frame, 1) for frame in range(5)])
        yield Case("movie", kind, camera.expose(moved, seed), camera.moments(moved)[0], "TYX")
        still = np.stack([scene(kind, 70 + seed, 128)] * 2)
        yield Case("repeats", kind, camera.expose(still, seed), camera.moments(still)[0], "TYX")


def strangers() -> Iterator[Case]:
    """Natural images, and textures that optics band-limit."""
    camera = PlantedCamera(150, 2.0, 1.6)
    for number in (1, 4, 7, 9):
        yield planted("strangers", f"Set12 {number}", natural("Set12")[number][:SIDE, :SIDE] / 255, camera, number)
    for number, (blur, power) in enumerate(((1.5, 1), (3.0, 1), (2.0, 2), (1.2, 1))):
        yield planted("strangers", f"dense {blur} ^{power}", dense(SIDE, blur, power, 300 + number), camera, number)


def masked() -> Iterator[Case]:
    """Parts without data."""
    camera = PlantedCamera(150, 2.0, 1.6)
    y, x = np.mgrid[:SIDE, :SIDE]
    outside = np.hypot(y - SIDE / 2, x - SIDE / 2) > 0.47 * SIDE
    for seed, kind in enumerate(("nuclei", "mixed")):
        image = scene(kind, 80 + seed)
        noisy, truth = camera.expose(image, seed), camera.moments(image)[0]
        yield Case("masked", f"{kind} NaN", np.where(outside, np.nan, noisy).astype(np.float32), truth)
        yield Case("masked", f"{kind} zero", np.where(outside, 0, noisy), np.where(outside, 0, truth))


def row(case: Case) -> dict[str, Any]:
    """PSNR of the default and of each candidate."""
    options: dict[str, Any] = {"steps": 0, "axes": case.axes, "report": lambda _: None}
    found = nw.denoise(case.noisy, **options)
    scores = {}
    for method in case.methods:
        try:
            scores[method] = psnr(nw.denoise(case.noisy, method=method, **options).mean, case.truth)
        except nw.UserError:  # its noise cannot be measured
            continue
    return {
        "kind": case.kind, "name": case.name, "method": found.model.provenance["method"],
        "default": psnr(found.mean, case.truth), "noisy": psnr(case.noisy.astype(float), case.truth), "scores": scores,
        "to_input": psnr(found.mean, case.noisy.astype(float)) if case.kind == "clean" else None,
    }  # fmt: skip


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--only", default="", help="a part of the kind")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for case in cases():
        if arguments.only in case.kind:
            one = row(case)
            one["below_best"] = max([*one["scores"].values(), one["noisy"]]) - one["default"]
            rows.append(one)
            scores = " ".join(f"{name} {value:.2f}" for name, value in one["scores"].items())
            mark = "" if one["below_best"] <= RIGHT else "WRONG"
            print(case.kind, case.name, one["method"], f"{one['default']:.2f}", "of", scores, mark, flush=True)
    print(labelled_table(rows))
    write("choice_labelled", {"rows": rows}, arguments.dry)


if __name__ == "__main__":
    main()
