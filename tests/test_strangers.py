"""Files from strangers, and things that go wrong on disk: one sentence, nothing lost, nothing written elsewhere."""

import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from safetensors import safe_open
from safetensors.torch import save

import noisewise as nw
from noisewise import cli
from noisewise.container import KEY, with_checksum
from noisewise.io import create_sink, open_source
from noisewise.io import files as drafts
from noisewise.io.files import Draft
from noisewise.io.mapped import FileArray
from noisewise.noise.models.poisson_gaussian import PoissonGaussian

RNG = np.random.default_rng(0)
IMAGE = RNG.poisson(100, (64, 64)).astype(np.uint16)
QUICK = {"method": "n2v", "steps": 1, "average": False, "network": "classic", "depth": 1, "batch_size": 2}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ome_zarr(path, levels=("0", "1"), **options):
    """An OME-Zarr with a pyramid whose levels have these paths; arrays are at 0 and 1."""
    axes = [{"name": name, "type": "space"} for name in "yx"]
    datasets = [
        {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": [2.0**i] * 2}]}
        for i, level in enumerate(levels)
    ]
    multiscales = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    group = zarr.create_group(path, zarr_format=2, attributes={"multiscales": multiscales})
    for name, image in (("0", IMAGE), ("1", IMAGE[::2, ::2])):
        array = group.create_array(name, shape=image.shape, chunks=(32, 32), dtype="uint16", **options)
        array[:] = image
    return path


# -- paths in metadata -------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", ["absolute", "../other.zarr", "x/../../other.zarr", "..\\other.zarr", "link"])
def test_levels_of_a_zarr_lie_inside_it(here, name, first):
    other = zarr.create_array("other.zarr", shape=(32, 32), chunks=(32, 32), dtype="uint16")
    other[:] = 7
    path = str(here / "other.zarr") if name == "absolute" else name
    ome_zarr("in.zarr", [path, "0"] if first else ["0", path])
    (here / "in.zarr/link").symlink_to(here / "other.zarr")
    with pytest.raises(nw.UserError, match="not inside it"):
        open_source("in.zarr")
    assert (zarr.open_array("other.zarr", mode="r")[:] == 7).all()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_files_of_an_ome_set_lie_in_its_folder():
    tifffile.imwrite("outside.tif", IMAGE)
    Path("in").mkdir()
    os.mkfifo("in/pipe.ome.tif")
    for name, words in (("../outside.tif", "not inside it"), ("pipe.ome.tif", "not a file")):
        tifffile.imwrite("in/a.ome.tif", np.stack([IMAGE] * 2), metadata={"axes": "TYX"})
        with tifffile.TiffFile("in/a.ome.tif") as file:
            xml = file.ome_metadata
        uuid = f'<UUID FileName="{name}">urn:uuid:1</UUID>'
        xml = xml.replace("</Pixels>", f'<TiffData IFD="0" FirstT="1" PlaneCount="1">{uuid}</TiffData></Pixels>')
        tifffile.imwrite("in/a.ome.tif", np.stack([IMAGE] * 2), description=xml.encode(), metadata=None)
        with pytest.raises(nw.UserError, match=words):
            open_source("in/a.ome.tif")
    os.mkfifo("pipe.tif")
    with pytest.raises(nw.UserError, match="not a regular file"):
        open_source("pipe.tif")


# -- sizes and codecs --------------------------------------------------------------------------------


def test_a_list_of_pages_without_end():
    tifffile.imwrite("a.tif", IMAGE)
    data = bytearray(Path("a.tif").read_bytes())
    first = int.from_bytes(data[4:8], "little")
    end = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[end : end + 4] = first.to_bytes(4, "little")
    Path("a.tif").write_bytes(data)
    with pytest.raises(nw.UserError, match="has no end"):
        open_source("a.tif")


def test_more_planes_than_a_file_can_hold():
    tifffile.imwrite("a.ome.tif", IMAGE, metadata={"axes": "YX"})
    with tifffile.TiffFile("a.ome.tif") as file:
        xml = file.ome_metadata.replace('SizeT="1"', 'SizeT="100000000"')
    tifffile.imwrite("a.ome.tif", IMAGE, description=xml.encode(), metadata=None)
    with pytest.raises(nw.UserError, match="states 100000000 planes"):
        open_source("a.ome.tif")


def test_a_compressed_tiff_that_expands_beyond_its_size():
    tifffile.imwrite("a.tif", IMAGE, compression="zlib", rowsperstrip=64)
    bomb = zlib.compress(bytes(50_000_000))
    with tifffile.TiffFile("a.tif", mode="r+") as file:
        page = file.pages[0]
        page.tags["StripByteCounts"].overwrite([len(bomb)])
        page.tags["StripOffsets"].overwrite([2**16])
    with Path("a.tif").open("r+b") as file:
        file.seek(2**16)
        file.write(bomb)
    with pytest.raises(nw.UserError, match="cannot be read as TIFF"):
        open_source("a.tif").read()


def blosc_with(position, value):
    """Damage the header of a Blosc chunk."""

    def damage(chunk):
        return chunk[:position] + value + chunk[position + len(value) :]

    return damage


CHUNKS = {
    "blosc length": ({"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}, blosc_with(12, b"\xff\xff\xff\x7f")),
    "blosc size": ({"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}, blosc_with(4, b"\xff\xff\xff\x7f")),
    "blosc block": ({"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}, blosc_with(16, b"\xff\xff\xff\x7f")),
    "gzip": ({"id": "gzip", "level": 5}, lambda _: gzip.compress(bytes(30_000_000))),
    "zlib": ({"id": "zlib", "level": 5}, lambda _: zlib.compress(bytes(30_000_000))),
    "lz4": ({"id": "lz4", "acceleration": 1}, lambda chunk: b"\xff\xff\xff\x7f" + chunk[4:]),
    "zstd": ({"id": "zstd", "level": 1}, lambda chunk: chunk[:4] + b"\xa0" + b"\xff\xff\xff\x7f" + chunk[7:]),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_damaged_chunks_of_a_zarr_are_refused(name):
    import numcodecs

    config, damage = CHUNKS[name]
    ome_zarr("a.zarr", compressors=numcodecs.get_codec(config))
    assert (open_source("a.zarr").read() == IMAGE).all()
    chunk = Path("a.zarr/0/1.0")
    chunk.write_bytes(damage(chunk.read_bytes()))
    with pytest.raises(nw.UserError, match="cannot be read as Zarr"):
        open_source("a.zarr").read()


@pytest.mark.parametrize("change", [{"compressor": {"id": "pickle"}}, {"filters": [{"id": "base64"}]}])
def test_codecs_that_are_not_for_images_are_refused(change):
    ome_zarr("a.zarr")
    metadata = Path("a.zarr/0/.zarray")
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | change))
    with pytest.raises(nw.UserError):
        open_source("a.zarr").read()


def test_chunks_far_larger_than_the_image_are_refused():
    ome_zarr("a.zarr")
    metadata = Path("a.zarr/0/.zarray")
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"chunks": [10**6, 10**6]}))
    with pytest.raises(nw.UserError, match="larger than the image"):
        open_source("a.zarr")


def test_shapes_of_npy_files_are_whole_numbers():
    np.save("a.npy", IMAGE)
    data = Path("a.npy").read_bytes().replace(b"(64, 64), ", b"(True,64),")
    Path("a.npy").write_bytes(data)
    with pytest.raises(nw.UserError, match="not a NumPy file"):
        open_source("a.npy")


# -- model and noise files ---------------------------------------------------------------------------


def resealed(path, change):
    """Change the header of a file of noisewise, with a right checksum."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()[KEY])
    header.pop("sha256")
    change(header)
    path.write_bytes(save(tensors, {KEY: with_checksum(json.dumps(header), tensors)}))


def places(value, path=()):
    """Paths to all values of a JSON object."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value[:2]):
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def put(header, path, value):
    for key in path[:-1]:
        header = header[key]
    if value is places:
        del header[path[-1]]
    else:
        header[path[-1]] = value


@pytest.mark.parametrize("holds", ["model", "noise"])
def test_sealed_files_with_wrong_content_are_refused(here, holds, capsys):
    noise = PoissonGaussian(2.0, 60.0, 3.0)
    original = here / "original.safetensors"
    if holds == "model":
        nw.train("pn2v", IMAGE, noise=noise, steps=1, network="classic", depth=1, batch_size=2).save(original)
    else:
        noise.save(original)
    with safe_open(original, "pt") as file:
        found = list(places(json.loads(file.metadata()[KEY])))
    rng, path, refused = np.random.default_rng(0), here / "changed.safetensors", 0
    nested: list = []
    for _ in range(900):
        nested = [nested]
    for place in found:
        for value in rng.permutation(np.array([places, None, "x", -1, 1e300, [], {}, True, nested], object))[:2]:
            shutil.copy(original, path)
            resealed(path, lambda header, place=place, value=value: put(header, place, value))
            try:
                loaded = nw.load(path) if holds == "model" else nw.load_noise(path)
                assert loaded is not None
            except nw.UserError:
                refused += 1
            assert cli.main(["info", str(path)]) in (0, 2)
    assert refused > len(found) / 2
    assert "unexpected" not in capsys.readouterr().err


def test_a_header_that_asks_for_a_huge_network_is_refused(here):
    path = here / "m.safetensors"
    nw.train("n2v", IMAGE, steps=1, network="classic", depth=1, batch_size=2).save(path)
    resealed(path, lambda header: header["settings"].update(features=1024, depth=6))
    with pytest.raises(nw.UserError, match="larger network"):
        nw.load(path)


@pytest.mark.parametrize("changes", [{"channels": 10**9}, {"size": [8]}, {"std": [1.0, 1.0]}])
def test_a_header_whose_numbers_contradict_each_other_is_refused(here, changes):
    path = here / "m.safetensors"
    nw.train("n2v", IMAGE, steps=1, features=8, depth=1, batch_size=2).save(path)
    resealed(path, lambda header: header["spec"].update(changes))
    with pytest.raises(nw.UserError, match="contradict each other"):
        nw.load(path)


def test_a_model_file_does_not_name_a_file_to_read(here):
    tifffile.imwrite("clean.tif", np.stack([IMAGE] * 2).astype(np.float32), photometric="minisblack")
    scenes, noise = str(here / "clean.tif"), PoissonGaussian(2.0, 60.0, 3.0)
    small = {"network": "fast", "features": 8, "batch_size": 2}
    model = nw.train("simulated", IMAGE, noise=noise, steps=1, scenes=scenes, **small)
    model.train_state.steps = 2
    with pytest.raises(nw.UserError, match="give these scenes again"):
        nw.train("simulated", IMAGE, noise=noise, resume=model, **small)
    assert nw.train("simulated", IMAGE, noise=noise, resume=model, scenes=scenes, **small).train_state.step == 2


def test_escape_sequences_are_printed_as_text(capsys):
    axes = {"axes": "CYX", "Channel": {"Name": ["\x1b[31mred", "b"]}}
    tifffile.imwrite("a.ome.tif", np.stack([IMAGE] * 2), metadata=axes)
    ome_zarr("a.zarr")
    attributes = Path("a.zarr/.zattrs")
    attributes.write_text(json.dumps(json.loads(attributes.read_text()) | {"noisewise": {"method": "\x1b[2Jn2v"}}))
    for name in ("a.ome.tif", "a.zarr", "\x1b[2Jno.tif"):
        assert cli.main(["info", name]) in (0, 2)
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err and "\\x1b" in printed.err


# -- drafts and outputs ------------------------------------------------------------------------------


def ended_process():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_drafts_of_killed_processes_are_removed(here):
    pid = ended_process()
    for name in (f".out.tif.{drafts.host()}-{pid}-00aa.part", f".other.tif.{drafts.host()}-{pid}-00aa.part"):
        (here / name).write_bytes(b"draft")
    Draft(here / "out.tif").discard()
    assert [path.name for path in here.iterdir()] == [f".other.tif.{drafts.host()}-{pid}-00aa.part"]


def test_outputs_with_the_longest_names(here):
    name = "細" * 83 + ".tif"  # 253 bytes
    nw.denoise(IMAGE, output=name, **QUICK)
    assert [path.name for path in here.iterdir()] == [name]


def test_an_old_output_that_a_kill_left_aside_is_restored(here):
    ome_zarr("out.zarr")
    Path("out.zarr").rename(f".out.zarr.{drafts.host()}-{ended_process()}-00aa.old")
    with pytest.raises(nw.UserError, match="exists already"):
        Draft(here / "out.zarr", folder=True)
    assert (open_source("out.zarr").read() == IMAGE).all()


@pytest.mark.skipif(os.name == "nt", reason="other processes are not asked there")
def test_an_output_that_another_process_writes_is_refused(here):
    (here / f".out.tif.{drafts.host()}-{os.getppid()}-00aa.part").touch()
    with pytest.raises(nw.UserError, match="another process"):
        nw.denoise(IMAGE, output="out.tif", **QUICK)
    (here / f".m.safetensors.{drafts.host()}-{os.getppid()}-00aa.part").touch()
    with pytest.raises(nw.UserError, match="another process"):
        nw.train("n2v", IMAGE, steps=1, output="m.safetensors")


def test_a_link_is_followed_and_stays(here):
    tifffile.imwrite("a.tif", IMAGE)
    Path("results").mkdir()
    (here / "results/real.tif").write_bytes(b"old")
    Path("out.tif").symlink_to("results/real.tif")
    nw.denoise("a.tif", output="out.tif", overwrite=True, **QUICK)
    assert Path("out.tif").is_symlink() and tifffile.imread("results/real.tif").shape == (64, 64)


def test_a_folder_is_removed_while_threads_write_into_it(here):
    sink = create_sink(here / "out.zarr", open_source(IMAGE))
    stop = threading.Event()

    def write():
        for number in range(200):
            if stop.is_set():
                return
            folder = sink.draft.temporary / "0"
            with contextlib.suppress(FileNotFoundError, FileExistsError):  # removed in between, also while mkdir looks
                folder.mkdir(parents=True, exist_ok=True)
                (folder / str(number)).write_bytes(b"chunk")

    thread = threading.Thread(target=write)
    thread.start()
    sink.discard()
    thread.join()
    stop.set()
    sink.discard()
    assert not list(here.iterdir())


# -- inputs and outputs that change during the work --------------------------------------------------


def changed_during(monkeypatch, action):
    """Call an action after the first pixels of the output have been written."""
    from noisewise.predict.run import Predictor

    original = Predictor.predict_to

    def predict_to(self, *arguments):
        original(self, *arguments)
        action()

    monkeypatch.setattr(Predictor, "predict_to", predict_to)


@pytest.mark.parametrize("output", ["out.tif", "out.zarr"])
def test_an_input_that_changes_gives_no_output(here, monkeypatch, output):
    ome_zarr("a.zarr")
    tifffile.imwrite("a.tif", IMAGE)
    changed_during(monkeypatch, lambda: Path("a.tif").write_bytes(Path("a.tif").read_bytes() + b"x"))
    with pytest.raises(nw.UserError, match="changed while it was read"):
        nw.denoise("a.tif", output=output, **QUICK)
    monkeypatch.undo()
    monkeypatch.chdir(here)
    changed_during(monkeypatch, lambda: Path("a.zarr/0/1.1").unlink(missing_ok=True))
    with pytest.raises(nw.UserError, match="changed while it was read"):
        nw.denoise("a.zarr", output=output, **QUICK)
    assert sorted(path.name for path in here.iterdir()) == ["a.tif", "a.zarr"]


@pytest.mark.parametrize("output", ["out.tif", "out.npy", "out.zarr"])
def test_an_output_that_vanishes_is_an_error(here, monkeypatch, output):
    def vanish():
        for path in here.glob(".out*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    changed_during(monkeypatch, vanish)
    with pytest.raises(nw.UserError):
        nw.denoise(IMAGE, output=output, **QUICK)
    assert not list(here.iterdir())


def test_a_file_that_becomes_shorter_is_an_error(here):
    np.save("a.npy", np.stack([IMAGE] * 4))
    tifffile.imwrite("a.tif", np.stack([IMAGE] * 4), photometric="minisblack")
    for name in ("a.npy", "a.tif"):
        with open_source(name) as source:
            os.truncate(name, 5000)
            with pytest.raises(nw.UserError, match="become shorter"):
                source.read()


def test_regions_of_a_file(here):
    array = RNG.integers(0, 1000, (3, 4, 5, 6)).astype(">u2")
    (here / "a.bin").write_bytes(b"header" + array.tobytes())
    file = FileArray(here / "a.bin", array.dtype, 6, array.shape)
    for _ in range(100):
        region = tuple(slice(*sorted(RNG.integers(0, size + 1, 2))) for size in array.shape)
        region = tuple(part if RNG.random() < 0.6 else slice(0, n) for part, n in zip(region, array.shape, strict=True))
        np.testing.assert_array_equal(file[region], array[region])


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal")
def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert cli.main(["--version"]) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
