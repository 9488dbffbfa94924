"""OME-Zarr 0.4 and 0.5 and plain Zarr: outputs like the input, checked with zarr and yaozarrs."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs
import zarr

from noisewise import io
from noisewise.errors import UserError

PROVENANCE = {"version": "0.1.0", "method": "n2v"}
UNITS = {"t": ("time", "second"), "c": ("channel", None), "z": ("space", "micrometer")}


def pixels_of(shape: tuple[int, ...], dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(3).integers(0, 250, shape).astype(dtype)


def ngff_attributes(axes: str, version: str, levels: int) -> dict[str, Any]:
    found = []
    for name in axes.lower():
        kind, unit = UNITS.get(name, ("space", "nanometer"))
        found.append({"name": name, "type": kind} | ({"unit": unit} if unit else {}))
    datasets = []
    for level in range(levels):
        scale = [65.0 * 2**level if a in "YX" else 0.5 if a == "Z" else 1.0 for a in axes]
        steps = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": [1.0] * len(axes)}]
        datasets.append({"path": f"scale{level}", "coordinateTransformations": steps})
    multiscale = {"name": "cells", "axes": found, "datasets": datasets}
    ngff: dict[str, Any] = {"multiscales": [multiscale]}
    if "C" in axes:
        window = {"min": 0, "max": 255, "start": 0, "end": 200}
        names = ("DAPI", "GFP")
        ngff["omero"] = {"channels": [{"label": n, "color": "00FF00", "window": window, "active": True} for n in names]}
    if version == "0.5":
        return {"ome": {"version": "0.5", **ngff}, "custom": {"lab": 7}}
    multiscale["version"] = "0.4"
    return {**ngff, "custom": {"lab": 7}}


def make_pyramid(path: Path, axes: str, version: str, pixels: np.ndarray, levels: int = 3, **options: Any) -> None:
    group = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2)
    group.attrs.update(ngff_attributes(axes, version, levels))
    for level in range(levels):
        data = pixels[tuple(slice(None, None, 2**level) if a in "YX" else slice(None) for a in axes)]
        names = {"dimension_names": list(axes.lower())} if version == "0.5" else {}
        chunks = tuple(16 if a in "YX" else 1 for a in axes)
        separator = {"name": "default" if version == "0.5" else "v2", "separator": "/"}
        array = group.create_array(
            f"scale{level}",
            shape=data.shape,
            dtype=data.dtype,
            chunks=chunks,
            chunk_key_encoding=separator,
            **names,
            **options,
        )
        array[:] = data


def write_copy(path: Path, output: Path | None = None, dtype: str | None = None) -> Path:
    output = output or io.default_output(path)
    source = io.open_source(path)
    with io.create_sink(output, source, dtype, PROVENANCE) as sink:
        half = source.shape[-1] // 2
        for part in (slice(0, half), slice(half, source.shape[-1])):
            region = (*source.everything[:-1], part)
            sink.write(region, source.read(region))
    assert [p.name for p in output.parent.iterdir() if p.name.startswith(".")] == []
    return output


def validate(path: Path, version: str) -> None:
    if version == "0.5":
        yaozarrs.validate_zarr_store(str(path))
    attributes = dict(zarr.open_group(path, mode="r").attrs)
    yaozarrs.validate_ome_object(attributes.get("ome", attributes))


def described(array: Any) -> dict[str, Any]:
    """The metadata of an array."""
    return json.loads(json.dumps(array.metadata.to_dict(), default=str))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "CYX", "TCZYX"])
def test_copies_keep_everything(tmp_path: Path, axes: str, version: str) -> None:
    sizes = {"T": 2, "C": 2, "Z": 3, "Y": 33, "X": 48}
    path, pixels = tmp_path / "a.ome.zarr", pixels_of(tuple(sizes[a] for a in axes))
    make_pyramid(path, axes, version, pixels)
    source = io.open_source(path)
    assert (source.axes, source.shape, source.notes) == (axes, pixels.shape, [])
    assert source.scale["X"] == pytest.approx(0.065)
    assert source.channel_names == (["DAPI", "GFP"] if "C" in axes else [])
    np.testing.assert_array_equal(source.read((slice(0, 1), *source.everything[1:])), pixels[:1])
    output = write_copy(path)
    assert output.name == "a_denoised.ome.zarr"
    validate(output, version)
    before, after = zarr.open_group(path, mode="r"), zarr.open_group(output, mode="r")
    assert after.metadata.zarr_format == before.metadata.zarr_format
    attributes = dict(after.attrs)
    assert attributes.pop("noisewise") == PROVENANCE and attributes == dict(before.attrs)
    for level in range(3):
        assert described(before[f"scale{level}"]) == described(after[f"scale{level}"])
    np.testing.assert_array_equal(after["scale0"][:], pixels)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_other_dtype_keeps_chunks_and_codec(tmp_path: Path, version: str, dtype: str) -> None:
    path, pixels = tmp_path / "a.zarr", pixels_of((3, 33, 48))
    make_pyramid(path, "ZYX", version, pixels)
    output = write_copy(path, dtype=dtype)
    validate(output, version)
    before, after = zarr.open_group(path, mode="r"), zarr.open_group(output, mode="r")
    assert after["scale1"].dtype == dtype and after["scale1"].chunks == before["scale1"].chunks
    assert after["scale1"].compressors == before["scale1"].compressors
    assert (output / "scale1" / ("c/0/0/0" if version == "0.5" else "0/0/0")).is_file()
    np.testing.assert_array_equal(after["scale0"][:], pixels)


def test_shards_and_sparse_layout_are_kept(tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.zarr", pixels_of((3, 64, 64))
    make_pyramid(path, "ZYX", "0.5", pixels, levels=1, shards=(3, 32, 32))
    for dtype in (None, "float32"):
        after = zarr.open_group(write_copy(path, tmp_path / f"{dtype}.zarr", dtype), mode="r")["scale0"]
        assert after.shards == (3, 32, 32) and after.chunks == (1, 16, 16)
        np.testing.assert_array_equal(after[:], pixels)


def test_pyramid_is_the_local_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from noisewise.io import pyramid

    monkeypatch.setattr(pyramid, "BLOCK", 300)  # several blocks even here
    path, pixels = tmp_path / "a.zarr", pixels_of((2, 64, 96), "float32")
    make_pyramid(path, "ZYX", "0.5", pixels)
    after = zarr.open_group(write_copy(path), mode="r")
    expected = pixels
    for level in (1, 2):
        z, y, x = expected.shape
        expected = expected.reshape(z, y // 2, 2, x // 2, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(after[f"scale{level}"][:], expected, rtol=1e-5)


@pytest.mark.parametrize(("have", "want"), [(33, 17), (33, 16), (7, 3), (5, 5), (10, 4), (9, 1)])
def test_pyramid_of_odd_sizes_covers_every_pixel(have: int, want: int) -> None:
    from noisewise.io.pyramid import _bins, shrink

    edges = _bins(have, want)
    assert edges[0] == 0 and edges[-1] == have and (np.diff(edges) > 0).all() and len(edges) == want + 1
    fine = zarr.create_array({}, shape=(have, have), dtype="float64", chunks=(4, 4))
    coarse = zarr.create_array({}, shape=(want, want), dtype="float64", chunks=(3, 3))
    fine[:] = values = np.random.default_rng(0).normal(size=(have, have))
    shrink(fine, coarse)
    expected = [[values[a:b, c:d].mean() for c, d in pairwise(edges)] for a, b in pairwise(edges)]
    np.testing.assert_allclose(coarse[:], expected)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_plain_array(tmp_path: Path, zarr_format: Any) -> None:
    path, pixels = tmp_path / "a.zarr", pixels_of((3, 33, 48), "float32")
    names = {"dimension_names": ["z", "y", "x"]} if zarr_format == 3 else {}
    array = zarr.create_array(path, data=pixels, chunks=(1, 16, 16), zarr_format=zarr_format, **names)
    array.attrs["lab"] = 7
    source = io.open_source(path)
    assert source.axes == ("ZYX" if zarr_format == 3 else "SYX")
    assert io.open_source(path, axes="TYX").axes == "TYX"
    after = zarr.open_array(write_copy(path), mode="r")
    np.testing.assert_array_equal(after[:], pixels)
    assert dict(after.attrs) == {"lab": 7, "noisewise": PROVENANCE} and after.chunks == (1, 16, 16)


@pytest.mark.parametrize("axes", ["YX", "TCZYX", "SYX", "ZYX"])
def test_new_ome_zarr_from_an_array(tmp_path: Path, axes: str) -> None:
    pixels = pixels_of(tuple({"Y": 20, "X": 30}.get(a, 2) for a in axes))
    source = io.open_source(pixels, axes=axes, name="scene")
    source.scale = {a: s for a, s in {"X": 0.1, "Y": 0.2, "T": 2.0}.items() if a in axes}
    source.channel_names = ["a", "b"] if "C" in axes else []
    with io.create_sink(tmp_path / "a.ome.zarr", source, provenance=PROVENANCE) as sink:
        sink.write(source.everything, source.read())
    validate(tmp_path / "a.ome.zarr", "0.5")
    again = io.open_source(tmp_path / "a.ome.zarr")
    assert (again.axes, again.scale, again.channel_names) == (axes, source.scale, source.channel_names)
    np.testing.assert_array_equal(again.read(), pixels)


def test_zarr_to_tiff_and_back(tmp_path: Path) -> None:
    pixels = pixels_of((2, 33, 48))
    make_pyramid(tmp_path / "a.zarr", "CYX", "0.4", pixels)
    there = write_copy(tmp_path / "a.zarr", tmp_path / "b.ome.tif")
    back = io.open_source(write_copy(there, tmp_path / "c.zarr"))
    assert back.axes == "CYX" and back.channel_names == ["DAPI", "GFP"]
    assert back.scale == pytest.approx({"Y": 0.065, "X": 0.065})
    np.testing.assert_array_equal(back.read(), pixels)


def test_overwrite_and_discard(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    make_pyramid(path, "ZYX", "0.5", pixels_of((2, 33, 48)))
    source, output = io.open_source(path), write_copy(path)
    before = io.checksum(output)
    with pytest.raises(UserError, match="exists already"):
        io.create_sink(output, source)
    with pytest.raises(RuntimeError, match="stop"), io.create_sink(output, source, overwrite=True) as sink:  # noqa: PT012
        sink.write(source.everything, source.read())
        raise RuntimeError("stop")
    assert io.checksum(output) == before
    with io.create_sink(output, source, overwrite=True) as sink:
        sink.write(source.everything, source.read() + 1)
    np.testing.assert_array_equal(io.open_source(output).read(), source.read() + 1)
    with pytest.raises(UserError, match="input itself"):
        io.create_sink(path, source, overwrite=True)
    with pytest.raises(UserError, match="input itself"):
        io.create_sink(path / "inside.zarr", source)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr", "a_denoised.zarr"]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"plate": {"wells": []}}, "plate"),
        ({"well": {"images": []}}, "well"),
        ({"labels": ["nuclei"]}, "no OME-Zarr image"),
        ({"bioformats2raw.layout": 3}, "collection"),
        ({"multiscales": [{"datasets": []}], "image-label": {}}, "label image"),
        ({"multiscales": [{}]}, "damaged"),
        ({"multiscales": 7}, "damaged"),
        ({"multiscales": [{"datasets": [{"path": "gone"}]}]}, "damaged"),
    ],
)
@pytest.mark.parametrize("version", [2, 3])
def test_other_groups_are_refused(tmp_path: Path, attributes: dict[str, Any], words: str, version: Any) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_group(path, zarr_format=version, attributes=attributes if version == 2 else {"ome": attributes})
    with pytest.raises(UserError, match=words):
        io.open_source(path)


def test_damaged_zarr(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    path.mkdir()
    with pytest.raises(UserError, match=r"a\.zarr"):
        io.open_source(path)
    (path / "zarr.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.zarr"):
        io.open_source(path)
    (tmp_path / "file.zarr").write_bytes(b"")
    with pytest.raises(UserError, match="not a folder"):
        io.open_source(tmp_path / "file.zarr")
    make_pyramid(tmp_path / "b.zarr", "ZYX", "0.5", pixels_of((2, 33, 48)), levels=1)
    next(p for p in (tmp_path / "b.zarr" / "scale0" / "c").rglob("*") if p.is_file()).write_bytes(b"broken")
    with pytest.raises(UserError, match="damaged"):
        io.open_source(tmp_path / "b.zarr").read()
    source = io.open_source(np.zeros((2, 3, 5, 6), "uint8"), axes="SCYX")
    with pytest.raises(UserError, match="both axes S and C"):
        io.create_sink(tmp_path / "c.zarr", source)
