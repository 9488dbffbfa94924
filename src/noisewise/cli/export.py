"""`noisewise export`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from noisewise.cli import _options as options
from noisewise.cli._display import print_json
from noisewise.cli._exit import OK
from noisewise.cli._print import say


@dataclass(kw_only=True)
class Export:
    """Write a trained model for other programs: a BioImage Model Zoo package, ONNX or TorchScript.

    The file holds the network with its normalisation, noise model and calibration as a function from a noisy image, in
    the units of the camera, to the denoised one and its standard deviation.
    """

    model: Positional[options.ModelName]
    """a model file, from noisewise train or from noisewise denoise --model"""
    output: Annotated[str, arg(aliases=["-o"], metavar="FILE", help_behavior_hint="")]
    """file to write: .zip, .onnx or .pt"""
    format: Literal["auto", "bioimageio", "onnx", "torchscript"] = "auto"
    """bioimageio: a package with weights, test images, cover and documentation (auto: by the name of the file)"""
    name: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """of the model in the zoo (default: noisewise and its method)"""
    author: Annotated[list[str], arg(metavar="NAME...", help_behavior_hint="")] = field(default_factory=list)
    """authors of the model, for the zoo"""
    license: str = "CC0-1.0"
    """license of the package, as SPDX names it"""
    overwrite: options.Switch = False
    """replace an existing file"""
    messages: options.MessageOptions = field(default_factory=options.Messages)

    def run(self) -> int:
        """Write the file."""
        from noisewise.zoo.export import export

        options.check(self)
        started = time.monotonic()
        path = export(
            self.model, self.output, format=self.format, name=self.name, author=self.author, license=self.license,
            overwrite=self.overwrite,
        )  # fmt: skip
        if self.messages.json:
            print_json({"model": self.model, "output": path, "seconds": round(time.monotonic() - started, 2)})
        elif not self.messages.quiet:
            say(path)
        return OK
