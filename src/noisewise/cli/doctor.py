"""`noisewise doctor`."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from noisewise.cli._display import print_json
from noisewise.cli._exit import OK
from noisewise.cli._options import Switch
from noisewise.cli._print import say
from noisewise.version import __version__

PACKAGES = (
    "torch", "numpy", "tifffile", "imagecodecs", "zarr", "yaozarrs", "safetensors", "pydantic", "tyro", "rich",
    "matplotlib",
)  # fmt: skip
OPTIONAL = {
    "dask": "denoises dask arrays",
    "xarray": "denoises xarray images",
    "scikit-image": "spots of quantify, classical baselines, and the tests",
}
MATRIX = 1024
MEASURE_SECONDS = 0.4
FAST_GFLOPS = 100.0  # of a matrix product: about two recent processor cores, for which the default budget is made


@dataclass(kw_only=True)
class Doctor:
    """Check the installation: versions, processor, memory, speed, optional packages; and how to start."""

    json: Switch = False
    """print one JSON object on stdout and nothing else"""

    def run(self) -> int:
        """Print the findings, and how to start."""
        from noisewise.cli.info import lines

        record = examine()
        if self.json:
            print_json(record)
        else:
            say("\n".join(lines(record)))
        return OK


def examine() -> dict[str, Any]:
    """Versions, hardware and speed, and a command to start with."""
    import torch

    from noisewise.predict.device import pick_device
    from noisewise.predict.memory import free_bytes
    from noisewise.train.loop import fast_precision

    device = pick_device("auto")
    native = fast_precision(device) is not None
    speed = {"float32": round(gigaflops(device, torch.float32))}
    if native:
        speed["bfloat16"] = round(gigaflops(device, torch.bfloat16))
    return {
        "noisewise": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: installed(name) or "missing" for name in PACKAGES},
        "optional packages": {name: f"{installed(name) or 'missing'}: {use}" for name, use in OPTIONAL.items()},
        "device": torch.cuda.get_device_name() if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "bfloat16": "native, used for training" if native else "not native, training uses float32",
        "free memory": f"{free_bytes(device) / 2**30:.1f} GiB",
        "matrix product, GFLOP/s": speed,
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
