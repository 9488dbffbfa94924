"""The demonstration: an image of synthetic cells and a simulated camera is denoised and compared with the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.evaluate.metrics import psnr, ssim
from noisewise.io import create_sink
from noisewise.io.memory import MemorySource
from noisewise.noise.camera import Camera
from noisewise.plots.before_after import plot_before_after
from noisewise.progress import Report, quiet
from noisewise.scenes.demonstration import draw_cells
from noisewise.workflow.denoise import Result, denoise

PIXEL_UM = 0.1
CAMERA = Camera(gain=2.2, read_noise=1.6, offset=100, bits=16)


@dataclass(frozen=True)
class Demonstration:
    """Images in ADU, scores (PSNR in dB, SSIM) against the truth, and files."""

    noisy: Array
    denoised: Array
    truth: Array
    scores: dict[str, tuple[float, float]]
    data_range: float
    files: dict[str, Path]
    result: Result


def demonstrate(
    folder: Path, *, budget: str | None = None, steps: int | None = None, seed: int = 0, report: Report = quiet
) -> Demonstration:
    """Write the noisy, the denoised and the true image and a figure of them into a folder; earlier ones are replaced.

    Errors: `UserError` if the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be created ({error.strerror}); choose another folder") from error
    files = {name: folder / f"{name}.ome.tif" for name in ("noisy", "denoised", "truth")}
    photons = draw_cells(seed)
    noisy = CAMERA.expose(photons, seed=seed)
    truth = CAMERA.signal(photons).astype(np.float32)
    write(files["noisy"], noisy)
    write(files["truth"], truth)
    result = denoise(
        files["noisy"], output=files["denoised"], budget=budget, steps=steps, seed=seed, overwrite=True, report=report
    )
    data_range = float(truth.max() - truth.min())
    images = {"noisy": noisy, "denoised": result.mean}
    scores = {name: (psnr(image, truth, data_range), ssim(image, truth, data_range)) for name, image in images.items()}
    files["picture"] = folder / "before_after.png"
    plot_before_after(images | {"truth": truth}, scores, files["picture"], PIXEL_UM)
    return Demonstration(noisy, result.mean, truth, scores, data_range, files, result)


def write(path: Path, image: Array) -> None:
    """Write an image as OME-TIFF with its pixel size."""
    source = MemorySource(path.stem, "YX", image.shape, image.dtype, {"Y": PIXEL_UM, "X": PIXEL_UM}, array=image)
    with create_sink(path, source, overwrite=True) as sink:
        sink.write(source.everything, image)
