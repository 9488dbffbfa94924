"""Packages of the BioImage Model Zoo: a model with its weights, test images, cover and documentation in one file."""

from __future__ import annotations

import inspect
import re
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from noisewise.errors import UserError, counted
from noisewise.foreign.package import MISSING
from noisewise.io.files import drafted
from noisewise.model import Model
from noisewise.plots.cover import plot_cover
from noisewise.report.verdict import unusual
from noisewise.version import __version__
from noisewise.zoo.graph import INPUT, OPSET, Graph, onnx_bytes, traced

if TYPE_CHECKING:
    from bioimageio.spec.model.v0_5 import ModelDescr

TOLERANCE = 1e-4  # of the noise's standard deviation: how far results of other programs may differ
MISMATCHED = 100  # of a million pixels may differ more: those of specks, which are found by thresholds
BLOCKS = 2  # steps of the size beyond the halo, of the test image
DESCRIPTION = "Removes noise from microscopy images: {about}"


def write_package(
    model: Model, path: Path, *, name: str | None = None, authors: Sequence[str] = (), license: str = "CC0-1.0",
    overwrite: bool = False,
) -> None:  # fmt: skip
    """Write a model as a package of the BioImage Model Zoo (.zip), with its weights as TorchScript and as ONNX.

    name: of the model, for the zoo (default: of its method). authors: their names. license: of the package, as SPDX
    names it.

    Errors: `UserError` if packages are missing, the model cannot be exported, or the file cannot be written.
    """
    try:
        from bioimageio.spec import save_bioimageio_package
    except ImportError as error:
        raise UserError(MISSING) from error
    graph = Graph(model)
    with tempfile.TemporaryDirectory() as folder, drafted(path, overwrite) as draft, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        description = describe(model, graph, Path(folder), name, authors, license)
        package = Path(folder) / "package.zip"
        save_bioimageio_package(description, output_path=package)
        shutil.copyfile(package, draft)


def describe(
    model: Model, graph: Graph, folder: Path, name: str | None, authors: Sequence[str], license: str
) -> ModelDescr:  # fmt: skip
    """The description of a package, and its files in a folder."""
    from bioimageio.spec.model import v0_5

    zoo: Any = v0_5

    sizes = [max(2 * halo + BLOCKS * step, 16) for halo, step in zip(graph.halo, graph.stride, strict=True)]
    sizes = [-(-size // step) * step for size, step in zip(sizes, graph.stride, strict=True)]
    noisy = graph.example(sizes).float()
    with torch.no_grad():
        results = dict(zip(graph.outputs, (image.numpy() for image in graph(noisy)), strict=True))
    images = {INPUT: noisy.numpy(), **results}
    for key, image in images.items():
        np.save(folder / f"{key}.npy", image)
    torch.jit.save(traced(graph), str(folder / "weights.pt"))
    (folder / "weights.onnx").write_bytes(onnx_bytes(graph, graph.record(model)))
    plot_cover(middle(images[INPUT]), middle(images["mean"]), folder / "cover.png")
    (folder / "README.md").write_text(documentation(model, graph), encoding="utf-8")
    unit = float((images[INPUT] - images["mean"]).std())
    weights = zoo.WeightsDescr(
        torchscript=zoo.TorchscriptWeightsDescr(source=folder / "weights.pt", pytorch_version=torch_version()),
        onnx=zoo.OnnxWeightsDescr(source=folder / "weights.onnx", opset_version=OPSET, parent="torchscript"),
    )
    tolerance = zoo.ReproducibilityTolerance(
        relative_tolerance=1e-5, absolute_tolerance=TOLERANCE * unit, mismatched_elements_per_million=MISMATCHED
    )
    found: ModelDescr = zoo.ModelDescr(
        name=name or f"noisewise {model.provenance.get('method', type(model.method).__name__)}",
        description=DESCRIPTION.format(about=about(model).partition(";")[0]),
        authors=[zoo.Author(name=author) for author in authors],
        cite=[zoo.CiteEntry(text=text, doi=doi) for text, doi in sources(model)],
        license=license,
        documentation=file_in(folder, "README.md"),
        covers=[file_in(folder, "cover.png")],
        tags=["denoising", "restoration", "noisewise", "fluorescence-light-microscopy"],
        inputs=[tensor_input(zoo, graph, folder, sizes)],
        outputs=[tensor_output(zoo, graph, folder, key) for key in graph.outputs],
        weights=weights,
        config=zoo.Config(bioimageio=zoo.BioimageioConfig(reproducibility_tolerance=[tolerance])),
    )
    return found


def tensor_input(zoo: Any, graph: Graph, folder: Path, sizes: Sequence[int]) -> Any:
    """The noisy image: its axes and the sizes that tiles may have. Around images others mirror the pixels."""
    axes = [zoo.BatchAxis(size=1), channel_axis(zoo, graph)]
    for axis, size, step in zip(graph.spec.spatial, sizes, graph.stride, strict=True):
        allowed = zoo.ParameterizedSize(min=size, step=step)
        kind = zoo.TimeInputAxis if axis == "T" else zoo.SpaceInputAxis
        axes.append(kind(id=axis_id(axis), size=allowed))
    return zoo.InputTensorDescr(
        id=INPUT, description="the noisy image, as the camera recorded it", axes=axes,
        test_tensor=file_in(folder, f"{INPUT}.npy"), data=zoo.IntervalOrRatioDataDescr(type="float32"),
    )  # fmt: skip


def tensor_output(zoo: Any, graph: Graph, folder: Path, key: str) -> Any:
    """A result: axes, and the halo that tiles lose."""
    axes = [zoo.BatchAxis(size=1), channel_axis(zoo, graph)]
    for axis, halo in zip(graph.spec.spatial, graph.halo, strict=True):
        like = zoo.SizeReference(tensor_id=INPUT, axis_id=axis_id(axis))
        kinds = {False: (zoo.SpaceOutputAxis, zoo.SpaceOutputAxisWithHalo),
                 True: (zoo.TimeOutputAxis, zoo.TimeOutputAxisWithHalo)}[axis == "T"]  # fmt: skip
        beyond = {"halo": halo} if halo else {}
        axes.append(kinds[halo > 0](id=axis_id(axis), size=like, **beyond))
    meaning = "the denoised image" if key == "mean" else "the standard deviation of the denoised image"
    return zoo.OutputTensorDescr(
        id=key, description=f"{meaning}, in the units of the noisy one", axes=axes,
        test_tensor=file_in(folder, f"{key}.npy"), data=zoo.IntervalOrRatioDataDescr(type="float32"),
    )  # fmt: skip


def channel_axis(zoo: Any, graph: Graph) -> Any:
    """The channels, in their order."""
    return zoo.ChannelAxis(channel_names=[f"channel{number}" for number in range(graph.spec.channels)])


def axis_id(axis: str) -> str:
    """Name of an axis in the zoo."""
    return "time" if axis == "T" else axis.lower()


def file_in(folder: Path, name: str) -> Any:
    """A file of the package."""
    from bioimageio.spec.common import FileDescr

    return FileDescr(source=folder / name)


def middle(image: np.ndarray) -> np.ndarray:
    """A plane (Y, X) of an image (1, C, *S)."""
    while image.ndim > 2:
        image = image[image.shape[0] // 2]
    return image


def torch_version() -> str:
    """Of torch, without the kind of its build."""
    return str(torch.__version__).partition("+")[0]


def about(model: Model) -> str:
    """First docstring line of the method."""
    return (inspect.getdoc(type(model.method)) or "").partition("\n")[0]


def sources(model: Model) -> list[tuple[str, str]]:
    """Papers that the method's docstring names: text and DOI."""
    text = " ".join((inspect.getdoc(type(model.method)) or "").split())
    found = re.findall(r"([A-Z][^.;]*? \d{4})[^.;]*?, doi:(10\.[^\s;,]+)", text)
    return [(paper, doi.rstrip(".")) for paper, doi in found] or [("noisewise", "10.1109/CVPR.2019.00223")]


def documentation(model: Model, graph: Graph) -> str:
    """What the model is, how it was made, and what to mind, as Markdown."""
    made, checks = model.provenance, model.provenance.get("checks") or {}
    noise = ", ".join(dict.fromkeys(type(one).__name__ for one in model.noise_models)) or "none"
    found = unusual(checks)
    trained_on = ", ".join(map(str, made.get("trained_on", [])[:5])) or "synthetic scenes"
    halo = ", ".join(f"{axis} {size}" for axis, size in zip(graph.spec.spatial, graph.halo, strict=True))
    lines = [
        f"# {made.get('method', type(model.method).__name__)} denoising",
        "",
        about(model),
        "",
        f"- Images: axes {graph.spec.spatial}, {counted(graph.spec.channels, 'channel')}, in the units of the camera "
        f"(do not rescale them).",
        f"- Trained on: {trained_on}; {counted(model.train_state.step, 'step')}.",
        f"- Noise model: {noise}. It is part of the network: use the model for images of the same camera and settings.",
        f"- Tiles need a halo of {halo} pixels.",
        f"- Results: {', '.join(graph.outputs)}; the standard deviation is that of the posterior p(s|x)."
        if "std" in graph.outputs else "- Result: the denoised image.",
        "",
        "## Validation",
        "",
        *([f"- {one}" for one in found] or ["- The checks after the training found nothing unusual."]),
        "- noisewise itself also keeps the mean of each image and averages over flips; the exported network does not.",
        "",
        f"Made by noisewise {__version__}.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
