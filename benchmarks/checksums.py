"""Checksums of what noisewise computes on six real recordings, to show that a refactoring changed no bit.

    python benchmarks/checksums.py DATA -o before.json       # with the old version
    python benchmarks/checksums.py DATA -o after.json        # with the new one, on the same machine
    python benchmarks/checksums.py DATA --compare before.json after.json

DATA is a folder of recordings (see `recordings`). Everything runs on one thread, for a fixed number of steps. Only the
public interface is used, and pixels are compared, not files: metadata name the version.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

import noisewise as nw

STEPS, SIDE = 60, 192
Pixels = np.ndarray[Any, np.dtype[Any]]


def recordings(data: Path) -> dict[str, Pixels]:
    """Cut-outs of six recordings, uint8, uint16 and float32, 2D, 3D and in time."""
    fmd = tifffile.imread(data / "fmd/raw.tif")

    def cut(image: Pixels, *start: int) -> Pixels:
        y, x = start or (64, 64)
        return image[..., y : y + SIDE, x : x + SIDE].copy()

    return {
        "confocal": cut(fmd[0]),
        "widefield": cut(fmd[24]),
        "emccd": cut(tifffile.imread(data / "convallaria/Conv_frame0000.tif")),
        "rows": cut(tifffile.imread(sorted((data / "row_noise_3d").glob("*.tif"))[0])[:4]),
        "lines": cut(tifffile.imread(data / "line_noise_3d/stack0_z000-029.tif")[10:12]),
        "movie": cut(tifffile.imread(data / "focal_adhesion_time/FA_Evolve_23frames.tif")[:3]),
    }


AXES = {"rows": "ZYX", "lines": "ZYX", "movie": "TYX"}


def digest(*arrays: Any) -> str:
    """SHA-256 over types, shapes and bytes."""
    found = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array.detach().numpy() if isinstance(array, torch.Tensor) else array)
        found.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()[:16]


def of_noise(noise: Any, low: float, high: float) -> str:
    """Of what a noise model draws and says of a ramp of signals."""
    signal = torch.linspace(low, high, 64).repeat(64, 1)
    noisy = noise.sample(signal, torch.Generator().manual_seed(1))
    return digest(noisy, noise.log_prob(noisy, signal), *noise.mean_var(signal), noise.cdf(noisy, signal))


def measured(image: Pixels, axes: str | None) -> str:
    """Of a check-up and its noise model."""
    checkup = nw.measure(image, axes=axes)
    low, _, high = checkup.signal_range
    numbers = [checkup.std(s) for s in checkup.signal_range] + [*checkup.offset_adu, *checkup.read_noise_adu]
    text = digest(np.array([*numbers, *(value for part in checkup.rho.values() for value in part)]))
    return f"{checkup.kind} {text} {of_noise(checkup.noise, low, high)} {of_noise(checkup.pixel_noise, low, high)}"


def denoised(image: Pixels, axes: str | None, method: str, **options: Any) -> str:
    """Of the mean and standard deviation of an image denoised in memory."""
    result = nw.denoise(image, axes=axes, method=method, steps=STEPS, seed=3, average=False, **options)
    return digest(result.mean, *([] if result.std is None else [result.std]))


def trained(image: Pixels, axes: str | None, method: str, target: Pixels | None = None) -> str:
    """Of a model that was trained, saved, loaded and run; with samples where the method has some."""
    with tempfile.TemporaryDirectory() as folder:
        model = nw.train(method, image, target, axes=axes, steps=STEPS, seed=5)
        model.save(Path(folder) / "model.safetensors")
        posterior = nw.load(Path(folder) / "model.safetensors").predict(image, axes=axes, average=True)
    parts = [posterior.mean, *([] if posterior.std is None else [posterior.std])]
    return digest(*parts, *([posterior.sample(2)] if type(posterior).__name__ == "Sampled" else []))


def on_disk(image: Pixels, axes: str | None, *options: str) -> str:
    """Of the files that the command line writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.tif"
        tifffile.imwrite(path, image, metadata={"axes": axes or "YX"}, ome=True)
        command = [sys.executable, "-m", "noisewise", "denoise", str(path), "--steps", str(STEPS), "--quiet", *options]
        subprocess.run(command, check=True, capture_output=True)
        written = [file for file in sorted(Path(folder).glob("*.tif")) if file != path]
        return digest(*(tifffile.imread(file) for file in written))


def calibrated(data: Path, kind: str) -> str:
    """Of a noise model from frames of a static scene."""
    frames = tifffile.imread(data / "fmd/raw.tif")[:4, :SIDE, :SIDE]
    if kind == "bootstrapped":
        frames = tifffile.imread(data / "focal_adhesion_time/FA_Evolve_23frames.tif")[:6, :SIDE, :SIDE]
        kind = "mixture"
    return of_noise(nw.calibrate(frames, kind=kind, axes="TYX"), float(frames.min()), float(frames.max()))


def jobs(data: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """Names of what is computed, and how."""
    images = recordings(data)
    for name, image in images.items():
        axes = AXES.get(name)
        yield f"measure {name}", lambda image=image, axes=axes: measured(image, axes)
        yield f"denoise {name}", lambda image=image, axes=axes: denoised(image, axes, "auto")
        yield f"files {name}", lambda image=image, axes=axes: on_disk(image, axes)
    for method in ("n2v", "pn2v", "r2r", "sure", "hdn", "divnoising", "cosdd", "simulated"):
        yield f"train {method}", lambda method=method: trained(images["emccd"], None, method)
    counts = np.random.default_rng(0).poisson(4 + images["confocal"] / 12.0).astype(np.uint16)
    yield "train gap", lambda: trained(counts, None, "gap")
    yield "train n2v 3D", lambda: trained(images["rows"], "ZYX", "n2v")
    yield "train simulated 3D", lambda: trained(images["lines"], "ZYX", "simulated")
    yield "train structN2V", lambda: denoised(images["rows"], "ZYX", "n2v", blind_shape="auto")
    yield "train n2n", lambda: trained(images["movie"], "TYX", "n2n")
    yield "train care", lambda: trained(images["confocal"], None, "care", images["confocal"].astype(np.float32))
    yield (
        "files with std and samples",
        lambda: on_disk(images["emccd"], None, "--method", "hdn", "--std", "--samples", "3", "--mode"),
    )
    for kind in ("gaussian", "poisson_gaussian", "histogram", "mixture"):
        yield f"calibrate {kind}", lambda kind=kind: calibrated(data, kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"))
    arguments = parser.parse_args()
    if arguments.compare:
        sys.exit(compare(*arguments.compare))
    torch.set_num_threads(1)
    found = {}
    for name, job in jobs(arguments.data):
        if arguments.only in name:
            started = time.perf_counter()
            try:
                found[name] = job()
            except Exception as error:  # a job that fails is a difference like any other
                found[name] = f"{type(error).__name__}: {error}"
            print(f"{name:<30} {found[name]}   {time.perf_counter() - started:.1f} s", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n")


def compare(before: Path, after: Path) -> int:
    """Print what differs; 1 if anything does."""
    old, new = (json.loads(path.read_text()) for path in (before, after))
    different = [name for name in old | new if old.get(name) != new.get(name)]
    for name in different:
        print(f"{name}: {old.get(name)} -> {new.get(name)}")
    print(f"{len(old | new) - len(different)} of {len(old | new)} equal")
    return bool(different)


if __name__ == "__main__":
    main()
