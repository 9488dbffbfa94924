"""Copies through `Source` and `Sink` in every format, read back by an independent reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from noisewise import io
from noisewise.errors import UserError

PROVENANCE = {"version": "0.1.0", "method": "n2v", "note": "a--b > c & µ", "seed": 0}
SIZES = {"T": 3, "C": 2, "Z": 4, "Y": 17, "X": 23, "Q": 3, "S": 3}
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64"]


def image(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(7)
    if np.dtype(dtype).kind == "f":
        return rng.normal(100, 20, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def shape_of(axes: str) -> tuple[int, ...]:
    return tuple(SIZES[axis] for axis in axes)


def write_copy(path: Path, output: Path | None = None, dtype: str | None = None) -> Path:
    """Copy a file through Source and Sink in two regions."""
    output = output or io.default_output(path)
    with io.open_source(path) as source:
        axis = source.shape.index(max(source.shape))
        half = source.shape[axis] // 2
        with io.create_sink(output, source, dtype, PROVENANCE) as sink:
            for part in (slice(0, half), slice(half, source.shape[axis])):
                region = list(source.everything)
                region[axis] = part
                sink.write(tuple(region), source.read(tuple(region)))
    assert sorted(p.name for p in output.parent.iterdir() if p.name.startswith(".")) == []
    return output


def series_of(path: Path) -> tuple[Any, ...]:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        page = series.keyframe
        return (
            series.axes,
            series.shape,
            series.dtype,
            series.kind,
            page.photometric,
            page.planarconfig,
            file.is_bigtiff,
        )


def assert_same(path: Path, output: Path) -> None:
    """Same series and pixels."""
    assert series_of(path) == series_of(output)
    np.testing.assert_array_equal(tifffile.imread(path), tifffile.imread(output))


# ---------------------------------------------------------------- TIFF: shapes, axes, dtypes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "packbits"])
def test_plain_tiff(tmp_path: Path, dtype: str, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image((3, 17, 23), dtype), photometric="minisblack", compression=compression)
    output = write_copy(path)
    assert output.name == "a_denoised.tif"
    assert_same(path, output)
    assert io.open_source(output).axes == "SYX"


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "jpeg", "jpeg2000"])
@pytest.mark.parametrize("colour", [True, False])
def test_jpeg(tmp_path: Path, name: str, colour: bool) -> None:
    """Read after a plain install; lossy compression is reported."""
    pixels = image((40, 48, 3) if colour else (40, 48), "uint8")
    path = tmp_path / (name if "." in name else "a.tif")
    if "." in name:
        Image.fromarray(pixels).save(path, "JPEG")
    else:
        tifffile.imwrite(path, pixels, photometric="rgb" if colour else "minisblack", compression=name)
    source = io.open_source(path)
    expected = np.asarray(Image.open(path)) if "." in name else tifffile.imread(path)
    np.testing.assert_array_equal(source.read(), expected)
    assert source.axes == ("YXC" if colour else "YX")
    assert any("altered the noise" in note for note in source.notes) == (name != "jpeg2000")
    if "." in name:
        assert io.default_output(path).name == "a_denoised.ome.tif"
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(UserError, match="cannot be read as JPEG"):
            io.open_source(path)


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TZYX", "CYX", "TCYX", "ZCYX", "TZCYX", "CZYX", "TCZYX", "CTZYX"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_ome_tiff(tmp_path: Path, axes: str, dtype: str) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, image(shape_of(axes), dtype), metadata={"axes": axes}, photometric="minisblack")
    output = write_copy(path)
    assert output.name == "a_denoised.ome.tif"
    assert_same(path, output)
    source = io.open_source(output)
    assert source.axes == axes and source.notes == []


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYX", "CYX", "TZYX", "ZCYX", "TCYX", "TZCYX"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_imagej(tmp_path: Path, axes: str, dtype: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image(shape_of(axes), dtype), imagej=True, metadata={"axes": axes})
    output = write_copy(path)
    assert_same(path, output)
    assert io.open_source(output).axes == axes


@pytest.mark.parametrize(
    ("shape", "options", "axes"),
    [
        ((17, 23, 3), {"photometric": "rgb"}, "YXC"),
        ((17, 23, 4), {"photometric": "rgb"}, "YXC"),
        ((3, 17, 23), {"photometric": "rgb", "planarconfig": "separate"}, "CYX"),
        ((5, 17, 23, 3), {"photometric": "rgb"}, "SYXC"),
        ((17, 23, 2), {"photometric": "minisblack", "planarconfig": "contig"}, "YXC"),
        ((17, 23), {"photometric": "miniswhite"}, "YX"),
        ((3, 17, 23), {"photometric": "minisblack", "byteorder": ">"}, "SYX"),
        ((3, 17, 23), {"photometric": "minisblack", "bigtiff": True}, "SYX"),
        ((64, 80), {"photometric": "minisblack", "tile": (16, 32)}, "YX"),
        ((3, 64, 80), {"photometric": "minisblack", "tile": (16, 32), "compression": "zlib"}, "SYX"),
        ((64, 80), {"photometric": "minisblack", "rowsperstrip": 5, "compression": "zlib"}, "YX"),
        ((2, 3, 4, 17, 23), {"photometric": "minisblack"}, "SABYX"),
        ((1, 17, 23), {"photometric": "minisblack"}, None),
        ((1, 23), {"photometric": "minisblack"}, "YX"),
        ((3, 17, 23), {"photometric": "minisblack", "metadata": {"axes": "TYX"}}, "TYX"),
        ((3, 2, 17, 23), {"photometric": "minisblack", "metadata": {"axes": "QRYX"}}, "SAYX"),
        ((3, 17, 23), {"photometric": "minisblack", "metadata": None}, "SYX"),
        ((3, 2, 17, 23), {"photometric": "minisblack", "truncate": True}, "SAYX"),
    ],
)
def test_tiff_layouts(tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any], axes: str | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image(shape, "uint16"), **options)
    output = write_copy(path)
    assert_same(path, output)
    if axes is not None:
        assert io.open_source(path).axes == axes


def test_rgb_imagej_and_ome(tmp_path: Path) -> None:
    for name, options in (("a.tif", {"imagej": True}), ("b.ome.tif", {"photometric": "rgb"})):
        tifffile.imwrite(tmp_path / name, image((3, 17, 23, 3), "uint8"), metadata={"axes": "TYXS"}, **options)
        assert_same(tmp_path / name, write_copy(tmp_path / name))
        assert io.open_source(tmp_path / name).axes == "TYXC"


def test_only_the_first_of_several_series_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for name, shape in (("first", (3, 17, 23)), ("second", (9, 9))):
            writer.write(
                image(shape, "uint16"), metadata={"Name": name, "axes": "TYX"[-len(shape) :]}, photometric="minisblack"
            )
    source = io.open_source(path)
    assert source.shape == (3, 17, 23) and "contains 2 images" in source.notes[0]
    output = write_copy(path)
    with tifffile.TiffFile(output) as file:
        assert len(file.series) == 1 and file.series[0].name == "first"
        assert "second" not in file.ome_metadata


def test_multifile_ome_is_one_image(tmp_path: Path) -> None:
    pixels = image((2, 17, 23), "uint16")
    ids = ["urn:uuid:00000000-0000-0000-0000-00000000000" + n for n in "12"]
    data = "".join(
        f'<TiffData FirstT="{i}" IFD="0" PlaneCount="1"><UUID FileName="{i}.ome.tif">{ids[i]}</UUID></TiffData>'
        for i in range(2)
    )
    for i in range(2):
        xml = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{ids[i]}">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16"'
            ' SizeX="23" SizeY="17" SizeC="1" SizeZ="1" SizeT="2">'
            f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
        )
        tifffile.imwrite(tmp_path / f"{i}.ome.tif", pixels[i], description=xml, metadata=None)
    source = io.open_source(tmp_path / "0.ome.tif")
    assert source.axes == "TYX"
    np.testing.assert_array_equal(source.read(), pixels)
    output = write_copy(tmp_path / "0.ome.tif")
    np.testing.assert_array_equal(tifffile.imread(output), pixels)
    (tmp_path / "1.ome.tif").unlink()
    left = io.open_source(tmp_path / "0.ome.tif")
    assert "1 plane, its metadata state 2: files of its OME-TIFF set are missing" in left.notes[0]
    np.testing.assert_array_equal(left.read(), pixels[0])


# ---------------------------------------------------------------- TIFF: metadata

OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" Creator="scope 1"
 UUID="urn:uuid:0f0f0f0f-0000-0000-0000-000000000000">
<Instrument ID="Instrument:0">
<Objective ID="Objective:0" NominalMagnification="63" LensNA="1.4"/></Instrument>
<Image ID="Image:0" Name="cells"><AcquisitionDate>2024-05-06T07:08:09</AcquisitionDate>
<ObjectiveSettings ID="Objective:0"/>
<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" BigEndian="true"
 SizeX="23" SizeY="17" SizeZ="4" SizeC="2" SizeT="1" PhysicalSizeX="65" PhysicalSizeXUnit="nm"
 PhysicalSizeY="65" PhysicalSizeYUnit="nm" PhysicalSizeZ="0.2"
 TimeIncrement="500" TimeIncrementUnit="ms" SignificantBits="12">
<Channel ID="Channel:0:0" Name="DAPI" Color="65535" SamplesPerPixel="1"/>
<Channel ID="Channel:0:1" Name="µGFP" Color="16711935" SamplesPerPixel="1"/>
<TiffData FirstZ="0" IFD="0" PlaneCount="8"/>
<Plane TheZ="0" TheC="0" TheT="0" ExposureTime="0.05"/></Pixels></Image>
<StructuredAnnotations><CommentAnnotation ID="Annotation:7"><Value>kept</Value></CommentAnnotation>
</StructuredAnnotations>
</OME>"""


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_ome_metadata_is_kept(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, image((2, 4, 17, 23), "uint16"), description=OME.encode(), metadata=None, photometric="minisblack"
    )
    source = io.open_source(path)
    assert source.axes == "CZYX" and source.channel_names == ["DAPI", "µGFP"]
    assert source.scale == pytest.approx({"X": 0.065, "Y": 0.065, "Z": 0.2, "T": 0.5})
    output = write_copy(path, dtype=dtype)
    again = io.open_source(output)
    assert (again.axes, again.scale, again.channel_names) == (source.axes, source.scale, source.channel_names)
    with tifffile.TiffFile(output) as file:
        xml = file.ome_metadata
        assert file.series[0].dtype == dtype and file.series[0].axes == "CZYX"
        assert file.pages[0].tags["Software"].value.startswith("noisewise")
    ome = tifffile.xml2dict(xml)["OME"]
    pixels = ome["Image"]["Pixels"]
    assert pixels["Type"] == {"uint16": "uint16", "float32": "float"}[dtype]
    assert pixels["Channel"][1] == {"ID": "Channel:0:1", "Name": "µGFP", "Color": 16711935, "SamplesPerPixel": 1}
    assert pixels["Plane"]["ExposureTime"] == 0.05 and pixels["PhysicalSizeXUnit"] == "nm"
    assert ome["Instrument"]["Objective"]["LensNA"] == 1.4
    assert ome["Image"]["AcquisitionDate"] == "2024-05-06T07:08:09"
    assert not ome["UUID"].startswith("urn:uuid:0f0f0f0f")
    first, added = ome["StructuredAnnotations"]["CommentAnnotation"]
    assert first["Value"] == "kept" and json.loads(added["Value"]) == PROVENANCE


@pytest.mark.parametrize("bigendian", [False, True])
def test_imagej_metadata_is_kept(tmp_path: Path, bigendian: bool) -> None:
    path = tmp_path / "a.tif"
    luts = [np.tile(np.arange(256, dtype=np.uint8), (3, 1)), np.zeros((3, 256), np.uint8)]
    metadata = {
        "axes": "ZCYX",
        "unit": "nm",
        "spacing": 200.0,
        "finterval": 1.5,
        "mode": "composite",
        "min": 3.0,
        "max": 99.0,
        "Info": "scope = 1\n",
        "Labels": ["DAPI", "GFP"] * 4,
        "Ranges": [0.0, 50.0, 1.0, 60.0],
        "LUTs": luts,
    }
    byteorder = ">" if bigendian else "<"
    pixels = image((4, 2, 17, 23), "uint16")
    tifffile.imwrite(path, pixels, imagej=True, byteorder=byteorder, resolution=(1 / 65, 1 / 130), metadata=metadata)
    source = io.open_source(path)
    assert source.scale == pytest.approx({"X": 0.065, "Y": 0.130, "Z": 0.2, "T": 1.5}, rel=1e-4)
    assert source.channel_names == ["DAPI", "GFP"]
    output = write_copy(path)
    with tifffile.TiffFile(path) as a, tifffile.TiffFile(output) as b:
        before, after = a.imagej_metadata, b.imagej_metadata
        assert a.pages[0].tags["XResolution"].value == b.pages[0].tags["XResolution"].value
        assert a.pages[0].resolutionunit == b.pages[0].resolutionunit
    info = after.pop("Info")
    assert info.startswith(before.pop("Info"))
    assert json.loads(info.split("noisewise = ")[1]) == PROVENANCE
    np.testing.assert_array_equal(before.pop("LUTs"), after.pop("LUTs"))
    assert before == after


@pytest.mark.parametrize("unit", ["micron", "\\u00B5m", "um", "µm"])
def test_imagej_units(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "a.tif"
    unit = unit.replace("µ", "\\u00B5")
    metadata = {"axes": "ZYX", "unit": unit, "spacing": 2.0}
    tifffile.imwrite(path, image((4, 17, 23), "uint8"), imagej=True, resolution=(4, 4), metadata=metadata)
    assert io.open_source(path).scale == pytest.approx({"X": 0.25, "Y": 0.25, "Z": 2.0})


def test_imagej_without_unit_has_no_scale(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image((17, 23), "uint8"), imagej=True, resolution=(4, 4))
    assert io.open_source(path).scale == {}


@pytest.mark.parametrize(("unit", "um"), [("CENTIMETER", 1e4 / 40000), ("INCH", 25400 / 40000)])
def test_plain_resolution_and_description(tmp_path: Path, unit: str, um: float) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        image((17, 23), "uint8"),
        resolution=(40000, 40000),
        resolutionunit=unit,
        description="acquired by hand",
        metadata=None,
        datetime="2024:01:02 03:04:05",
        extratags=[(315, 2, 0, "A. Nyone", True)],
    )
    assert io.open_source(path).scale == pytest.approx({"X": um, "Y": um})
    with tifffile.TiffFile(write_copy(path)) as file:
        tags = {tag.name: tag.value for tag in file.pages[0].tags}
    assert tags["XResolution"] == (40000, 1) and tags["ResolutionUnit"] == {"CENTIMETER": 3, "INCH": 2}[unit]
    text, record = tags["ImageDescription"].split("\n", 1)
    assert text == "acquired by hand" and json.loads(record) == {"noisewise": PROVENANCE}
    assert tags["DateTime"] == "2024:01:02 03:04:05" and tags["Artist"] == "A. Nyone"


def test_print_resolution_is_no_pixel_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", image((17, 23), "uint8"), resolution=(72, 72), resolutionunit="INCH")
    assert io.open_source(tmp_path / "a.tif").scale == {}


def test_a_lookup_table_is_kept_and_a_palette_is_refused(tmp_path: Path) -> None:
    ramp = np.zeros((3, 256), np.uint16)
    ramp[1] = np.arange(256) * 257
    tifffile.imwrite(tmp_path / "lut.tif", image((17, 23), "uint8"), colormap=ramp, photometric="palette")
    output = write_copy(tmp_path / "lut.tif")
    assert_same(tmp_path / "lut.tif", output)
    with tifffile.TiffFile(output) as file:
        np.testing.assert_array_equal(file.pages[0].colormap, ramp)
    floating = write_copy(tmp_path / "lut.tif", tmp_path / "float.tif", "float32")
    assert tifffile.imread(floating).dtype == np.float32
    colours = np.random.default_rng(0).integers(0, 65535, (3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "art.tif", image((17, 23), "uint8"), colormap=colours, photometric="palette")
    with pytest.raises(UserError, match="palette"):
        io.open_source(tmp_path / "art.tif")


def test_imagej_falls_back_to_ome(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    metadata = {"axes": "ZCYX", "unit": "um", "spacing": 0.5, "Labels": ["a", "b"] * 4}
    tifffile.imwrite(path, image((4, 2, 17, 23), "uint16"), imagej=True, resolution=(10, 10), metadata=metadata)
    source, output = io.open_source(path), io.open_source(write_copy(path, dtype="float64"))
    with tifffile.TiffFile(output.path) as file:
        assert file.series[0].kind == "ome" and file.series[0].dtype == np.float64
    assert (output.axes, output.shape, output.channel_names) == (source.axes, source.shape, source.channel_names)
    assert output.scale == pytest.approx(dict(source.scale))


# ---------------------------------------------------------------- arrays to TIFF


@pytest.mark.parametrize(
    ("axes", "dtype", "name", "kind"),
    [
        ("TZCYX", "uint16", "a.tif", "imagej"),
        ("CZYX", "uint16", "a.tif", "ome"),
        ("ZYX", "int16", "a.tif", "ome"),
        ("ZYX", "float32", "a.ome.tif", "ome"),
        ("SYX", "float32", "a.tif", "shaped"),
        ("YXC", "uint8", "a.tif", "shaped"),
        ("YXT", "float32", "a.tif", "shaped"),
        ("ZYX", "int64", "a.tif", "shaped"),
        ("STCZYX", "uint8", "a.tif", "shaped"),
    ],
)
def test_array_to_tiff(tmp_path: Path, axes: str, dtype: str, name: str, kind: str) -> None:
    pixels = image(shape_of(axes), dtype)
    source = io.open_source(pixels, axes=axes, name="scene")
    source.scale = {a: s for a, s in {"X": 0.1, "Y": 0.2, "Z": 0.5, "T": 3.0}.items() if a in axes}
    source.channel_names = ["one", "two"] if "C" in axes else []
    with io.create_sink(tmp_path / name, source, provenance=PROVENANCE) as sink:
        sink.write(source.everything, source.read())
    with tifffile.TiffFile(tmp_path / name) as file:
        assert file.series[0].kind == kind
        np.testing.assert_array_equal(file.asarray(), pixels)
    again = io.open_source(tmp_path / name)
    assert (again.axes, again.shape, again.dtype) == (axes, pixels.shape, pixels.dtype)
    np.testing.assert_array_equal(again.read(), pixels)
    if kind != "shaped":
        assert again.scale == pytest.approx(source.scale, rel=1e-6)
        assert again.channel_names == source.channel_names


def test_an_ome_tiff_that_is_not_possible(tmp_path: Path) -> None:
    source = io.open_source(image((3, 17, 23), "uint8"), axes="SYX")
    with pytest.raises(UserError, match="OME-TIFF cannot hold"):
        io.create_sink(tmp_path / "a.ome.tif", source)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- PNG, NumPy, memory


@pytest.mark.parametrize(
    ("shape", "dtype", "axes"),
    [
        ((17, 23), "uint8", "YX"),
        ((17, 23), "uint16", "YX"),
        ((17, 23, 3), "uint8", "YXC"),
        ((17, 23, 4), "uint8", "YXC"),
        ((17, 23, 2), "uint8", "YXC"),
    ],
)
def test_png(tmp_path: Path, shape: tuple[int, ...], dtype: str, axes: str) -> None:
    path, pixels = tmp_path / "a.png", image(shape, dtype)
    info = PngInfo()
    info.add_text("Comment", "kept")
    Image.fromarray(pixels).save(path, pnginfo=info, dpi=(25400, 25400))
    source = io.open_source(path)
    assert source.axes == axes and source.scale == pytest.approx({"X": 1.0, "Y": 1.0}, rel=1e-3)
    with Image.open(write_copy(path)) as output, Image.open(path) as original:
        np.testing.assert_array_equal(np.asarray(output), np.asarray(original))
        assert output.mode == original.mode and output.info["dpi"] == original.info["dpi"]
        assert output.text["Comment"] == "kept" and json.loads(output.text["noisewise"]) == PROVENANCE


def test_png_palette_becomes_grey_or_rgb(tmp_path: Path) -> None:
    picture = Image.fromarray(image((17, 23, 3), "uint8")).quantize(16)
    picture.save(tmp_path / "colour.png")
    source = io.open_source(tmp_path / "colour.png")
    np.testing.assert_array_equal(source.read(), np.asarray(picture.convert("RGB")))
    pixel_values = Image.fromarray(image((17, 23), "uint8")).quantize(16)
    pixel_values.save(tmp_path / "grey.png")
    assert io.open_source(tmp_path / "grey.png").axes == "YX"


def test_png_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    source = io.open_source(image((17, 23), "uint8"))
    with pytest.raises(UserError, match=r"a\.tif"):
        io.create_sink(tmp_path / "a.png", source, "float32")
    stack = io.open_source(image((3, 17, 23), "uint8"))
    with pytest.raises(UserError, match="PNG cannot hold"):
        io.create_sink(tmp_path / "a.png", stack)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [*DTYPES, ">u2", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path: Path, dtype: str, order: Any) -> None:
    path, pixels = (tmp_path / "a.npy", np.asarray(image((3, 17, 23), np.dtype(dtype).name).astype(dtype), order=order))
    np.save(path, pixels)
    output = np.load(write_copy(path))
    np.testing.assert_array_equal(output, pixels)
    assert output.dtype == np.dtype(dtype).newbyteorder("=")


class Lazy:
    """Like a dask or xarray array; counts the pixels that are computed."""

    def __init__(self, array: np.ndarray, dims: tuple[str, ...] | None = None) -> None:
        self.array, self.shape, self.dtype, self.computed = array, array.shape, array.dtype, 0
        if dims is not None:
            self.dims = dims

    def __getitem__(self, region: Any) -> np.ndarray:
        part = self.array[region]
        self.computed += part.size
        return part


def test_arrays_are_read_lazily_and_named_by_dims() -> None:
    lazy = Lazy(image((3, 4, 17, 23), "uint16"), ("time", "z", "y", "x"))
    source = io.open_source(lazy)
    assert source.axes == "TZYX" and lazy.computed == 0
    part = source.read((slice(1, 2), slice(0, 2), slice(0, 5), slice(3, 9)))
    np.testing.assert_array_equal(part, lazy.array[1:2, 0:2, 0:5, 3:9])
    assert lazy.computed == part.size
    part[:] = 0  # a copy
    assert lazy.array[1, 0, 0, 3:9].any()
    assert io.open_source(lazy, axes="tzyx").axes == "TZYX"


def test_memory_sink_rounds_and_clips() -> None:
    from noisewise.io.memory import MemorySink

    sink = MemorySink((2, 4), "uint8")
    sink.write((slice(0, 1), slice(0, 4)), np.array([[-3.0, 0.5, 1.5, 300.0]]))
    sink.write((slice(1, 2), slice(0, 4)), np.array([[-1, 256, 7, 2**40]]))
    np.testing.assert_array_equal(sink.array, [[0, 0, 2, 255], [0, 255, 7, 255]])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64", "uint64"])
def test_integers_never_wrap(tmp_path: Path, dtype: str) -> None:
    info = np.iinfo(dtype)
    values = np.array([[np.nan, -np.inf, np.inf, -1e30, 1e30, 41.5, 42.5]])
    expected = [0, info.min, info.max, info.min, info.max, 42, 42]
    source = io.open_source(np.zeros((1, 7), dtype), axes="YX")
    for name in ("a.tif", "a.npy"):
        with io.create_sink(tmp_path / name, source) as sink:
            sink.write(source.everything, values)
        assert io.open_source(tmp_path / name).read()[0].tolist() == expected


def test_floats_saturate() -> None:
    assert io.to_dtype(np.array([1e30, -1e30]), np.dtype("float16")).tolist() == [65504, -65504]
    assert io.to_dtype(np.array([1e300]), np.dtype("float32"))[0] == np.finfo("float32").max


# ---------------------------------------------------------------- regions


@pytest.mark.parametrize("name", ["a.tif", "b.tif", "c.ome.tif", "d.npy", "e.png"])
def test_regions_are_slices_of_the_whole(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from noisewise.io import tiff_read

    monkeypatch.setattr(tiff_read, "READ_WHOLE", 0)  # force the lazy way
    path, pixels = tmp_path / name, image((6, 70, 90) if name != "e.png" else (70, 90), "uint16")
    if name == "d.npy":
        np.save(path, pixels)
    elif name == "e.png":
        Image.fromarray(pixels).save(path)
    else:
        options: dict[str, Any] = {"b.tif": {"compression": "zlib", "rowsperstrip": 7}}.get(name, {})
        options = options or {"c.ome.tif": {"tile": (32, 16), "compression": "zlib"}}.get(name, {})
        tifffile.imwrite(path, pixels, photometric="minisblack", **options)
    rng = np.random.default_rng(1)
    with io.open_source(path) as source:
        np.testing.assert_array_equal(source.read(), pixels)
        for _ in range(5):
            region = tuple(slice(*sorted(rng.choice(n + 1, 2, replace=False).tolist())) for n in source.shape)
            np.testing.assert_array_equal(source.read(region), pixels[region])


# ---------------------------------------------------------------- finding files


def test_find_inputs(tmp_path: Path) -> None:
    for name in ("b.tif", "a.TIF", "c.png", "x[1].tif", "notes.txt", ".hidden.tif"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "d.zarr").mkdir()
    (tmp_path / "empty").mkdir()
    names = [p.name for p in io.find_inputs([tmp_path])]
    assert names == ["a.TIF", "b.tif", "c.png", "d.zarr", "x[1].tif"]
    assert [p.name for p in io.find_inputs([tmp_path / "b.tif", str(tmp_path / "*.tif")])] == ["b.tif", "x[1].tif"]
    assert [p.name for p in io.find_inputs([tmp_path / "x[1].tif", tmp_path / "d.zarr"])] == ["x[1].tif", "d.zarr"]
    for bad, words in (("gone.tif", "no such file"), ("*.gif", "matches no image"), ("empty", "holds no images")):
        with pytest.raises(UserError, match=words):
            io.find_inputs([tmp_path / bad])
    with pytest.raises(UserError, match="unknown format"):
        io.find_inputs([tmp_path / "notes.txt"])


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("a.tif", "a_denoised.tif"),
        ("a.b.ome.tif", "a.b_denoised.ome.tif"),
        ("a.OME.TIFF", "a_denoised.OME.TIFF"),
        ("a.ome.zarr", "a_denoised.ome.zarr"),
        ("some.zarr", "some_denoised.zarr"),
        ("a.lsm", "a_denoised.ome.tif"),
    ],
)
def test_default_output(name: str, output: str) -> None:
    assert io.default_output(Path("folder") / name) == Path("folder") / output


def test_checksum(tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "a.tif").write_bytes(b"pixels")
    assert io.checksum(tmp_path / "a.tif") == hashlib.sha256(b"pixels").hexdigest()
    folder = tmp_path / "a.zarr"
    (folder / "0").mkdir(parents=True)
    (folder / "0" / "c").write_bytes(b"1")
    first = io.checksum(folder)
    (folder / "0" / "c").write_bytes(b"2")
    assert io.checksum(folder) != first


def test_importing_io_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = ["torch", "zarr", "tifffile", "PIL", "pydantic"]
    code = f"import sys, noisewise.io; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_large_files_become_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from noisewise.io import tiff_write

    monkeypatch.setattr(tiff_write, "CLASSIC_LIMIT", 1000)
    pixels = image((3, 17, 23), "uint16")
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "b.tif", pixels, photometric="minisblack")
    for name, kind in (("a.tif", "ome"), ("b.tif", "shaped")):
        with tifffile.TiffFile(write_copy(tmp_path / name)) as file:
            assert file.is_bigtiff and file.series[0].kind == kind
            np.testing.assert_array_equal(file.asarray(), pixels)


def test_an_output_of_another_shape_gets_new_metadata(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", image((3, 17, 23), "uint16"), imagej=True, metadata={"axes": "TYX"})
    source = io.open_source(tmp_path / "a.tif")
    source.shape, source.axes = (17, 23), "YX"
    with io.create_sink(tmp_path / "mean.tif", source) as sink:
        sink.write(source.everything, np.full((17, 23), 7))
    assert tifffile.imread(tmp_path / "mean.tif").shape == (17, 23)


def test_xml_description_stays_xml(tmp_path: Path) -> None:
    from xml.etree import ElementTree

    tifffile.imwrite(tmp_path / "a.tif", image((17, 23), "uint8"), description="<scan a='1'/>", metadata=None)
    with tifffile.TiffFile(write_copy(tmp_path / "a.tif")) as file:
        text = file.pages[0].description
    assert ElementTree.fromstring(text).attrib == {"a": "1"}
    assert json.loads(text.split("<!--")[1].split("-->")[0]) == {"noisewise": PROVENANCE}
