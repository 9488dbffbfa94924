"""What an installation is, and what is wrong with it, in plain words."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from noisewise.version import __version__

OPTIONAL = {
    "dask": "denoises dask arrays",
    "xarray": "denoises xarray images",
    "scikit-image": "spots of quantify, classical baselines, and the tests",
    "nd2": "reads ND2 files of Nikon",
    "czifile": "reads CZI files of Zeiss",
    "liffile": "reads LIF files of Leica",
    "mrcfile": "reads MRC files of electron microscopes",
    "h5py": "reads HDF5 files",
    "napari": "shows images; has the noisewise plugin",
    "onnx": "exports models to other programs",
    "bioimageio.core": "exports and imports models of the BioImage Model Zoo",
}
MATRIX = 1024
MEASURE_SECONDS = 0.4
FAST_GFLOPS = 100.0  # of a matrix product: about two recent processor cores, for which the default budget is made
LITTLE_MEMORY = 2 << 30
CUDA_WHEELS = "https://download.pytorch.org/whl/cu128"


def examine() -> dict[str, Any]:
    """Versions, hardware and speed, problems, and a command to start with."""
    import torch

    from noisewise.predict.device import pick_device
    from noisewise.predict.memory import free_bytes
    from noisewise.train.loop import fast_precision

    device = pick_device("auto")
    free = free_bytes(device)
    native = fast_precision(device) is not None
    speed = {"float32": round(gigaflops(device, torch.float32))}
    if native:
        speed["bfloat16"] = round(gigaflops(device, torch.bfloat16))
    return {
        "noisewise": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: installed(name) or "missing" for name in needed()},
        "optional packages": {name: f"{installed(name) or 'missing'}: {use}" for name, use in OPTIONAL.items()},
        "device": torch.cuda.get_device_name() if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "bfloat16": "native, used for training" if native else "not native, training uses float32",
        "free memory": f"{free / 2**30:.1f} GiB",
        "matrix product, GFLOP/s": speed,
        "problems": problems(free) or ["none found"],
        "start with": advice(max(speed.values())),
    }


def advice(speed: float) -> str:
    """A command to start with, and whether training is fast at this speed (GFLOP/s)."""
    if speed >= FAST_GFLOPS:
        return "noisewise denoise cells.tif (training is fast on this computer: a minute is enough for most images)"
    return "noisewise denoise cells.tif --budget 10min (training is slow on this computer: allow some minutes)"


def installed(package: str) -> str | None:
    """Version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def needed() -> dict[str, str]:
    """The packages that noisewise needs, each with its requirement: `torch`, `torch>=2.6`."""
    try:
        texts = requires("noisewise") or []
    except PackageNotFoundError:  # imported from a folder
        texts = []
    plain = [text for text in texts if "extra ==" not in text]
    return {text.partition(">")[0].partition(";")[0].strip(): text.partition(";")[0].strip() for text in plain}


def problems(free: int) -> list[str]:
    """All that is wrong, each with what to do. free: bytes of memory."""
    return [*package_problems(), *graphics_problems(), *computer_problems(free)]


def package_problems() -> list[str]:
    """Packages that are missing, too old, or cannot be imported together."""
    from packaging.requirements import Requirement

    found = []
    for name, text in needed().items():
        there = installed(name)
        if there is None:
            found.append(f"the package {name} is missing; install it: {sys.executable} -m pip install '{text}'")
        elif not Requirement(text).specifier.contains(there, prereleases=True):
            found.append(
                f"{name} {there} is too old: {text} is needed; {sys.executable} -m pip install --upgrade '{text}'"
            )
    return found


def graphics_problems() -> list[str]:
    """Why a graphics card is there and not used."""
    import torch

    if shutil.which("nvidia-smi") is None or torch.cuda.is_available():
        return []
    if torch.version.cuda is None:
        return [
            f"there is an NVIDIA driver, but torch {torch.__version__} is built for the processor alone; to use the "
            f"graphics card: {sys.executable} -m pip install --force-reinstall torch --index-url {CUDA_WHEELS}"
        ]
    return [
        f"torch {torch.__version__} is built for CUDA {torch.version.cuda}, but finds no graphics card; see whether "
        "nvidia-smi lists one: if not, install its driver; if so, its driver may be older than this CUDA"
    ]


def computer_problems(free: int) -> list[str]:
    """Little memory, few threads, folders that cannot be written."""
    from noisewise import threads

    found = []
    if free < LITTLE_MEMORY:
        found.append(
            f"{free / 2**30:.1f} GiB of memory are free; close other programs, or images larger than about "
            "2048 x 2048 pixels take long"
        )
    cores, used = os.cpu_count() or 1, threads.available()
    if (limit := os.environ.get("OMP_NUM_THREADS")) and used < cores:
        found.append(
            f"{used} of {cores} processor cores are used, since OMP_NUM_THREADS is {limit}; unset it to use all"
        )
    try:
        with tempfile.TemporaryFile():
            pass
    except OSError as error:
        found.append(f"no temporary file can be written ({error}); set TMPDIR to a folder that you may write to")
    return found


def gigaflops(device: Any, dtype: Any) -> float:
    """Speed of a large matrix product, GFLOP/s: the upper limit for a network."""
    import torch

    a = torch.randn(MATRIX, MATRIX, device=device).to(dtype)

    def product() -> None:
        (a @ a)[0, 0].item()  # waits for the device

    product()
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < MEASURE_SECONDS or count == 0:
        product()
        count += 1
    return 2.0 * MATRIX**3 * count / elapsed / 1e9
