"""Models that other programs trained, and those of noisewise: CAREamics, and packages of the BioImage Model Zoo."""

from __future__ import annotations

from pathlib import Path

from noisewise.io.files import user_path
from noisewise.model import Model
from noisewise.model import load as load_own


def load(path: str | Path, device: str = "auto") -> Model:
    """Read a model: a file of noisewise; a checkpoint (.ckpt) or package (.zip) of CAREamics; or a package of the
    BioImage Model Zoo (.zip) with weights as ONNX or TorchScript, which runs on the processor.

    path: the file. device: where to run the model: `cpu`, `cuda`, `mps`, or `auto`: an accelerator if there is one and
    the model has no noise model, otherwise the processor.

    Errors: `UserError` if the file is not a model, or was damaged or edited, or if the device is not available.
    """
    place = user_path(path)
    suffix = place.suffix.lower()
    if not place.is_file() or suffix not in (".zip", ".ckpt"):
        return load_own(path, device)
    from noisewise.foreign.careamics import is_careamics, load_careamics_package, load_checkpoint
    from noisewise.foreign.package import load_package
    from noisewise.predict.device import pick_device

    if suffix == ".zip" and not is_careamics(place):
        return load_package(place)
    model = load_checkpoint(place) if suffix == ".ckpt" else load_careamics_package(place)
    return model.to(pick_device(device, model.noise_models))
