"""A trained network as one graph, from a noisy image to its mean and standard deviation: TorchScript and ONNX."""

from __future__ import annotations

import copy
import io
import json
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noisewise.errors import UserError, one_line
from noisewise.io.files import drafted
from noisewise.model import Model
from noisewise.nets.unet import crop
from noisewise.predict.fold import fold_batch_norm
from noisewise.predict.receptive_field import receptive_radius
from noisewise.scenes import draw
from noisewise.version import __version__

OPSET = 17  # of ONNX
NEGLIGIBLE = 1e-4  # influence of pixels beyond the halo, in standard deviations of the noise that is removed
ACROSS = 4  # times the stride, pixels along the other axes where the halo along one is measured
CONTRAST = 0.8  # of examples, in standard deviations of the images that the model is for
INPUT, OUTPUTS = "noisy", ("mean", "std")


class Graph(nn.Module):
    """A model as a plain function of images (1, C, *S), image units, of any size: E[s|x], and the standard deviation if
    the method gives one.

    Normalisation, noise model and calibration are constants of the graph. What depends on a whole image is not in it:
    that the mean of the image is kept, and averages over flips.

    Errors: `UserError` for models whose result depends on more than the pixels around each.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        traits = model.method.traits
        if traits.changes_nothing or traits.by_position or traits.mean_from_samples:
            raise UserError(
                "this model cannot be exported, since its result is not a function of the pixels around each pixel "
                "alone; train another method, such as simulated or n2v, without blind_prediction or mean_samples"
            )
        if any(noise_model.size is not None for noise_model in model.noise_models):
            raise UserError(
                "this model cannot be exported, since its noise model has maps of the pixels of one camera; train it "
                "with a noise model without maps"
            )
        self.method, self.spec = model.method, model.spec
        self.net = fold_batch_norm(copy.deepcopy(model.net).cpu())
        self.stride = self.net.stride

    def forward(self, noisy: Tensor) -> tuple[Tensor, ...]:
        size = noisy.shape[2:]
        missing = [(-n) % step for n, step in zip(size, self.stride, strict=True)]
        padded = F.pad(noisy, [p for n in reversed(missing) for p in (0, n)], mode="replicate")
        found = self.method.posterior(self.net, padded)
        images = (found.mean,) if found.std is None else (found.mean, found.std * self.net.std_scale)
        return tuple(crop(image, size) for image in images)

    @cached_property
    def halo(self) -> tuple[int, ...]:
        """Pixels around each that its result depends on, along each axis, multiples of the stride: those beyond change
        the result of an example by less than `NEGLIGIBLE` of the noise that is removed.
        """
        return tuple(self._halo_along(axis) for axis in range(self.net.dims))

    def _halo_along(self, axis: int) -> int:
        step, radius = self.stride[axis], receptive_radius(self.net)[axis]
        most = -(-radius // step) * step
        size = [2 * most + step if a == axis else max(ACROSS * s, 8) for a, s in enumerate(self.stride)]
        noisy = self.example(size)
        with torch.no_grad():
            whole = self(noisy)[0]
            unit = NEGLIGIBLE * float((noisy - whole).std())
            for halo in range(0, most, step):
                around = noisy.narrow(2 + axis, most - halo, step + 2 * halo)
                found = self(around)[0].narrow(2 + axis, halo, step)
                if float((found - whole.narrow(2 + axis, most, step)).abs().max()) < unit:
                    return halo
        return most

    @property
    def traced_size(self) -> tuple[int, ...]:
        """Of the image that the graph is traced with."""
        return tuple(max(2 * step, 8) for step in self.stride)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the results."""
        return OUTPUTS if self.method.traits.std else OUTPUTS[:1]

    def example(self, size: Sequence[int]) -> Tensor:
        """A synthetic noisy image (1, C, *size), like those that the model is for."""
        channels, generator = len(self.net.mean), torch.Generator().manual_seed(0)
        scenes = torch.stack([draw("mixed", tuple(size), seed) for seed in range(channels)])[None]
        contrast = (scenes - scenes.mean()) / scenes.std().clamp(min=1e-6)
        signal = self.net.mean + CONTRAST * self.net.std * contrast.float()
        if not self.net.noise:
            return signal + self.net.std / 2 * torch.randn(signal.shape, generator=generator)
        parts = enumerate(signal.unbind(1))
        return torch.stack([self.net.noise_model(channel).sample(part, generator) for channel, part in parts], 1)

    def record(self, model: Model) -> dict[str, str]:
        """What a graph's file says about it."""
        made = {key: model.provenance.get(key) for key in ("method", "version", "trained_on", "steps")}
        return {
            "noisewise": __version__, "axes": "BC" + self.spec.spatial, "outputs": ",".join(self.outputs),
            "halo": ",".join(map(str, self.halo)), "model": json.dumps(made, default=str),
        }  # fmt: skip


def traced(graph: Graph) -> Any:
    """The graph as TorchScript."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        trace: Any = torch.jit.trace
        return trace(graph.eval(), graph.example(graph.traced_size), check_trace=False)


def write_torchscript(model: Model, path: Path, overwrite: bool = False) -> None:
    """Write a model as TorchScript: `torch.jit.load` reads it without noisewise. Errors: `UserError`."""
    graph = Graph(model)
    with drafted(path, overwrite) as draft:
        torch.jit.save(traced(graph), str(draft), _extra_files=graph.record(model))


def write_onnx(model: Model, path: Path, overwrite: bool = False) -> None:
    """Write a model as ONNX. Errors: `UserError` if the package `onnx` is missing, or the file cannot be written."""
    graph = Graph(model)
    with drafted(path, overwrite) as draft:
        draft.write_bytes(onnx_bytes(graph, graph.record(model)))


def onnx_bytes(graph: Graph, record: dict[str, str]) -> bytes:
    """The graph as an ONNX file with free sizes. Errors: `UserError` if the package `onnx` is missing."""
    try:
        import onnx
    except ImportError as error:
        raise UserError('ONNX needs the package onnx: pip install "noisewise[zoo]"') from error
    stream, axes = io.BytesIO(), {2 + i: axis.lower() for i, axis in enumerate(graph.spec.spatial)}
    register_symbols()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        export: Any = torch.onnx.export
        try:
            export(
                graph.eval(), (graph.example(graph.traced_size),), stream, input_names=[INPUT],
                output_names=list(graph.outputs), dynamic_axes=dict.fromkeys((INPUT, *graph.outputs), axes),
                opset_version=OPSET, dynamo=False,
            )  # fmt: skip
        except torch.onnx.errors.OnnxExporterError as error:
            raise UserError(
                f"this model cannot be written as ONNX ({one_line(str(error))}); write a .pt file"
            ) from error
    made = onnx.load_from_string(stream.getvalue())
    onnx.helper.set_model_props(made, record)
    content: bytes = made.SerializeToString()
    return content


def register_symbols() -> None:
    """Teach the ONNX exporter functions that ONNX has, or that are made of those."""

    def hypot(g: Any, a: Any, b: Any) -> Any:
        return g.op("Sqrt", g.op("Add", g.op("Mul", a, a), g.op("Mul", b, b)))

    register: Any = torch.onnx.utils.register_custom_op_symbolic
    register("aten::hypot", hypot, OPSET)
    register("aten::asinh", lambda g, x: g.op("Asinh", x), OPSET)
