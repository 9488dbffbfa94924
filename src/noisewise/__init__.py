"""noisewise removes noise from microscopy images: one noisy file in, one denoised file out.

    import noisewise as nw
    result = nw.denoise("cells.tif")        # or an array, dask, zarr, xarray
    model = nw.train("n2v", ["a.tif", "b.tif"], budget="10 min")
    model.save("cells.safetensors")
    nw.predict("c.tif", "cells.safetensors").mean
    nw.evaluate("c_denoised.tif", "c_truth.tif").mean.psnr
    nw.measure("cells.tif").verdict         # what kind of noise it has
    noise = nw.calibrate("recording.tif")   # p(x|s) of the camera, from frames of a static scene
    nw.simulate("clean.tif", photons=10)    # a noisy image with known truth

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from noisewise.version import __version__ as __version__

STARTED = time.perf_counter()  # of the program, where it is a command: what was needed to start it counts as well

if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    # Threads of OpenMP that wait for others shall not occupy a core for long: other programs may need it.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if TYPE_CHECKING:
    from noisewise.calibration.calibrate import calibrate as calibrate
    from noisewise.errors import UserError as UserError
    from noisewise.estimate.measure import measure as measure
    from noisewise.estimate.report import NoiseReport as NoiseReport
    from noisewise.evaluate.evaluation import Evaluation as Evaluation
    from noisewise.evaluate.evaluation import evaluate as evaluate
    from noisewise.foreign import load as load
    from noisewise.model import Model as Model
    from noisewise.noise.base import Noise as Noise
    from noisewise.noise.camera import Camera as Camera
    from noisewise.noise.files import load_noise as load_noise
    from noisewise.posterior import Posterior as Posterior
    from noisewise.quantify.run import quantify as quantify
    from noisewise.report.files import report as report
    from noisewise.workflow.denoise import Result as Result
    from noisewise.workflow.denoise import denoise as denoise
    from noisewise.workflow.predict import predict as predict
    from noisewise.workflow.simulate import Simulated as Simulated
    from noisewise.workflow.simulate import simulate as simulate
    from noisewise.workflow.train import train as train
    from noisewise.zoo.export import export as export

PUBLIC = {
    "Camera": "noisewise.noise.camera",
    "Evaluation": "noisewise.evaluate.evaluation",
    "NoiseReport": "noisewise.estimate.report",
    "Model": "noisewise.model",
    "Noise": "noisewise.noise.base",
    "Posterior": "noisewise.posterior",
    "Result": "noisewise.workflow.denoise",
    "Simulated": "noisewise.workflow.simulate",
    "UserError": "noisewise.errors",
    "calibrate": "noisewise.calibration.calibrate",
    "denoise": "noisewise.workflow.denoise",
    "export": "noisewise.zoo.export",
    "evaluate": "noisewise.evaluate.evaluation",
    "load": "noisewise.foreign",
    "load_noise": "noisewise.noise.files",
    "measure": "noisewise.estimate.measure",
    "predict": "noisewise.workflow.predict",
    "quantify": "noisewise.quantify.run",
    "report": "noisewise.report.files",
    "simulate": "noisewise.workflow.simulate",
    "train": "noisewise.workflow.train",
}
__all__ = list(PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'noisewise' has no attribute '{name}'")
    return getattr(import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*PUBLIC, "__version__"])


class _Package(ModuleType):
    """Keeps `noisewise.train` the function.

    The import system sets a submodule as attribute of its package: importing anything below `noisewise.train`
    would turn the function `nw.train` into that folder.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
