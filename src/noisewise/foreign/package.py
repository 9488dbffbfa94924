"""Models of the BioImage Model Zoo that predict as noisewise's own: packages with ONNX or TorchScript weights."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from noisewise.axes import Array, region_shape
from noisewise.data.images import fill
from noisewise.errors import UserError, one_line
from noisewise.io import checksum
from noisewise.io.base import Source
from noisewise.io.light import read_single, with_fill
from noisewise.methods.base import Batch, Denoiser, ImageSpec, Method, Traits
from noisewise.model import Model
from noisewise.predict.outputs import Outputs
from noisewise.train.state import TrainState

WEIGHTS = ("onnx", "torchscript")  # those that need no code of the package
MISSING = 'packages of the BioImage Model Zoo need further packages: pip install "noisewise[zoo]"'
LETTERS = {"x": "X", "y": "Y", "z": "Z", "time": "T"}
LARGEST, BLOCK = 1 << 22, 8  # pixels that are denoised at once; steps of the size of blocks beyond the smallest


@dataclass(frozen=True, kw_only=True)
class Package(Method):
    """A network that was trained elsewhere."""

    std: bool = False
    """whether it gives a standard deviation"""

    @property
    def traits(self) -> Traits:
        return Traits(std=self.std)

    def loss(self, net: Any, batch: Batch) -> Tensor:  # noqa: ARG002
        raise UserError("a package of the BioImage Model Zoo predicts, and is not trained further")


@dataclass(repr=False)
class PackageModel(Model):
    """A package of the BioImage Model Zoo; predictions are those of bioimageio.core, with its tiles and normalisation.

    pipeline: of bioimageio.core. outputs: names of the denoised image and of its standard deviation, if there is one.
    """

    pipeline: Any = None
    outputs: tuple[str, ...] = ()

    def predict_to(
        self, source: Source, outputs: Outputs, *, average: bool = False, tile: int | None = None,  # noqa: ARG002
        report: Callable[[float], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """Denoise a source into sinks, image by image. average, tile: not used, the package says how it is applied.

        Errors: `UserError` if an image does not fit the model.
        """
        layout = self.layout_for(source)
        images = list(layout.images(source.shape))
        whole = tuple(slice(0, source.size_of(axis)) for axis in layout.spatial)
        for count, image in enumerate(images, 1):
            raw = read_single(source, layout, image, whole)
            noisy, finite = fill(raw[None].reshape(-1, *raw.shape[1:]))
            results = self.results(noisy.reshape(1, *raw.shape))
            region = layout.within(image, whole)
            for sink, result in zip((outputs.mean, outputs.std), results, strict=False):
                if sink is not None:
                    kept = np.where(finite.reshape(raw.shape), result[0], raw if sink is outputs.mean else np.nan)
                    pixels = layout.from_network(kept[None], region_shape(region))
                    sink.write(region, with_fill(source, region, pixels) if sink is outputs.mean else pixels)
            report(count / len(images))

    def results(self, noisy: Array) -> list[Array]:
        """What the package makes of an image (1, C, *S): arrays of its shape."""
        from bioimageio import core
        from bioimageio.core.tensor import Tensor as ZooTensor

        (entry,) = self.pipeline.model_description.inputs
        axes = [axis for axis in entry.axes if axis.type in ("space", "time")]
        padded, block = with_blocks(noisy, axes)
        channels = any(axis.type == "channel" for axis in entry.axes)
        shape = {"batch": 1} | {str(axis.id): size for axis, size in zip(axes, block, strict=True)}
        shape |= {str(axis.id): noisy.shape[1] for axis in entry.axes if axis.type == "channel"}
        names = [str(axis.id) for axis in entry.axes]
        with quiet(), unusable("the package cannot denoise this image"):
            image = ZooTensor(padded if channels else padded[:, 0], dims=names)
            name, whole = str(entry.id), list(padded.shape[2:]) == block
            blocks: Any = None if whole else {name: shape}
            found = core.predict(model=self.pipeline, inputs={name: image}, input_block_shape=blocks)
            members = {str(key): np.asarray(value, np.float32) for key, value in found.members.items()}
        inside: tuple[Any, ...] = (..., *(slice(0, size) for size in noisy.shape[2:]))
        return [members[name].reshape(padded.shape)[inside] for name in self.outputs]


def with_blocks(noisy: Array, axes: Sequence[Any]) -> tuple[Array, list[int]]:
    """An image (1, C, *S), extended to a size that the package allows, and the size of the blocks: one, if it is not
    too large.
    """
    limits = [(one.size, 1) if isinstance(one.size, int) else (one.size.min, one.size.step) for one in axes]
    fixed = [isinstance(one.size, int) for one in axes]
    blocks = [
        least if always else least + step * max(0, -(-(size - least) // step))
        for size, (least, step), always in zip(noisy.shape[2:], limits, fixed, strict=True)
    ]
    if prod(blocks) > LARGEST:
        blocks = [min(block, least + BLOCK * step) for block, (least, step) in zip(blocks, limits, strict=True)]
    missing = [max(0, block - size) for block, size in zip(blocks, noisy.shape[2:], strict=True)]
    return np.pad(noisy, [(0, 0), (0, 0), *((0, n) for n in missing)], mode="symmetric"), blocks


def load_package(path: Path) -> Model:
    """A package as a model that predicts.

    Errors: `UserError` if packages are missing, the file is no such package, or it is not one for denoising with
    weights that need no code of its own.
    """
    try:
        from bioimageio.core import create_prediction_pipeline, load_model_description
    except ImportError as error:
        raise UserError(MISSING) from error
    with quiet(), unusable(f"{path}: is no usable package of the BioImage Model Zoo"):
        description = load_model_description(path)
        usable = [kind for kind in WEIGHTS if getattr(description.weights, kind, None) is not None]
    if not usable:
        raise UserError(f"{path}: has no weights as ONNX or TorchScript, and code of a package is never run; export it "
                        f"with such weights")  # fmt: skip
    spec, outputs = fitting(path, description)
    with quiet(), unusable(f"{path}: its network cannot be loaded"):
        create: Any = create_prediction_pipeline
        pipeline = create(description, weight_format=usable[0], devices=["cpu"])
    method = Package(std=len(outputs) > 1)
    provenance = {"method": "bioimageio", "package": str(description.name), "package_sha256": checksum(path)}
    net = Denoiser(nn.Identity(), spec)
    return PackageModel(method, spec, net, provenance, TrainState(untrained=True), pipeline=pipeline, outputs=outputs)


def fitting(path: Path, description: Any) -> tuple[ImageSpec, tuple[str, ...]]:
    """The images that a package is for, and its outputs that are images like these. Errors: `UserError` if none are."""
    if len(description.inputs) != 1:
        raise UserError(f"{path}: has {len(description.inputs)} inputs; only packages with one can be used")
    entry = description.inputs[0]
    spatial = "".join(LETTERS.get(str(axis.id), "") for axis in entry.axes)
    channels = next((len(axis.channel_names) for axis in entry.axes if axis.type == "channel"), 1)
    axes = [str(axis.id) for axis in entry.axes]
    like = [str(one.id) for one in description.outputs if [str(axis.id) for axis in one.axes] == axes]
    if not spatial.endswith("YX") or not like:
        raise UserError(f"{path}: does not turn an image into another of the same axes; it is not for denoising")
    ordered = sorted(like, key=lambda name: name == "std")
    outputs = tuple(ordered[:1] + [name for name in ordered[1:] if name == "std"])
    zeros, ones = (0.0,) * channels, (1.0,) * channels
    dims = len(spatial)
    spec = ImageSpec(
        spatial=spatial, channels=channels, spacing=(1.0,) * dims, size=(1,) * dims, mean=zeros, std=ones,
        target_mean=zeros, target_std=ones,
    )  # fmt: skip
    return spec, outputs


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings and log lines of other packages."""
    from loguru import logger

    logger.disable("bioimageio")
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def unusable(what: str) -> Iterator[None]:
    """Turn errors of other packages into a `UserError`; `what` says what failed."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what} ({one_line(str(error)) or type(error).__name__})") from error
