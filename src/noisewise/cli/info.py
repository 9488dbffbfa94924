"""`noisewise info`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from noisewise.cli._display import print_json
from noisewise.cli._exit import OK
from noisewise.cli._options import Axes, Series, Switch, check
from noisewise.cli._print import say
from noisewise.errors import UserError, counted
from noisewise.io.files import check_regular, user_path
from noisewise.io.paths import file_of

if TYPE_CHECKING:
    from noisewise.io.base import Source
    from noisewise.train.modelfile import SavedModel
    from noisewise.train.state import TrainState

UNITS = {"_adu_per_e": "ADU per electron", "_adu": "ADU", "_e": "electrons", "_pixels": "pixels", "_um": "µm"}
MODEL_SUFFIXES = {".safetensors", ".pt", ".pth", ".ckpt"}  # a pickle gets the error message for models


@dataclass(kw_only=True)
class Info:
    """Show what is in a file: an image, a model or a noise model.

    Of an image: format, axes, shape, pixel type and size, channels, and its provenance if noisewise has written it.
    Of a model: its method, the images it is for, what it gives, and its training (all settings with --json). Of a noise
    model: its parameters and origin.
    """

    file: Positional[Annotated[str, arg(metavar="FILE")]]
    """an image, a model or a noise model"""
    axes: Axes = None
    """dimensions of the image, letters out of STCZYX, if the file does not give them or they are wrong"""
    series: Series = None
    """number of the image in a file that contains several (default: the first, and a list of all)"""
    json: Switch = False
    """print one JSON object on stdout and nothing else"""

    def run(self) -> int:
        """Print the content of the file."""
        check(self)
        path = user_path(self.file)
        check_regular(file_of(path))
        if not is_model(path):
            record = image_record(path, self.axes, self.series)
            text = lines(record)
        else:
            record, text = tensor_record(path)
        if self.json:
            print_json(record)
        else:
            say("\n".join(text))
        return OK


def is_model(path: Path) -> bool:
    """Whether a file is a model, by its name or its first bytes: safetensors has eight bytes of length, then JSON."""
    if path.is_dir() or path.suffix.lower() in MODEL_SUFFIXES:
        return not path.is_dir()
    with file_of(path).open("rb") as file:
        return file.read(9)[6:] == b"\0\0{"


def image_record(path: Path, axes: str | None, series: int | None) -> dict[str, Any]:
    """Content of an image file: its first image, or that with a number, and a list of all."""
    from noisewise.io import open_images
    from noisewise.io.provenance import read_provenance

    sources = open_images(path, axes, series=series)
    source = sources[0]
    record: dict[str, Any] = {
        "file": str(path),
        "format": image_format(source),
        "axes": source.axes,
        "shape": list(source.shape),
        "pixels": str(source.dtype),
        "pixel size": {axis: f"{size:g} {'s' if axis == 'T' else 'µm'}" for axis, size in source.scale.items()},
        "channels": source.channel_names,
        "notes": source.notes,
        "made by noisewise": read_provenance(source),
    }
    if source.in_file > 1:
        record |= {"series": source.series, "images": listed(path, axes, sources, series)}
    for one in sources:
        one.close()
    return record


def listed(path: Path, axes: str | None, sources: Sequence[Source], series: int | None) -> dict[str, str]:
    """Axes, shape and pixel type of all images in a file, by number; also of those that are not denoised."""
    from noisewise.io import open_source

    opened = {source.series: source for source in sources}
    found = {}
    for number in range(sources[0].in_file):
        try:
            source = opened[number] if number in opened else open_source(path, axes, series=number)
        except UserError as error:
            found[str(number)] = str(error)
            continue
        place = source.name.partition("/")[2] or str(getattr(getattr(source, "stored", None), "name", ""))
        text = f"{source.axes}, {' x '.join(map(str, source.shape))}, {source.dtype}{place and ', ' + place}"
        found[str(number)] = text + ("" if series is not None or number in opened else "; left out")
    return found


def image_format(source: Any) -> str:
    """Name of the format of an image."""
    kind = type(source).__name__.removesuffix("Source")
    meta = getattr(source, "meta", None)
    dialect = {"ome": "OME-TIFF", "imagej": "ImageJ TIFF"}.get(getattr(meta, "kind", ""))
    recorded = getattr(source, "kind", "") or (source.path.suffix[1:].upper() if kind == "Memory" else "")
    return dialect or recorded or {"Tiff": "TIFF", "Png": "PNG", "Npy": "NumPy", "Zarr": "Zarr"}.get(kind, kind)


def tensor_record(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Content of a model or a noise model, as JSON values and as text; the whole file is checked."""
    from noisewise.container import holds_of

    if holds_of(path) == "noise":
        return noise_record(path), lines(noise_record(path))
    from noisewise.train.modelfile import read_model

    saved = read_model(path)
    return model_record(path, saved), model_lines(path, saved)


def noise_record(path: Path) -> dict[str, Any]:
    """Content of a noise model; the whole file is checked."""
    from noisewise.noise.files import load_noise

    noise = load_noise(path)
    return {
        "file": str(path),
        "format": "noisewise noise model",
        "noise model": str(noise),
        "provenance": noise.provenance,
    }


def model_record(path: Path, saved: SavedModel) -> dict[str, Any]:
    """Content of a model."""
    state = saved.train_state
    training = {key: value for key, value in asdict(state).items() if key not in ("tensors", "validation_losses")}
    loss = state.validation_losses[-1][1] if state.validation_losses else None
    return {
        "file": str(path),
        "format": "noisewise model",
        "method": saved.provenance.get("method"),
        "settings": asdict(saved.method),
        "made for": asdict(saved.spec),
        "weights": sum(tensor.numel() for tensor in saved.net.parameters()),
        "training": training | {"finished": state.finished, "validation_loss": loss},
        "provenance": saved.provenance,
    }


def model_lines(path: Path, saved: SavedModel) -> list[str]:
    """Content of a model in words, one fact a line."""
    from noisewise import methods

    spec, traits, default = saved.spec, saved.method.traits, type(saved.method)()
    name, trained_on = methods.name_of(saved.method), saved.provenance.get("trained_on", [])
    changed = {key: value for key, value in asdict(saved.method).items() if value != getattr(default, key)}
    gives = ["the mean", *["the standard deviation of each pixel (--std)"] * traits.std]
    gives += ["samples of the posterior (--samples N)"] * traits.samples
    sides = " x ".join(map(str, spec.size))
    images = {"ZYX": "stacks", "TYX": "movies"}.get(spec.spatial, "planes")
    values = (f"{mean:.4g} (standard deviation {std:.4g})" for mean, std in zip(spec.mean, spec.std, strict=True))
    facts = {
        "method": f"{name}: {(type(saved.method).__doc__ or '').partition(chr(10))[0]}",
        "for": f"{images} ({spec.spatial}) with {counted(spec.channels, 'channel')}",
        "gives": ", ".join(gives),
        "trained on": ", ".join(map(str, trained_on if isinstance(trained_on, list) else [trained_on])),
        "their size": f"{sides} pixels or more ({spec.spatial})",
        "their pixels": f"mean {', '.join(values)}, in the units of the images",
        "training": training_words(saved.train_state),
        "noise model": ", ".join(type(model).__name__ for model in saved.net.noise) or "none",
        "network": f"{sum(tensor.numel() for tensor in saved.net.parameters()):,} weights",
        "settings": ", ".join(f"{key} {value}" for key, value in changed.items()) or "all at their defaults",
        "made by": f"{saved.provenance.get('software', 'noisewise')}, random seed {saved.provenance.get('seed')}",
        "to use it": f"noisewise predict {shlex.quote(str(path))} IMAGE",
    }
    return [f"{path}: noisewise model", *(f"  {key + ':':<13} {text}" for key, text in facts.items() if text)]


def training_words(state: TrainState) -> str:
    """How far a training is, in words."""
    if state.untrained:
        return "none: the pretrained network as it is"
    loss = f", validation loss {state.validation_losses[-1][1]:.4f}" if state.validation_losses else ""
    if state.stopped_early:
        return f"stopped at step {state.step} of {state.steps}, since the validation loss rose{loss}"
    if not state.finished:
        planned = f" of {state.steps}" if state.steps else ""
        return f"interrupted at step {state.step}{planned}{loss}; to continue: noisewise train with --resume"
    return f"complete, {counted(state.step, 'step')}{loss}"


def lines(record: dict[str, Any], indent: str = "") -> list[str]:
    """A record as indented lines, without empty entries."""
    out: list[str] = []
    for key, value in record.items():
        if value in (None, [], {}, ()):
            continue
        if isinstance(value, dict):
            out += [f"{indent}{spelled(key)}:", *lines(value, indent + "  ")]
        else:
            text = ", ".join(map(rounded, value)) if isinstance(value, list | tuple) else rounded(value)
            out.append(f"{indent}{spelled(key)}: {text}")
    return out


def spelled(name: str) -> str:
    """A name with its unit in words: `read_noise_e` is `read noise (electrons)`."""
    for ending, unit in UNITS.items():
        if name.endswith(ending):
            return f"{name.removesuffix(ending).replace('_', ' ')} ({unit})"
    return str(name).replace("_", " ")


def rounded(value: Any) -> str:
    """A value as text; numbers with five digits, and yes or no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
