"""Recordings of microscopes: ND2, LIF, CZI, MRC and HDF5, pixel by pixel, with their metadata."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile

import noisewise as nw
from noisewise.errors import UserError
from noisewise.io import create_sink, default_output, find_inputs, open_images, open_source
from noisewise.io.pieces import Pieces
from tests.recordings import FRAME_S, PIXEL_UM, STEP_UM, write_czi, write_lif, write_nd2

DYES = ["DAPI", "GFP"]
OUTSIDE = (
    '<LMSDataContainerHeader Version="2"><Element Name="a"><Data><Image><ImageDescription><Channels>'
    '<ChannelDescription DataType="0" Resolution="16" BytesInc="0" LUTName="Gray"/></Channels><Dimensions>'
    '<DimensionDescription DimID="1" NumberOfElements="20" Origin="0" Length="1" Unit="m" BytesInc="2"/>'
    '<DimensionDescription DimID="2" NumberOfElements="20" Origin="0" Length="1" Unit="m" BytesInc="40"/>'
    '</Dimensions></ImageDescription></Image></Data><Memory Size="800" MemoryBlockID="M"><Block File="../secret.tif"/>'
    "</Memory></Element></LMSDataContainerHeader>"
)
SCALE = {"T": FRAME_S, "Z": STEP_UM, "Y": PIXEL_UM, "X": PIXEL_UM}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Two positions (P, T, Z, C, Y, X)."""
    return np.random.default_rng(0).integers(0, 4095, (2, 3, 4, 2, 20, 24)).astype(np.uint16)


def lif_images(pixels: np.ndarray) -> dict[str, np.ndarray]:
    return {f"image {i + 1}": np.moveaxis(one, 2, 0) for i, one in enumerate(pixels)}


WRITERS: dict[str, Any] = {
    "nd2": lambda path, pixels: write_nd2(path, pixels, DYES),
    "lif": lambda path, pixels: write_lif(path, lif_images(pixels), DYES),
    "czi": lambda path, pixels: write_czi(path, pixels, DYES),
    "czi zstd0": lambda path, pixels: write_czi(path, pixels, DYES, "zstd0:ExplicitLevel=3"),
    "czi zstd1": lambda path, pixels: write_czi(path, pixels, DYES, "zstd1:ExplicitLevel=2;PreProcess=HiLoByteUnpack"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITERS)
def test_pixels_and_metadata_are_those_of_the_file(tmp_path: Path, kind: str, pixels: np.ndarray) -> None:
    path = WRITERS[kind](tmp_path / f"cells.{kind.split()[0]}", pixels)
    sources = open_images(path)
    assert [source.series for source in sources] == [0, 1]
    for source, truth in zip(sources, pixels, strict=True):
        stored = np.einsum(f"tzcyx->{source.axes.lower()}", truth)
        assert source.dtype == np.uint16
        assert np.array_equal(source.read(), stored)
        region = tuple(slice(1, 2) if size < 10 else slice(3, 17) for size in source.shape)
        assert np.array_equal(source.read(region), stored[region])
        stated = SCALE if "czi" not in kind else {axis: SCALE[axis] for axis in "ZYX"}  # that writer states no interval
        assert source.scale == pytest.approx(stated)
        assert source.channel_names == DYES
        source.close()


def test_one_image_of_a_recording(tmp_path: Path, pixels: np.ndarray) -> None:
    path = write_nd2(tmp_path / "cells.nd2", pixels, DYES)
    (second,) = open_images(path, series=1)
    assert np.array_equal(second.read(), pixels[1])
    with pytest.raises(UserError, match="contains 2 images, numbered from 0, and none with number 2"):
        open_images(path, series=2)


def test_bits_of_the_camera_are_its_saturation(tmp_path: Path, pixels: np.ndarray) -> None:
    assert open_source(write_nd2(tmp_path / "cells.nd2", pixels, DYES, bits=12)).saturation_level == 4095
    assert open_source(write_nd2(tmp_path / "full.nd2", pixels, DYES, bits=16)).saturation_level == 65535


def test_time_and_place_are_in_the_output(tmp_path: Path, pixels: np.ndarray) -> None:
    source = open_images(write_nd2(tmp_path / "cells.nd2", pixels, DYES))[1]
    assert source.acquisition.stage_um["X"] == 100.0
    with create_sink(tmp_path / "out.ome.tif", source) as sink:
        sink.write(source.everything, source.read())
    with tifffile.TiffFile(tmp_path / "out.ome.tif") as file:
        planes = [one for one in ElementTree.fromstring(file.ome_metadata or "").iter() if one.tag.endswith("Plane")]
        assert np.array_equal(file.asarray(), pixels[1])
    last = planes[-1].attrib
    assert (last["TheT"], last["TheZ"], last["PositionX"]) == ("2", "3", "100.0")
    assert "PositionZ" not in last
    assert float(last["DeltaT"]) - float(planes[0].attrib["DeltaT"]) == FRAME_S * 11
    again = open_source(tmp_path / "out.ome.tif")
    assert (again.axes, again.scale, again.channel_names) == (source.axes, pytest.approx(source.scale), DYES)
    with create_sink(tmp_path / "out.ome.zarr", source) as sink:
        sink.write(source.everything, source.read())
    with open_source(tmp_path / "out.ome.zarr") as stored:
        assert stored.acquisition.stage_um["X"] == 100.0 and stored.acquisition.times_s == source.acquisition.times_s
        assert (stored.scale, stored.notes) == (pytest.approx(source.scale), [])
        assert (source.axes, stored.axes) == ("TZCYX", "TCZYX")  # the order that OME-Zarr requires
        assert np.array_equal(stored.read(), np.swapaxes(pixels[1], 1, 2))


def test_a_recording_is_denoised_as_any_image(tmp_path: Path) -> None:
    noisy = np.random.default_rng(0).poisson(40, (1, 1, 1, 1, 48, 48)).astype(np.uint16)
    write_czi(tmp_path / "cells.czi", noisy)
    result = nw.denoise(tmp_path / "cells.czi", output=tmp_path / "out.ome.tif", method="n2v", steps=2)
    assert result.path is not None
    assert open_source(result.path).axes == "YX"
    assert default_output(tmp_path / "cells.czi").name == "cells_denoised.ome.tif"


def read_all(path: Path) -> None:
    for source in open_images(path):
        source.read()


@pytest.mark.parametrize("kind", ["nd2", "lif", "czi"])
def test_images_of_one_file_are_read_side_by_side(tmp_path: Path, kind: str, pixels: np.ndarray) -> None:
    path = WRITERS[kind](tmp_path / f"cells.{kind}", pixels)
    sources = open_images(path)
    truth = [source.read() for source in sources]

    def read(number: int) -> bool:
        source = sources[number % 2]
        source.release()
        frame = (slice(number % 3, number % 3 + 1), *source.everything[1:])
        return np.array_equal(source.read(frame), truth[number % 2][frame])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(60)))
    sources[0].close()
    assert np.array_equal(sources[1].read(), truth[1])  # the last one closes the file
    sources[1].close()


def test_a_bit_depth_that_pixels_exceed_is_not_believed(tmp_path: Path, pixels: np.ndarray) -> None:
    source = open_source(write_nd2(tmp_path / "sum.nd2", 16 * pixels, DYES, bits=12))
    source.read()
    assert source.saturation_level == 65535


def test_a_project_that_refers_to_other_files_is_refused(tmp_path: Path) -> None:
    """What a file says about paths is not trusted."""
    tifffile.imwrite(tmp_path / "secret.tif", np.zeros((20, 20), np.uint16))
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/a.lif").write_text(OUTSIDE)
    with pytest.raises(UserError, match=r"refers to other files|cannot be read as LIF"):
        open_images(tmp_path / "inside/a.lif")


@pytest.mark.parametrize("kind", ["nd2", "lif", "czi"])
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path: Path, kind: str, pixels: np.ndarray) -> None:
    path = WRITERS[kind](tmp_path / f"cells.{kind}", pixels)
    content = path.read_bytes()
    for end in (0, 20, len(content) // 3):
        path.write_bytes(content[:end])
        with pytest.raises(UserError, match=r"cells\.\w+: "):
            read_all(path)
    path.write_bytes(b"no recording" * 100)
    with pytest.raises(UserError, match="damaged or of another format"):
        open_images(path)


def test_a_missing_library_is_named(tmp_path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_nd2(tmp_path / "cells.nd2", pixels, DYES)
    monkeypatch.setitem(sys.modules, "nd2", None)
    with pytest.raises(UserError, match=r"package nd2: pip install 'noisewise\[formats\]'"):
        open_images(path)


def test_libraries_are_imported_for_their_files_alone() -> None:
    code = "import sys; from noisewise.io import formats; formats.by_suffix(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"nd2", "liffile", "czifile", "mrcfile", "h5py"} & set(loaded)


# -- MRC -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float32])
def test_mrc_volumes_and_stacks(tmp_path: Path, dtype: Any) -> None:
    volume = np.random.default_rng(0).integers(0, 100, (5, 20, 24)).astype(dtype)
    mrcfile.write(tmp_path / "volume.mrc", volume, voxel_size=13.5)
    source = open_source(tmp_path / "volume.mrc")
    assert (source.axes, source.dtype) == ("ZYX", dtype)
    assert source.scale == pytest.approx(dict.fromkeys("XYZ", 1.35e-3))
    assert np.array_equal(source.read((slice(1, 3), slice(2, 9), slice(0, 24))), volume[1:3, 2:9])
    with mrcfile.new(tmp_path / "stack.mrcs") as file:
        file.set_data(volume)
        file.set_image_stack()
    assert open_source(tmp_path / "stack.mrcs").axes == "SYX"
    assert open_source(tmp_path / "stack.mrcs", axes="TYX").axes == "TYX"


def test_mrc_truncated(tmp_path: Path) -> None:
    mrcfile.write(tmp_path / "volume.mrc", np.zeros((5, 20, 24), np.float32))
    (tmp_path / "volume.mrc").write_bytes((tmp_path / "volume.mrc").read_bytes()[:3000])
    with pytest.raises(UserError, match="is truncated"):
        open_source(tmp_path / "volume.mrc")


# -- HDF5 ----------------------------------------------------------------------------------------------


@pytest.fixture
def hdf5(tmp_path: Path) -> Path:
    """A file with an image, labels, and what is no image."""
    with h5py.File(tmp_path / "cells.h5", "w") as file:
        raw = file.create_dataset("exported/raw", data=np.arange(2400.0).reshape(4, 20, 30), chunks=(1, 10, 10))
        raw.attrs["element_size_um"] = [0.5, 0.1, 0.2]
        raw.attrs["axistags"] = '{"axes": [{"key": "z"}, {"key": "y"}, {"key": "x"}]}'
        file["labels"] = np.ones((4, 20, 30), np.uint8)
        file["table"] = np.arange(5)
    return tmp_path / "cells.h5"


def test_datasets_are_images(hdf5: Path) -> None:
    source = open_source(hdf5)
    assert (source.axes, source.scale) == ("ZYX", {"Z": 0.5, "Y": 0.1, "X": 0.2})
    assert "1 further image" in source.notes[0]
    assert source.read((slice(1, 2), slice(0, 2), slice(0, 2))).ravel().tolist() == [600, 601, 630, 631]


def test_a_dataset_by_name(hdf5: Path) -> None:
    labels = open_source(hdf5 / "labels")
    assert (labels.name, labels.dtype, labels.axes) == ("cells.h5/labels", np.uint8, "SYX")
    assert any("were taken as SYX" in note for note in labels.notes)
    assert find_inputs([hdf5 / "labels"]) == [hdf5 / "labels"]
    assert default_output(hdf5 / "exported/raw").name == "cells_exported_raw_denoised.ome.tif"
    with pytest.raises(UserError, match="no image '/nothing'; its images are: /exported/raw, /labels"):
        open_source(hdf5 / "nothing")


def test_axes_that_do_not_fit_are_not_believed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        for name, shape, keys in (
            ("short", (5, 20, 24), "yx"),
            ("twice", (5, 20, 24), "yyx"),
            ("c", (20, 24, 1), "yxc"),
        ):
            data = file.create_dataset(name, data=np.zeros(shape))
            data.attrs["axistags"] = json.dumps({"axes": [{"key": key} for key in keys]})
        file["six"] = np.zeros((2, 2, 2, 2, 8, 8))
    for name, axes in (("short", "SYX"), ("twice", "SYX"), ("c", "YXC")):
        assert open_source(tmp_path / "odd.h5" / name).axes == axes


def test_pixels_in_other_files_are_not_read(tmp_path: Path, hdf5: Path) -> None:
    """What a file says about paths is not trusted."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(10_000))
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file.create_dataset("raw", (20, 20), np.uint8, external=[(str(secret), 0, 400)])
    with pytest.raises(UserError, match="takes its pixels from other files"):
        open_source(tmp_path / "outside.h5")
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["link"] = h5py.ExternalLink(str(hdf5), "labels")
    with pytest.raises(UserError, match="contains no image"):
        open_source(tmp_path / "linked.h5")


# -- pieces --------------------------------------------------------------------------------------------


def test_gaps_between_pieces_are_zero_and_the_last_pieces_are_kept() -> None:
    decoded: list[int] = []

    def decode(number: int) -> np.ndarray:
        decoded.append(number)
        return np.full((4, 4), number + 1)

    array = Pieces((4, 12), np.dtype(np.uint8), np.array([[0, 0], [0, 8]]), np.array([4, 4]), decode)
    whole = array[slice(0, 4), slice(0, 12)]
    assert whole[0].tolist() == [1] * 4 + [0] * 4 + [2] * 4
    assert array[slice(2, 4), slice(3, 9)].tolist() == [[1, 0, 0, 0, 0, 2]] * 2
    assert decoded == [0, 1]
    array.release()
    assert array[slice(0, 1), slice(8, 9)].tolist() == [[2]]
    assert decoded == [0, 1, 1]


def test_other_formats_are_read_by_bioio(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mrc = pytest.importorskip("mrc")
    pixels = np.random.default_rng(0).integers(0, 4000, (2, 3, 20, 24)).astype(np.uint16)  # (C, Z, Y, X)
    mrc.imsave(tmp_path / "cells.dv", pixels, metadata={"dx": PIXEL_UM, "dy": PIXEL_UM, "dz": STEP_UM})
    with open_source(tmp_path / "cells.dv") as source:
        letters = source.axes.replace("T", "")
        stored = np.einsum(f"czyx->{letters.lower()}", pixels).reshape(source.shape)
        assert np.array_equal(source.read(), stored)
        region = tuple(slice(0, 1) if size < 10 else slice(3, 17) for size in source.shape)
        assert np.array_equal(source.read(region), stored[region])
        assert source.scale == pytest.approx({"Z": STEP_UM, "Y": PIXEL_UM, "X": PIXEL_UM})
    (tmp_path / "short.dv").write_bytes((tmp_path / "cells.dv").read_bytes()[:1500])
    with pytest.raises(UserError, match=r"short\.dv"):
        open_source(tmp_path / "short.dv").read()
    (tmp_path / "a.vsi").write_bytes(b"x")
    with pytest.raises(UserError, match="pip install bioio bioio-bioformats"):
        open_source(tmp_path / "a.vsi")
