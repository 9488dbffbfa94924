"""Small valid files of every kind that noisewise reads, and random damage to them, for `robustness.py fuzz`."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
import zarr
from PIL import Image
from safetensors.torch import load, safe_open, save

import noisewise as nw
from noisewise.cli import main
from noisewise.container import CHECKSUM, KEY, with_checksum

Rng = np.random.Generator
SIDE = 40
NUMBERS = [0, 1, 2, 3, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63, -1, 10**9, 10**18]
STRANGE: list[Any] = [
    None, True, False, "", "x", "../other", "YX", [], {}, [1], [[]], {"a": 1}, 0.5, -1.5, 1e300, float("nan"), *NUMBERS,
]  # fmt: skip
QUICK = {"network": "classic", "depth": 1, "features": 4, "patch_size": 16, "batch_size": 2}
QUICK_OPTIONS = ["--network", "classic", "--depth", "1", "--features", "4", "--patch-size", "16", "--batch-size", "2"]


def image(*shape: int, high: int = 400, dtype: str = "uint16") -> np.ndarray:
    """Noise with a gradient, so that there is something to measure."""
    size = shape or (SIDE, SIDE)
    signal = 100 + np.linspace(0, high, size[-1]) * np.ones(size)
    return np.random.default_rng(len(size)).poisson(signal * (0.5 if dtype == "uint8" else 1)).clip(0, 255 if dtype ==
        "uint8" else 65535).astype(dtype)  # fmt: skip


def make_corpus(folder: Path) -> None:
    """Write the corpus: in each subfolder a file or folder `in.*`, with what belongs to it."""
    for name, write in {**images(), **others()}.items():
        place = folder / name
        place.mkdir(parents=True)
        write(place)


def images() -> dict[str, Callable[[Path], Any]]:
    """Functions that write an image of each format into a folder."""

    def tiff(name: str = "in.tif", pixels: np.ndarray | None = None, **options: Any) -> Callable[[Path], Any]:
        return lambda at: tifffile.imwrite(at / name, image() if pixels is None else pixels, **options)

    def zarrs(version: int, pixels: np.ndarray, axes: str, **options: Any) -> Callable[[Path], Any]:
        return lambda at: ome_zarr(at / "in.zarr", version, pixels, axes, **options)

    from numcodecs import Blosc, GZip, Zlib
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    stack = image(3, SIDE, SIDE)
    return {
        "tiff": tiff(), "tiff_lzw": tiff(compression="lzw", rowsperstrip=8),
        "tiff_deflate": tiff(compression="zlib", rowsperstrip=8, predictor=True),
        "tiff_jpeg": tiff(pixels=image(dtype="uint8"), compression="jpeg"),
        "tiff_tiled": tiff(compression="zlib", tile=(16, 16)), "tiff_zstd": tiff(compression="zstd"),
        "tiff_float": tiff(pixels=image().astype("float32"), compression="lzw"), "tiff_big": tiff(bigtiff=True),
        "tiff_rgb": tiff(pixels=image(SIDE, SIDE, 3, dtype="uint8"), photometric="rgb"),
        "ome_tiff": tiff("in.ome.tif", stack, metadata={"axes": "ZYX", "PhysicalSizeX": 0.1}, compression="zlib"),
        "imagej": tiff(pixels=stack, imagej=True, metadata={"axes": "ZYX", "Labels": list("abc")}),
        "ome_set": ome_set,
        "zarr2_blosc": zarrs(2, stack, "zyx", compressors=Blosc("zstd", shuffle=Blosc.SHUFFLE)),
        "zarr2_gzip": zarrs(2, image(), "yx", compressors=GZip()),
        "zarr2_zlib": zarrs(2, image(2, SIDE, SIDE), "cyx", compressors=Zlib()),
        "zarr3_zstd": zarrs(3, stack, "zyx", compressors=ZstdCodec()),
        "zarr3_gzip": zarrs(3, image(), "yx", compressors=GzipCodec()),
        "zarr3_shards": zarrs(3, image(64, 64), "yx", compressors=BloscCodec(), shards=(64, 64)),
        "npy": lambda at: np.save(at / "in.npy", image()),
        "npy_float": lambda at: np.save(at / "in.npy", image().astype("float64")),
        "png": lambda at: Image.fromarray(image(dtype="uint8")).save(at / "in.png"),
        "png16": lambda at: Image.fromarray(image().astype("int32")).convert("I;16").save(at / "in.png"),
        "jpeg": lambda at: Image.fromarray(image(dtype="uint8")).save(at / "in.jpg"),
    }  # fmt: skip


def ome_zarr(path: Path, version: int, pixels: np.ndarray, axes: str, **options: Any) -> None:
    """An OME-Zarr with two levels."""
    named = [{"name": a, "type": {"c": "channel", "t": "time"}.get(a, "space")} for a in axes]
    scales = [[1.0] * (len(axes) - 2) + [2.0**i] * 2 for i in range(2)]
    datasets = [
        {"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for i, scale in enumerate(scales)
    ]  # fmt: skip
    about: dict[str, Any] = {"multiscales": [{"version": "0.4" if version == 2 else "0.5", "axes": named,
                                              "datasets": datasets}]}  # fmt: skip
    attributes = about if version == 2 else {"ome": {"version": "0.5", **about}}
    group = zarr.create_group(path, zarr_format=version, attributes=attributes)
    for name, level in (("0", pixels), ("1", pixels[..., ::2, ::2])):
        shards = options.pop("shards", None)
        chunks = (1,) * (level.ndim - 2) + ((16, 16) if shards else (20, 20))
        array = group.create_array(name, shape=level.shape, chunks=chunks, dtype="uint16", shards=shards, **options)
        array[:] = level


def ome_set(at: Path) -> None:
    """An OME-TIFF whose planes are in two files."""
    planes = image(2, SIDE, SIDE)
    for name, plane in zip(("in.ome.tif", "b.ome.tif"), planes, strict=True):
        tifffile.imwrite(at / name, plane, metadata={"axes": "YX"})
    parts = "".join(
        f'<TiffData IFD="0" FirstT="{t}" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{t}</UUID></TiffData>'
        for t, name in enumerate(("in.ome.tif", "b.ome.tif"))
    )
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:0"><Image ID="Image:0"><Pixels '
        f'DimensionOrder="XYZTC" ID="Pixels:0" SizeC="1" SizeT="2" SizeX="{SIDE}" SizeY="{SIDE}" SizeZ="1" '
        f'Type="uint16"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{parts}</Pixels></Image></OME>'
    )
    for t, name in enumerate(("in.ome.tif", "b.ome.tif")):
        text = xml.replace('UUID="urn:uuid:0"', f'UUID="urn:uuid:{t}"', 1)
        tifffile.imwrite(at / name, planes[t], description=text.encode(), metadata=None)


def others() -> dict[str, Callable[[Path], Any]]:
    """Functions that write models, noise models, recordings, and the state of a training into a folder."""
    noise = cache(lambda: nw.measure(image(64, 64)).noise)

    def model(method: str, noisy: bool = True, **options: Any) -> Callable[[Path], Any]:
        def write(at: Path) -> None:
            given = {"noise": noise()} if noisy else {}
            nw.train(method, image(), steps=1, **given, **options).save(at / "in.safetensors")

        return write

    def calibrated(kind: str) -> Callable[[Path], Any]:
        frames = image(6, SIDE, SIDE)
        return lambda at: nw.calibrate(frames, kind=kind, axes="TYX").save(at / "in.safetensors")

    return {
        "model_n2v": model("n2v", False, **QUICK), "model_pn2v": model("pn2v", **QUICK),
        "model_hdn": model("hdn", patch_size=16, batch_size=2),
        "noise_measured": lambda at: noise().save(at / "in.safetensors"),
        "noise_gaussian": calibrated("gaussian"), "noise_mixture": calibrated("mixture"),
        "noise_histogram": calibrated("histogram"), "state": state,
        "recording": lambda at: tifffile.imwrite(at / "in.tif", image(6, SIDE, SIDE), metadata={"axes": "TYX"}),
    }  # fmt: skip


def state(at: Path) -> None:
    """A model file of a training that was interrupted after one of three steps."""
    tifffile.imwrite(at / "image.tif", image())
    path = at / "in.safetensors"
    status = main(["train", "n2v", str(at / "image.tif"), "-o", str(path), "--steps", "2", "--quiet", *QUICK_OPTIONS])
    assert status == 0
    from noisewise.workflow.training import Training

    training = Training(nw.load(path).method, [nw.io.open_source(at / "image.tif")])
    from noisewise.train.loop import Trainer

    trainer = Trainer(training.model.method, training.model.net, training.patches, training.model.train_state)
    training.model.train_state.steps = 3
    trainer.step()
    trainer.finish()
    training.patches.close()
    training.model.save(path)


# -- damage ------------------------------------------------------------------------------------------


def damage(place: Path, rng: Rng) -> str:
    """Damage a file of a folder of the corpus in some way; returns how."""
    files = sorted(path for path in place.rglob("*") if path.is_file())
    target = files[int(rng.integers(len(files)))]
    if rng.random() < 0.5:  # metadata, rather than one of many chunks
        named = [path for path in files if path.suffix == ".json" or path.name in (".zarray", ".zattrs", ".zgroup")]
        target = named[int(rng.integers(len(named)))] if named else target
    data = target.read_bytes()
    ways: list[Callable[[bytes, Rng], bytes]] = [damaged_bytes, damaged_numbers]
    if target.suffix == ".json" or target.name.startswith(".z"):
        ways = [damaged_bytes, damaged_json, damaged_json, damaged_json]
    elif target.suffix == ".safetensors":
        ways = [damaged_bytes, damaged_container, damaged_container, damaged_tensors]
    elif target.suffix == ".png":
        ways = [damaged_bytes, damaged_png]
    elif data[:2] in (b"II", b"MM"):
        ways = [damaged_bytes, damaged_numbers, damaged_tags, damaged_tags]
    way = ways[int(rng.integers(len(ways)))]
    if rng.random() < 0.02:
        target.unlink()
        return f"{target.name}: removed"
    target.write_bytes(way(data, rng))
    return f"{target.relative_to(place)}: {way.__name__}"


def damaged_bytes(data: bytes, rng: Rng) -> bytes:
    """Flip, remove, repeat or overwrite bytes, often near the beginning or the end, or truncate."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        size = len(found)
        if not size:
            break
        where = int(rng.integers(size))
        where = [where, min(where, int(rng.integers(256))), max(0, size - 1 - int(rng.integers(512)))][rng.integers(3)]
        length = int(2 ** rng.uniform(0, 10))
        kind = int(rng.integers(7))
        if kind == 0:
            del found[where:]
        elif kind == 1:
            del found[where : where + length]
        elif kind == 2:
            found[where:where] = rng.bytes(length)
        elif kind == 3:
            found[where : where + length] = (b"\0", b"\xff")[rng.integers(2)] * len(found[where : where + length])
        elif kind == 4:
            found[where:where] = found[where : where + length]
        else:
            for _ in range(int(rng.integers(1, 9))):
                found[min(size - 1, where + int(rng.integers(16)))] = int(rng.integers(256))
    return bytes(found)


def damaged_numbers(data: bytes, rng: Rng) -> bytes:
    """Replace a decimal number in the text of a file by another, of the same length where that is possible."""
    numbers = list(re.finditer(rb"\d+", data[:8192]))
    if not numbers:
        return damaged_bytes(data, rng)
    at = numbers[int(rng.integers(len(numbers)))]
    new = str(NUMBERS[int(rng.integers(len(NUMBERS)))]).encode()
    new = new.rjust(len(at[0]), b"0") if rng.random() < 0.8 else new
    return data[: at.start()] + new + data[at.end() :]


def damaged_tags(data: bytes, rng: Rng) -> bytes:
    """Change the type, count or value of an entry of the first directory of a TIFF."""
    order = "little" if data[:2] == b"II" else "big"
    if data[2:4] in (b"+\0", b"\0+"):
        first, head, entry, fields = int.from_bytes(data[8:16], order), 8, 20, ((2, 2), (4, 8), (12, 8))
    else:
        first, head, entry, fields = int.from_bytes(data[4:8], order), 2, 12, ((2, 2), (4, 4), (8, 4), (8, 2))
    count = int.from_bytes(data[first : first + head], order)
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 3))):
        start, size = fields[int(rng.integers(len(fields)))]
        at = first + head + entry * int(rng.integers(max(1, count))) + start
        value = int(rng.choice([*NUMBERS[:9], len(data), 2**32 - 1, int(rng.integers(2**16))]))
        found[at : at + size] = (value % 256**size).to_bytes(size, order)
    return bytes(found)


def damaged_json(data: bytes, rng: Rng) -> bytes:
    """Replace or remove values in a JSON text."""
    try:
        return json.dumps(changed(json.loads(data), rng)).encode()
    except ValueError:
        return damaged_bytes(data, rng)


def changed(value: Any, rng: Rng) -> Any:
    """A JSON value with one or two parts of it replaced or removed."""
    for _ in range(int(rng.integers(1, 3))):
        places = list(parts(value))
        if not places:
            return value
        owner, key = places[int(rng.integers(len(places)))]
        if rng.random() < 0.15:
            del owner[key]
        elif rng.random() < 0.3 and isinstance(owner[key], int | float) and not isinstance(owner[key], bool):
            owner[key] = owner[key] * float(rng.choice([-1, 0, 0.5, 2, 1000, 1e9]))
        else:
            owner[key] = STRANGE[int(rng.integers(len(STRANGE)))]
    return value


def parts(value: Any) -> Any:
    """(owner, key) of all values inside a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from parts(value[key])


def damaged_container(data: bytes, rng: Rng) -> bytes:
    """Change the JSON of a model or noise model, with a checksum that fits: what a stranger may give."""
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        Path(file.name).write_bytes(data)
        with safe_open(file.name, "pt") as opened:
            text = opened.metadata()[KEY]
    tensors = load(data)
    return resealed(changed(json.loads(text.rpartition(CHECKSUM)[0] + "}"), rng), tensors)


def damaged_tensors(data: bytes, rng: Rng) -> bytes:
    """Change a tensor of a model or noise model, with a checksum that fits."""
    length = int.from_bytes(data[:8], "little")
    text = json.loads(data[8 : 8 + length])["__metadata__"][KEY]
    tensors = load(data)
    name = sorted(tensors)[int(rng.integers(len(tensors)))]
    old = tensors[name].float()
    ways = [old * float("nan"), old + float("inf"), old * 1e30, old * 0, -old, old.flatten(), old[..., None],
            old.double(), old.new_zeros(0), old.new_zeros(3, 3), (old * 0).long()]  # fmt: skip
    tensors[name] = ways[int(rng.integers(len(ways)))].contiguous()
    return resealed(json.loads(text.rpartition(CHECKSUM)[0] + "}"), tensors)


def resealed(header: Any, tensors: dict[str, torch.Tensor]) -> bytes:
    """A safetensors file with a checksum that fits."""
    return save(tensors, {KEY: with_checksum(json.dumps(header), tensors)})


def damaged_png(data: bytes, rng: Rng) -> bytes:
    """Change a chunk of a PNG, with a checksum that fits."""
    found, at = bytearray(data), 8
    starts = []
    while at + 8 <= len(data):
        starts.append(at)
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    start = starts[int(rng.integers(len(starts)))]
    size = int.from_bytes(data[start : start + 4], "big")
    for _ in range(int(rng.integers(1, 5))):
        if size:
            found[start + 8 + int(rng.integers(min(size, 64)))] = int(rng.integers(256))
    found[start + 8 + size : start + 12 + size] = zlib.crc32(found[start + 4 : start + 8 + size]).to_bytes(4, "big")
    return bytes(found)


def copied(corpus: Path, name: str, place: Path) -> Path:
    """A copy of a folder of the corpus; returns the path of its `in.*`."""
    shutil.copytree(corpus / name, place, dirs_exist_ok=True)
    return next(iter(sorted(place.glob("in.*"))))
