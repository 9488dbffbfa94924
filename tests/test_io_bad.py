"""Invalid input: one readable error, no traceback, and no files left."""

from __future__ import annotations

import errno
import logging
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from noisewise import io
from noisewise.errors import UserError
from noisewise.io.formats import npy

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tiff_bytes(**options: Any) -> bytes:
    buffer = BytesIO()
    pixels = np.arange(3 * 16 * 20, dtype=np.uint16).reshape(3, 16, 20)
    tifffile.imwrite(buffer, pixels, **{"photometric": "minisblack", **options})
    return buffer.getvalue()


VALID = {
    "plain": tiff_bytes(),
    "zlib": tiff_bytes(compression="zlib", rowsperstrip=5),
    "ome": tiff_bytes(ome=True, metadata={"axes": "ZYX"}),
    "imagej": tiff_bytes(imagej=True, metadata={"axes": "ZYX", "Labels": ["a", "b", "c"]}),
    "big": tiff_bytes(bigtiff=True, metadata=None),
    "tiles": tiff_bytes(tile=(16, 16)),
}


def read_or_refuse(path: Path) -> np.ndarray | None:
    """The pixels, or None after a UserError that names the file or a note on missing planes; else the test fails."""
    try:
        with io.open_source(path) as source:
            pixels = source.read()
        return None if any("not closed" in note or "stopped" in note for note in source.notes) else pixels
    except UserError as error:
        message = str(error)
    assert path.name in message and "\n" not in message
    return None


# ---------------------------------------------------------------- files that are not images


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy"])
def test_empty_and_foreign_files(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    for content in (
        b"",
        b"not an image at all",
        b"II*\0",
        b"MM\0*\0\0\0\x08",
        b"\x89PNG\r\n\x1a\n",
        b"\x93NUMPY\x01\0",
    ):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"a\{suffix}"):
            io.open_source(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy"])
@quick
@given(content=st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    heads = {".tif": b"II*\0\x08\0\0\0", ".png": b"\x89PNG\r\n\x1a\n", ".npy": b"\x93NUMPY\x01\0"}
    for head in (b"", heads[suffix]):
        path.write_bytes(head + content)
        read_or_refuse(path)


@pytest.mark.parametrize("kind", list(VALID))
@quick
@given(data=st.data())
def test_truncated_tiff_is_never_read_as_if_whole(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    path = tmp_path / "a.tif"
    content = VALID[kind]
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    pixels = read_or_refuse(path)
    # A file that lost only metadata may be read, but with all of its pixels.
    if pixels is not None:
        np.testing.assert_array_equal(pixels.ravel(), np.arange(3 * 16 * 20))


@pytest.mark.parametrize("kind", list(VALID))
@quick
@given(data=st.data())
def test_flipped_bytes(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    content = bytearray(VALID[kind])
    places = st.integers(0, len(content) - 1) | st.integers(0, 400)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4)):
        content[place] = value
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    pixels = read_or_refuse(path)
    if pixels is not None:
        with io.open_source(path) as source, io.create_sink(tmp_path / "b.tif", source, overwrite=True) as sink:
            sink.write(source.everything, pixels)


@quick
@given(data=st.data())
def test_flipped_bytes_in_png_and_npy(tmp_path: Path, data: st.DataObject) -> None:
    png, array = BytesIO(), BytesIO()
    Image.fromarray(np.arange(99, dtype=np.uint8).reshape(9, 11)).save(png, "PNG")
    np.save(array, np.zeros((9, 11)))
    for name, buffer in (("a.png", png), ("a.npy", array)):
        content = bytearray(buffer.getvalue())
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(1, len(content)))
        (tmp_path / name).write_bytes(content[:cut])
        read_or_refuse(tmp_path / name)


def test_truncation_is_reported(tmp_path: Path) -> None:
    for kind in ("plain", "zlib", "imagej", "big"):
        (tmp_path / "a.tif").write_bytes(VALID[kind][: len(VALID[kind]) * 3 // 4])
        with pytest.raises(UserError, match="truncated"):
            io.open_source(tmp_path / "a.tif")
    np.save(tmp_path / "a.npy", np.zeros((30, 30)))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-100])
    with pytest.raises(UserError, match="truncated"):
        io.open_source(tmp_path / "a.npy")


def test_tiff_log_does_not_leak(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.tif").write_bytes(VALID["plain"][:-500])
    with pytest.raises(UserError):
        io.open_source(tmp_path / "a.tif")
    assert caplog.records == []
    logging.getLogger("tifffile").warning("still works elsewhere")
    assert len(caplog.records) == 1


def test_missing_codec_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Table(dict[int, Any]):
        def __getitem__(self, key: int) -> Any:
            raise KeyError(f"{key} requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", Table())
    (tmp_path / "a.tif").write_bytes(VALID["zlib"])
    with pytest.raises(UserError, match=r"a\.tif: .*: pip install imagecodecs$"):
        io.open_source(tmp_path / "a.tif")


# ---------------------------------------------------------------- pixels that are not images


@pytest.mark.parametrize("dtype", ["complex64", "bool", "U3", "S2", "object", "V4", "datetime64[s]", [("a", "f4")]])
def test_pixel_types_that_are_refused(tmp_path: Path, dtype: Any) -> None:
    pixels = np.zeros((5, 6), dtype)
    with pytest.raises(UserError, match="pixels"):
        io.open_source(pixels)
    np.save(tmp_path / "a.npy", pixels, allow_pickle=True)
    with pytest.raises(UserError, match=r"a\.npy"):
        io.open_source(tmp_path / "a.npy")


def test_masks_are_refused(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((16, 24)) > 0.5
    tifffile.imwrite(tmp_path / "a.tif", mask)
    Image.fromarray(mask).save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        with pytest.raises(UserError, match="mask"):
            io.open_source(tmp_path / name)


def test_complex_tiff_and_deep_colour_png(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 6), "complex64"))
    with pytest.raises(UserError, match="complex64"):
        io.open_source(tmp_path / "a.tif")
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x05\0\0\0\x05\x10\x02\0\0\0"
    (tmp_path / "a.png").write_bytes(header)
    with pytest.raises(UserError, match="16-bit colour"):
        io.open_source(tmp_path / "a.png")


@pytest.mark.parametrize("shape", [(), (5,), (0, 5), (3, 0, 5)])
def test_shapes_that_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"two dimensions|length zero"):
        io.open_source(np.zeros(shape, "uint8"))
    np.save(tmp_path / "a.npy", np.zeros(shape, "uint8"))
    with pytest.raises(UserError, match=r"a\.npy.*(two dimensions|length zero)"):
        io.open_source(tmp_path / "a.npy")


def test_axes_errors_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(VALID["plain"])
    for axes in ("YX", "ZZYX", "QYX", "TZY"):
        with pytest.raises(UserError, match=r"a\.tif.*axes"):
            io.open_source(tmp_path / "a.tif", axes=axes)
    assert io.open_source(tmp_path / "a.tif", axes="zyx").axes == "ZYX"


def test_paths_that_are_refused(tmp_path: Path) -> None:
    for name, words in (
        ("gone.tif", "no such file"),
        ("", "folder"),
        ("a.txt", "unknown format"),
        ("a.vsi", "OME-TIFF"),
    ):
        if name.startswith("a."):
            (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UserError, match=words):
            io.open_source(tmp_path / name)
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(UserError, match="folder"):
        io.open_source(tmp_path / "folder.tif")
    with pytest.raises(UserError, match="not an image"):
        io.open_source(Unreadable())


class Unreadable:
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("no")


def test_png_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.zeros((50, 50), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UserError, match="save it as TIFF"):
        io.open_source(tmp_path / "a.png")


# ---------------------------------------------------------------- outputs


@pytest.mark.parametrize("name", ["b.tif", "b.ome.tif", "b.npy", "b.png", "b.zarr"])
def test_nothing_is_left_after_an_exception(tmp_path: Path, name: str) -> None:
    source = io.open_source(np.zeros((16, 20), "uint8"))
    with pytest.raises(RuntimeError, match="stop"), io.create_sink(tmp_path / name, source) as sink:  # noqa: PT012
        sink.write(source.everything, source.read())
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["b.tif", "b.npy", "b.png", "b.zarr"])
def test_existing_output_is_kept_unless_overwritten(tmp_path: Path, name: str) -> None:
    source = io.open_source(np.full((16, 20), 7, "uint8"))
    for overwrite in (False, True):
        with io.create_sink(tmp_path / name, source, overwrite=overwrite) as sink:
            sink.write(source.everything, source.read())
        with pytest.raises(UserError, match="exists already"):
            io.create_sink(tmp_path / name, source)
    np.testing.assert_array_equal(io.open_source(tmp_path / name).read(), source.read())
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_output_must_not_be_the_input(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(VALID["plain"])
    (tmp_path / "link.tif").symlink_to(path)
    source = io.open_source(path)
    for same in (path, tmp_path / "link.tif", tmp_path / "x" / ".." / "a.tif"):
        with pytest.raises(UserError, match="input itself"):
            io.create_sink(same, source, overwrite=True)
    linked = io.open_source(tmp_path / "link.tif")
    with pytest.raises(UserError, match="input itself"):
        io.create_sink(path, linked, overwrite=True)
    assert path.read_bytes() == VALID["plain"]


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    source = io.open_source(np.zeros((16, 20), "uint8"))
    for name, words in (("gone/b.tif", "does not exist"), ("b.xyz", "unknown format"), ("b.lsm", "not written")):
        with pytest.raises(UserError, match=words):
            io.create_sink(tmp_path / name, source)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="does not exist"):
        io.create_sink(tmp_path / "file" / "b.tif", source)
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(UserError, match="folder"):
        io.create_sink(tmp_path / "folder.tif", source, overwrite=True)
    with pytest.raises(UserError, match="pixels"):
        io.create_sink(tmp_path / "b.tif", source, "complex64")


@pytest.mark.parametrize("name", ["b.tif", "b.npy", "b.png", "b.zarr"])
def test_read_only_folder(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match="cannot be written"):
        io.create_sink(tmp_path / name, io.open_source(np.zeros((16, 20), "uint8")))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve disk blocks")
@pytest.mark.parametrize("name", ["b.tif", "b.npy"])
def test_a_full_disk_is_found_before_the_work(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match="disk is full"):
        io.create_sink(tmp_path / name, io.open_source(np.zeros((16, 20), "uint8")))
    assert list(tmp_path.iterdir()) == []


def test_failing_commit_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = io.open_source(np.zeros((16, 20), "uint8"))
    for name, owner, method in (("b.png", Image.Image, "save"), ("b.tif", npy.np.memmap, "flush")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, lambda *_, **__: full())
            sink = io.create_sink(tmp_path / name, source)
            with pytest.raises(UserError, match="disk is full"), sink:
                sink.write(source.everything, source.read())
        assert list(tmp_path.iterdir()) == []


def test_closed_sink_refuses_pixels(tmp_path: Path) -> None:
    source = io.open_source(np.zeros((16, 20), "uint8"))
    sink = io.create_sink(tmp_path / "b.tif", source)
    sink.commit()
    sink.discard()
    assert (tmp_path / "b.tif").exists()
    with pytest.raises(RuntimeError, match="closed"):
        sink.write(source.everything, source.read())


def test_outputs_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with io.create_sink(tmp_path / "b.tif", io.open_source(np.zeros((16, 20), "uint8"))):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "b.tif").stat().st_mode & 0o777 == 0o640
