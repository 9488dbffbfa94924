"""The demonstration: drawn cells, exposed by a simulated camera, denoised as by a user, and measured.

The scene is drawn rather than shipped, so the package stays small and the truth is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.axes import Array
from noisewise.denoise import Result, denoise
from noisewise.errors import UserError
from noisewise.evaluate.metrics import psnr, ssim
from noisewise.io import create_sink
from noisewise.io.memory import MemorySource
from noisewise.noise.camera import Camera
from noisewise.progress import Report, quiet

SIZE = 512
PIXEL_UM = 0.1
PSF_SIGMA = 1.3  # pixels
CAMERA = Camera(gain=2.2, read_noise=1.6, offset=100, bits=16)
BRIGHTEST = 34.0  # photons, of the 99.9th percentile of the scene


@dataclass(frozen=True)
class Demo:
    """What the demonstration made: images in ADU, their scores against the truth, the files."""

    noisy: Array
    denoised: Array
    truth: Array
    scores: dict[str, tuple[float, float]]
    data_range: float
    files: dict[str, Path]
    result: Result


def run_demo(
    folder: Path,
    *,
    budget: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    report: Report = quiet,
) -> Demo:
    """Write noisy, denoised and true image and a picture of them into a folder; earlier ones are replaced.

    Errors: `UserError` if the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: the folder cannot be created ({error.strerror})") from error
    files = {name: folder / f"{name}.ome.tif" for name in ("noisy", "denoised", "truth")}
    photons = draw_cells(seed)
    noisy = CAMERA.expose(photons, seed=seed)
    truth = CAMERA.signal(photons).astype(np.float32)
    write(files["noisy"], noisy)
    write(files["truth"], truth)
    result = denoise(
        files["noisy"],
        output=files["denoised"],
        budget=budget,
        steps=steps,
        seed=seed,
        overwrite=True,
        report=report,
    )
    data_range = float(truth.max() - truth.min())
    scores = {
        name: (psnr(image, truth, data_range), ssim(image, truth, data_range))
        for name, image in (("noisy", noisy), ("denoised", result.mean))
    }
    files["picture"] = folder / "before_after.png"
    demo = Demo(noisy, result.mean, truth, scores, data_range, files, result)
    before_after(demo, files["picture"])
    return demo


def write(path: Path, image: Array) -> None:
    """An OME-TIFF with its pixel size."""
    source = MemorySource(path.stem, "YX", image.shape, image.dtype, {"Y": PIXEL_UM, "X": PIXEL_UM}, array=image)
    with create_sink(path, source, overwrite=True) as sink:
        sink.write(source.everything, image)


# -- the scene -------------------------------------------------------------------------------------


def draw_cells(seed: int) -> Array:
    """Expected photons a pixel: nuclei with chromatin, filaments, puncta, haze; blurred by the PSF."""
    dice = np.random.default_rng((seed, 0))
    centres = np.array([(135.0, 150.0), (215.0, 390.0), (390.0, 170.0)]) + dice.normal(0, 8, (3, 2))
    nuclei, filaments, puncta, haze = (np.zeros((SIZE, SIZE)) for _ in range(4))
    for centre in centres:
        nuclei += draw_nucleus(dice, centre)
        haze += np.exp(-0.5 * (distance(centre) / 85.0) ** 2)
        for _ in range(46):
            add_points(filaments, grow_filament(dice, centre), dice.uniform(0.35, 1.0))
        spots = centre + dice.normal(0, 62, (60, 2))
        for spot, brightness in zip(spots, dice.lognormal(0.0, 0.5, len(spots)), strict=True):
            add_points(puncta, spot[None], brightness)
    haze *= 0.6 + 0.8 * smooth_noise(dice, 14.0)
    scene = (
        blur(filaments, PSF_SIGMA) / 0.32
        + 1.5 * blur(nuclei, PSF_SIGMA)
        + blur(puncta, 1.2 * PSF_SIGMA) * 30.0
        + 0.55 * blur(haze, 4.0)
    )  # fmt: skip
    return 1.0 + (BRIGHTEST - 1.0) * np.clip(scene / np.percentile(scene, 99.9), 0, 1.6)


def draw_nucleus(dice: np.random.Generator, centre: Array) -> Array:
    """A soft ellipse filled with clumpy chromatin, with a few dark nucleoli."""
    angle, long, short = dice.uniform(0, np.pi), dice.uniform(50, 60), dice.uniform(36, 44)
    y, x = np.mgrid[:SIZE, :SIZE] - centre[:, None, None]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside = 1 / (1 + np.exp((np.sqrt((u / long) ** 2 + (v / short) ** 2) - 1) * 22))
    for _ in range(3):
        inside *= 1 - 0.7 * np.exp(-0.5 * (distance(centre + dice.normal(0, 17, 2)) / dice.uniform(4, 7)) ** 2)
    return np.asarray(inside * (0.55 + 0.75 * smooth_noise(dice, 2.5)))


def grow_filament(dice: np.random.Generator, centre: Array) -> Array:
    """Points (N, 2) half a pixel apart along a path that leaves the nucleus and bends slowly."""
    start = dice.uniform(0, 2 * np.pi)
    length = int(2 * dice.uniform(90, 230))
    waves = np.arange(length)[:, None] / dice.uniform(60, 240, 3) + dice.uniform(0, 1, 3)
    heading = start + dice.normal(0, 0.55) + (np.sin(2 * np.pi * waves) * dice.normal(0, 0.24, 3)).sum(1)
    heading += dice.normal(0, 0.0016) * np.arange(length)
    steps = 0.5 * np.stack([np.sin(heading), np.cos(heading)], 1)
    rim = centre + dice.uniform(30, 62) * np.array([np.sin(start), np.cos(start)])
    return np.asarray(rim + np.cumsum(steps, 0))


def add_points(canvas: Array, points: Array, brightness: float) -> None:
    """Add points between pixels, shared among the four around each."""
    corner = np.floor(points).astype(int)
    part = points - corner
    for dy in (0, 1):
        for dx in (0, 1):
            y, x = corner[:, 0] + dy, corner[:, 1] + dx
            share = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1])
            seen = (y >= 0) & (y < SIZE) & (x >= 0) & (x < SIZE)
            np.add.at(canvas, (y[seen], x[seen]), brightness * share[seen])


def distance(centre: Array) -> Array:
    """Distance of each pixel from a point."""
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.asarray(np.hypot(y - centre[0], x - centre[1]))


def smooth_noise(dice: np.random.Generator, sigma: float) -> Array:
    """Blurred white noise, scaled to mean 0.5 and mostly between 0 and 1."""
    noise = blur(dice.normal(size=(SIZE, SIZE)), sigma)
    return np.asarray(np.clip(0.5 + 0.25 * noise / noise.std(), 0, 1.2))


def blur(image: Array, sigma: float) -> Array:
    """Gaussian blur; the image's opposite borders touch."""
    frequency = np.fft.fftfreq(SIZE)
    taper = np.exp(-2 * (np.pi * sigma) ** 2 * (frequency[:, None] ** 2 + frequency[None, : SIZE // 2 + 1] ** 2))
    return np.fft.irfft2(np.fft.rfft2(image) * taper, s=image.shape)


# -- the picture -----------------------------------------------------------------------------------

ZOOM = (slice(172, 282), slice(236, 346))  # (Y, X) of the inset
INSET = 0.42  # of the panel's width


def before_after(demo: Demo, path: Path) -> None:
    """Noisy, denoised and true image side by side, with an inset, a scale bar and the scores."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.2, 4.85), dpi=110, facecolor="black")
    FigureCanvasAgg(figure)
    low, high = float(np.percentile(demo.truth, 0.5)), float(np.percentile(demo.truth, 99.8))
    for i, (name, image) in enumerate((("noisy", demo.noisy), ("denoised", demo.denoised), ("truth", demo.truth))):
        panel = figure.add_axes((0.006 + i * 0.332, 0.012, 0.324, 0.88))
        panel.set_axis_off()
        panel.imshow(image, cmap="magma", vmin=low, vmax=high, interpolation="nearest")
        score = "PSNR {:.1f} dB   SSIM {:.3f}".format(*demo.scores[name]) if name in demo.scores else "the drawn scene"
        panel.text(0, -16, name, color="white", size=15, weight="bold", va="bottom")
        panel.text(SIZE, -16, score, color="0.8", size=12, va="bottom", ha="right")
        add_inset(panel, image, low, high)
        if i == 0:
            add_scale_bar(panel)
    figure.savefig(path)


def add_inset(panel: Any, image: Array, low: float, high: float) -> None:
    """A corner of the panel shows a part of the image, enlarged; a frame shows where it is from."""
    rows, columns = ZOOM
    size = columns.stop - columns.start
    frame = {"color": "white", "linewidth": 0.8}
    panel.plot(
        [columns.start, columns.stop, columns.stop, columns.start, columns.start],
        [rows.start, rows.start, rows.stop, rows.stop, rows.start], **frame,
    )  # fmt: skip
    inset = panel.inset_axes((1 - INSET, 0, INSET, INSET))
    inset.imshow(image[ZOOM], cmap="magma", vmin=low, vmax=high, interpolation="nearest", extent=(0, size, size, 0))
    inset.set(xticks=[], yticks=[])
    for spine in inset.spines.values():
        spine.set(**frame)


def add_scale_bar(panel: Any) -> None:
    """Ten micrometres, at the lower left."""
    length = 10 / PIXEL_UM
    panel.plot([24, 24 + length], [SIZE - 26] * 2, color="white", linewidth=3, solid_capstyle="butt")
    panel.text(24 + length / 2, SIZE - 34, "10 µm", color="white", size=11, ha="center", va="bottom")
