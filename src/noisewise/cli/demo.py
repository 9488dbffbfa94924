"""`noisewise demo`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from noisewise.cli._display import Display, print_json, say_notes
from noisewise.cli._exit import OK
from noisewise.cli._options import Budget, MessageOptions, Messages, Steps, check
from noisewise.cli._print import say
from noisewise.errors import UserError, counted
from noisewise.io.files import user_path

if TYPE_CHECKING:
    from noisewise.axes import Array
    from noisewise.workflow.denoise import Result

PIXEL_UM = 0.1
IMAGES = ("noisy", "denoised", "truth")


@dataclass(kw_only=True)
class Demo:
    """Simulate an image of cells, denoise it, and compare the result with the truth.

    Files of an earlier demonstration are replaced.
    """

    output: Annotated[str, arg(aliases=("-o",), metavar="FOLDER")] = "noisewise_demo"
    """folder for the images and the figure"""
    budget: Budget = None
    """time for training and denoising together: 60s, 10min (default: 60s)"""
    steps: Steps = None
    """number of training steps, instead of a time"""
    seed: int = 0
    """random seed of the cells and their noise"""
    messages: MessageOptions = field(default_factory=Messages)

    def run(self) -> int:
        """Run the demonstration and print its scores."""
        check(self)
        from noisewise.workflow.denoise import denoise

        started = time.monotonic()
        files = prepare(user_path(self.output))
        with Display(self.messages.quiet) as display:
            noisy, truth = simulate(files, self.seed)
            result = denoise(
                files["noisy"], output=files["denoised"], budget=self.budget, steps=self.steps, seed=self.seed,
                overwrite=True, report=display,
            )  # fmt: skip
        scores, data_range = compare(noisy, result.mean, truth, files["picture"])
        seconds = time.monotonic() - started
        say_notes(result.notes, self.messages.quiet)
        if self.messages.json:
            print_json(as_record(files, result, scores, data_range, seconds))
            return OK
        say(f"{'':<10} {'PSNR':>8}  {'SSIM':>6}   (range of the truth: {data_range:.0f} ADU)")
        for name, (decibels, similarity) in scores.items():
            say(f"{name:<10} {decibels:5.2f} dB  {similarity:6.3f}")
        for path in files.values():
            say(path)
        if not self.messages.quiet:
            say(f"{counted(result.model.train_state.step, 'step')}, {seconds:.0f} s", error=True)
        return OK


def prepare(folder: Path) -> dict[str, Path]:
    """Create the folder and name its files. Errors: `UserError` if it cannot be created."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be created ({error.strerror}); choose another folder") from error
    return {name: folder / f"{name}.ome.tif" for name in IMAGES} | {"picture": folder / "before_after.png"}


def simulate(files: dict[str, Path], seed: int) -> tuple[Array, Array]:
    """Write a simulated image of cells and its signal, ADU."""
    import numpy as np

    from noisewise.noise.camera import Camera
    from noisewise.scenes.demonstration import draw_cells

    photons = draw_cells(seed)
    camera = Camera(gain=2.2, read_noise=1.6, offset=100, bits=16)
    noisy, truth = camera.expose(photons, seed=seed), camera.signal(photons).astype(np.float32)
    write(files["noisy"], noisy)
    write(files["truth"], truth)
    return noisy, truth


def write(path: Path, image: Array) -> None:
    """Write an image as OME-TIFF with its pixel size."""
    from noisewise.io import create_sink
    from noisewise.io.memory import MemorySource

    source = MemorySource(path.stem, "YX", image.shape, image.dtype, {"Y": PIXEL_UM, "X": PIXEL_UM}, array=image)
    with create_sink(path, source, overwrite=True) as sink:
        sink.write(source.everything, image)


def compare(noisy: Array, denoised: Array, truth: Array, picture: Path) -> tuple[dict[str, tuple[float, float]], float]:
    """PSNR (dB) and SSIM of the noisy and the denoised image, and the range of the truth, ADU; draws a figure."""
    from noisewise.evaluate.metrics import psnr, ssim
    from noisewise.plots.images import plot_images

    data_range = float(truth.max() - truth.min())
    images = {"noisy": noisy, "denoised": denoised}
    scores = {name: (psnr(image, truth, data_range), ssim(image, truth, data_range)) for name, image in images.items()}
    captions = {name: "PSNR {:.1f} dB   SSIM {:.3f}".format(*score) for name, score in scores.items()}
    captions["truth"] = "the simulated scene"
    plot_images(images | {"truth": truth}, picture, pixel_um=PIXEL_UM, captions=captions)
    return scores, data_range


def as_record(
    files: dict[str, Path], result: Result, scores: dict[str, tuple[float, float]], data_range: float, seconds: float
) -> dict[str, Any]:
    """The JSON output."""
    return {
        "scores": {name: {"psnr": p, "ssim": s} for name, (p, s) in scores.items()},
        "data_range": data_range,
        "files": files,
        "steps": result.model.train_state.step,
        "seconds": round(seconds, 2),
        "notes": result.notes,
    }
