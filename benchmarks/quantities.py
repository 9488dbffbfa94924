"""Error bars of spot counts and of dF/F, on planted images and movies: how often intervals hold the true value.

    python benchmarks/quantities.py                 (half an hour on two cores)

Spots: images of 96 x 96 pixels with 10 to 40 spots (standard deviation 1.5 pixels) over a drawn scene that is far
wider than they are. The count in each quarter of the image, by `blob_log`; the true value is the count in the image
without noise, with the same threshold. A count is a whole number, and often several samples have the same: its rank
among the samples is drawn at random between them, so that 90 % is right. Without training, and after 600 steps on
these images, with scenes of all kinds or of spots (`--scenes puncta`): nothing but spots is rare in the scenes of the
packaged network. Puncta: drawn as in its training.

Movies: six frames of 96 x 96 pixels, five to nine discs (cells) over a drawn scene, each with its own course of
brightness. dF/F of every cell in every frame after the baseline, the first two.

Photons: at most 35 (spots) or 20 (movies) a pixel, and read noise of two electrons. For comparison, images in which
each pixel errs by itself, with the standard deviations of pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np

import noisewise as nw
from common import Rows, make_parser
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.quantify.measurements import MEASUREMENTS, Options, Regions, Scene
from noisewise.scenes import draw

SIDE, SAMPLES, FIRST = 96, 39, 200_000  # seeds from here on: scenes that the network was not trained on
SPOT_SIGMA, FRAMES, BASELINE, STEPS = 1.5, 6, 2, 600
NOISE = PoissonGaussian(1.0, 100.0, 2.0)
Planted = tuple[np.ndarray, np.ndarray, Options]  # signal, labels, and the options of the measurement


def background(number: int, peak: float) -> np.ndarray:
    """A drawn scene, wide structures alone."""
    scene = draw("regions", (SIDE // 8, SIDE // 8), FIRST + number).numpy()
    steps = np.linspace(0, SIDE // 8 - 1, SIDE)
    rows = np.stack([np.interp(steps, np.arange(SIDE // 8), row) for row in scene])
    return peak * np.stack([np.interp(steps, np.arange(SIDE // 8), column) for column in rows.T], 1)


def spots(number: int) -> Planted:
    """Spots over a wide background, counted in the quarters of the image."""
    rng = np.random.default_rng(number)
    signal, (y, x) = 100 + 3 + background(number, 10), np.mgrid[:SIDE, :SIDE]
    for _ in range(rng.integers(10, 41)):
        centre, amplitude = rng.uniform(4, SIDE - 4, 2), rng.uniform(5, 20)
        signal += amplitude * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 2 / SPOT_SIGMA**2)
    labels = 1 + (y >= SIDE // 2) + 2 * (x >= SIDE // 2)
    return signal, labels, Options((0.0,), (100.0,), spot_sigma=SPOT_SIGMA, spot_amplitude=(8.0,))


def puncta(number: int) -> Planted:
    """Drawn puncta, as in the training of the packaged network, counted in the quarters of the image."""
    signal, (y, x) = 100 + 3 + 30 * draw("puncta", (SIDE, SIDE), FIRST + number).numpy(), np.mgrid[:SIDE, :SIDE]
    labels = 1 + (y >= SIDE // 2) + 2 * (x >= SIDE // 2)
    return signal, labels, Options((0.0,), (100.0,), spot_sigma=SPOT_SIGMA, spot_amplitude=(8.0,))


def movie(number: int) -> Planted:
    """Discs that brighten and fade, each at its own time."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:SIDE, :SIDE]
    still, labels = 2 + background(number, 6), np.zeros((SIDE, SIDE), np.int64)
    signal, times = np.repeat(still[None], FRAMES, 0), np.arange(FRAMES)
    for label in range(1, rng.integers(6, 11)):
        radius, centre = rng.uniform(4, 10), rng.uniform(10, SIDE - 10, 2)
        disc = ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2) & (labels == 0)
        if disc.sum() < 30:
            continue
        labels[disc] = label
        onset, decay, rise = rng.uniform(BASELINE, FRAMES), rng.uniform(1, 4), rng.uniform(0, 2)
        course = 1 + rise * np.where(times >= onset, np.exp(-(times - onset) / decay), 0)
        texture = rng.uniform(2, 4) * (1 + 0.3 * np.sin(x / rng.uniform(1, 3)) * np.sin(y / rng.uniform(1, 3)))
        signal += course[:, None, None] * disc * texture
    return signal + 100, labels, Options((0.0,), (100.0,), baseline=(0, BASELINE))


KINDS: dict[str, tuple[str, Callable[[int], Planted], int, str]] = {  # measurement, images, training, its scenes
    "puncta": ("spots", puncta, 0, ""), "spots": ("spots", spots, 0, ""),
    "spots, trained": ("spots", spots, STEPS, "mixed"), "spots, puncta": ("spots", spots, STEPS, "puncta"),
    "movies": ("trace", movie, 0, ""),
}  # fmt: skip


def scene(image: np.ndarray, labels: np.ndarray) -> Scene:
    """As the measurements take it: with all axes."""
    frames = image if image.ndim == 3 else image[None]
    return Scene(frames[:, None, None].astype(np.float64), Regions.of_labels(labels[None, None]))


def values(measure: str, image: np.ndarray, labels: np.ndarray, options: Options) -> np.ndarray:
    """The measurements on an image; of dF/F, those after the baseline."""
    found = MEASUREMENTS[measure](scene(image, labels), options)
    return np.array([value for key, value in found.items() if measure != "trace" or key.frame >= BASELINE])


def ranks(true: np.ndarray, drawn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rank of each true value among those of the samples; among equal ones a random rank."""
    return (drawn < true).sum(0) + rng.integers(0, (drawn == true).sum(0) + 1)


def with_noise(signal: np.ndarray, number: int) -> np.ndarray:
    """A noisy image."""
    return np.asarray(NOISE.sample(signal, generator=number).astype(np.float32))


@cache
def trained(plant: Callable[[int], Planted], images: int, steps: int, scenes: str) -> nw.Model:
    """A model of the noisy images alone, and of synthetic scenes."""
    noisy = np.stack([with_noise(plant(number)[0], number) for number in range(images)])
    axes = "STYX" if noisy.ndim == 4 else "SYX"
    return nw.train("simulated", noisy, steps=steps, noise=NOISE, axes=axes, scenes=scenes, report=lambda _: None)


def row(measure: str, plant: Callable[[int], Planted], number: int, model: nw.Model | None) -> dict[str, Any]:
    """How often the intervals of an image hold the true value. model: None: the packaged network."""
    signal, labels, options = plant(number)
    rng, noisy = np.random.default_rng(number), with_noise(signal, number)
    same = {"samples": SAMPLES, "axes": "TYX" if signal.ndim == 3 else "YX", "report": lambda _: None}
    if model is None:
        found = nw.denoise(noisy, steps=0, noise=NOISE, **same).posterior
    else:
        found = model.predict(noisy, std=True, **same)
    true = values(measure, signal, labels, options)
    drawn = np.stack([values(measure, one, labels, options) for one in found.sample(SAMPLES)])
    alone: Iterator[np.ndarray] = (found.mean + found.std * rng.normal(size=signal.shape) for _ in range(SAMPLES))
    by_pixel = np.stack([values(measure, one, labels, options) for one in alone])
    of_mean = values(measure, found.mean, labels, options)
    inside = [(rank >= 2) & (rank <= SAMPLES - 2) for rank in (ranks(true, one, rng) for one in (drawn, by_pixel))]
    return {
        "values": len(true), "covered": float(inside[0].mean()), "pixels": float(inside[1].mean()),
        "place": float(ranks(true, drawn, rng).mean() / SAMPLES), "true": float(true.mean()),
        "median": float(np.median(drawn, 0).mean()), "of_mean": float(of_mean.mean()),
        "error": float((np.median(drawn, 0) - true).std()), "width": float(drawn.std(0, ddof=1).mean()),
    }  # fmt: skip


def main() -> None:
    parser = make_parser(__doc__, rows=True)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--movies", type=int, default=4)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = Rows("quantities", arguments, samples=SAMPLES)
    for kind in arguments.kinds:
        measure, plant, steps, scenes = KINDS[kind]
        count = arguments.movies if plant is movie else arguments.images
        for number in range(count):
            model = trained(plant, count, steps, scenes) if steps else None
            rows.measure(partial(row, measure, plant, number, model), kind=kind, number=number)


if __name__ == "__main__":
    main()
