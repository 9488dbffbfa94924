"""Write a model for other programs, in the format that the name of the file tells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from noisewise.errors import UserError
from noisewise.io.files import user_path
from noisewise.model import Model

Format = Literal["auto", "bioimageio", "onnx", "torchscript"]
SUFFIXES: dict[str, Format] = {".zip": "bioimageio", ".onnx": "onnx", ".pt": "torchscript"}


def export(
    model: Model | str | Path, output: str | Path, *, format: Format = "auto", name: str | None = None,
    author: Sequence[str] = (), license: str = "CC0-1.0", overwrite: bool = False,
) -> Path:  # fmt: skip
    """Write a trained model for other programs: a package of the BioImage Model Zoo, ONNX or TorchScript.

    The file holds the network with its normalisation, noise model and calibration as a function of images
    (1, C, *spatial), units of the camera, of any size: the denoised image and, if the method gives one, its standard
    deviation.

    model: a `Model`, or a file of one. output: .zip, .onnx or .pt. format: `auto`: by that name. name, author, license:
    of a package, for the zoo. overwrite: replace an existing file. Returns the path of the file.

    Errors: `UserError` if the model cannot be exported, a package is missing, or the file cannot be written.
    """
    from noisewise.foreign import load
    from noisewise.zoo.bioimageio import write_package
    from noisewise.zoo.graph import write_onnx, write_torchscript

    path = user_path(output)
    kind = SUFFIXES.get(path.suffix.lower()) if format == "auto" else format
    if kind is None:
        raise UserError(f"{path}: its name tells no format; end it in .zip, .onnx or .pt, or give a format")
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists already; choose another name, or give overwrite to replace it")
    found = model if isinstance(model, Model) else load(model, "cpu")
    if kind == "bioimageio":
        write_package(found, path, name=name, authors=author, license=license, overwrite=overwrite)
    elif kind == "onnx":
        write_onnx(found, path, overwrite)
    else:
        write_torchscript(found, path, overwrite)
    return path
