"""Files as microscopes leave them: several images in a file, stopped recordings, sets, one bad file among many."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr

import noisewise as nw
from noisewise import cli, io
from noisewise.io import open_images, open_source
from noisewise.io.provenance import read_provenance

from .conftest import blobs

QUICK = {"method": "n2v", "steps": 1, "average": False, "network": "classic", "depth": 1, "batch_size": 2}
FAST = ("--method", "n2v", "--steps", "2", "--average", "no")


def noisy(*shape, seed=0):
    """Poisson noise on a smooth signal, uint16; each plane with its own mean, so that planes can be told apart."""
    rng = np.random.default_rng(seed)
    lead = shape[:-2]
    level = np.arange(int(np.prod(lead))).reshape(*lead, 1, 1)
    return rng.poisson(blobs(shape[-2:], seed) + 5 * level + 1).astype(np.uint16)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A trained model for images with one channel."""
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    nw.train("n2v", noisy(64, 64), steps=1, network="classic", depth=1, batch_size=2).save(path)
    return path


def copied(path, output, axes=None):
    """Copy all images of a file through sources and sinks."""
    sources = open_images(path, axes)
    for source, sink in zip(sources, io.create_sinks(output, sources), strict=True):
        sink.write(source.everything, source.read())
        sink.commit()
    return sources


def positions(path, count=3, shape=(2, 48, 64), **options):
    """An OME-TIFF with several images: names, pixel sizes and pixels differ."""
    pixels = [noisy(*shape, seed=i) for i in range(count)]
    with tifffile.TiffWriter(path, ome=True) as file:
        for i, one in enumerate(pixels):
            size = {f"PhysicalSize{a}": 0.1 + i for a in "XY"} | {f"PhysicalSize{a}Unit": "µm" for a in "XY"}
            metadata = {"axes": "TZCYX"[-one.ndim :] if one.ndim != 3 else "TYX", "Name": f"Pos{i}", **size}
            file.write(one, metadata=metadata, photometric="minisblack", **options)
    return pixels


# -- several images in a file ------------------------------------------------------------------------


def test_all_positions_of_an_ome_tiff(model):
    pixels = positions("a.ome.tif")
    results = nw.load(model).predict("a.ome.tif", output="b.ome.tif", std=False)
    assert len(results) == 3
    with tifffile.TiffFile("b.ome.tif") as file:
        assert [(one.name, one.axes, one.shape) for one in file.series] == [
            (f"Pos{i}", "TYX", (2, 48, 64)) for i in range(3)
        ]
    for number, (result, one) in enumerate(zip(results, pixels, strict=True)):
        output = open_source("b.ome.tif", series=number)
        assert output.scale == pytest.approx({"X": 0.1 + number, "Y": 0.1 + number})
        alone = nw.load(model).predict(one, axes="TYX").mean
        np.testing.assert_allclose(output.read(), alone, atol=0.51)
        np.testing.assert_array_equal(result.mean, output.read().astype(np.float32))
    assert read_provenance(open_source("b.ome.tif"))["series"] == 0  # of the first image, for all


def test_positions_are_denoised_with_one_model():
    positions("a.ome.tif", 2)
    results = nw.denoise("a.ome.tif", output="b.ome.tif", **QUICK)
    assert [result.mean.shape for result in results] == [(2, 48, 64)] * 2
    assert results[0].model is results[1].model
    assert results[0].model.provenance["trained_on"] == ["a.ome.tif, series 0", "a.ome.tif, series 1"]


@pytest.mark.parametrize("command", ["denoise", "predict"])
def test_one_series_is_chosen(command, model, capsys):
    pixels = positions("a.ome.tif")
    asked = ("denoise", "a.ome.tif", *FAST) if command == "denoise" else ("predict", str(model), "a.ome.tif")
    assert cli.main([*asked, "--series", "2", "-o", "b.ome.tif"]) == 0
    with tifffile.TiffFile("b.ome.tif") as file:
        assert [one.name for one in file.series] == ["Pos2"]
    if command == "predict":
        alone = nw.load(model).predict(pixels[2], axes="TYX").mean
        np.testing.assert_allclose(open_source("b.ome.tif").read(), alone, atol=0.51)
    assert cli.main([*asked, "--series", "7", "-o", "c.ome.tif"]) == 2
    assert "contains 3 images, numbered from 0" in capsys.readouterr().err and not Path("c.ome.tif").exists()


def test_measure_and_train_take_all_images_or_one(capsys):
    positions("a.ome.tif")
    assert cli.main(["measure", "a.ome.tif", "--json"]) == 0
    names = [one["image"] for one in json.loads(capsys.readouterr().out)["checkups"]]
    assert names == [f"a.ome.tif, series {i}" for i in range(3)]
    assert cli.main(["measure", "a.ome.tif", "--json", "--series", "1"]) == 0
    assert len(json.loads(capsys.readouterr().out)["checkups"]) == 1
    assert nw.train("n2v", "a.ome.tif", steps=1, series=1).provenance["trained_on"] == ["a.ome.tif"]


def test_functions_take_all_images_or_one(model):
    pixels = positions("a.ome.tif")
    shutil.copy("a.ome.tif", "truth.ome.tif")
    assert len(nw.predict("a.ome.tif", model)) == 3
    alone = nw.predict("a.ome.tif", model, series=1)
    np.testing.assert_array_equal(alone.mean, nw.predict(pixels[1], model, axes="TYX").mean)
    found = nw.evaluate(pixels[::-1], "truth.ome.tif", std=[one + 1 for one in pixels], axes="TYX")
    assert [one.reference for one in found.pairs] == [f"truth.ome.tif, series {i}" for i in range(3)]
    assert found.pairs[1].mean.psnr == np.inf and len(found.calibrations) == 3
    made = nw.simulate("a.ome.tif", photons=20)
    assert made.truth.shape == (2, 48, 64) and any("contains 3 images" in note for note in made.notes)


def test_evaluate_compares_all_images_of_files(model, capsys):
    positions("a.ome.tif")
    assert cli.main(["predict", str(model), "a.ome.tif", "-o", "b.ome.tif"]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", "b.ome.tif", "a.ome.tif", "--std", "a.ome.tif"]) == 0
    printed = capsys.readouterr().out
    assert "b.ome.tif, series 2" in printed and printed.count("ENCE") == 3
    assert cli.main(["evaluate", "b.ome.tif", "a.ome.tif", "--std", "a.ome.tif", "--figure", "a.png"]) == 2
    assert "--figure plots one pair, not 3" in capsys.readouterr().err and not Path("a.png").exists()


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("kind", ["reduced", "colour", "other type"])
def test_previews_are_passed_over(where, kind):
    preview = {
        "reduced": (np.zeros((16, 16), np.uint16), {"subfiletype": 1}),
        "colour": (np.zeros((64, 64, 3), np.uint8), {"photometric": "rgb"}),
        "other type": (np.zeros((16, 16), np.uint8), {}),
    }[kind]
    images = [(noisy(48, 64), {}), (noisy(48, 64, seed=1), {})]
    images.insert(where, preview)
    with tifffile.TiffWriter("a.tif") as file:
        for pixels, options in images:
            file.write(pixels, metadata=None, contiguous=False, **options)
    source = open_source("a.tif")
    assert source.shape == (2, 48, 64) and source.dtype == np.uint16
    np.testing.assert_array_equal(source.read(), [noisy(48, 64), noisy(48, 64, seed=1)])
    assert "1 further image" in source.notes[-1] and "--series" in source.notes[-1]


def test_images_of_different_sizes_in_a_plain_tiff(model):
    with tifffile.TiffWriter("a.tif") as file:
        for shape in ((48, 64), (3, 40, 40)):
            file.write(noisy(*shape), photometric="minisblack", contiguous=False)
    assert cli.main(["predict", str(model), "a.tif", "-o", "b.tif"]) == 0
    assert [source.shape for source in open_images("b.tif")] == [(48, 64), (3, 40, 40)]


def ome_set(count, missing=(), planes=1):
    """Files p0.ome.tif, ... of one set; each has the metadata of all."""
    ids = [f"urn:uuid:00000000-0000-0000-0000-{i:012d}" for i in range(count)]
    data = "".join(
        f'<TiffData FirstT="{i}" IFD="0" PlaneCount="{planes}"><UUID FileName="p{i}.ome.tif">{ids[i]}</UUID></TiffData>'
        for i in range(count)
    )
    pixels = noisy(count, 32, 40)
    for i in set(range(count)) - set(missing):
        xml = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{ids[i]}"><Image ID="Image:0">'
            f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="40" SizeY="32" SizeC="1" SizeZ="1" '
            f'SizeT="{count}"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
        )
        tifffile.imwrite(f"p{i}.ome.tif", pixels[i], description=xml, metadata=None)
    return pixels


@pytest.mark.parametrize("given", [["p0.ome.tif"], ["p2.ome.tif", "p0.ome.tif"], ["."], ["p*.ome.tif"]])
def test_a_set_of_files_is_one_image_however_many_are_named(model, given):
    pixels = ome_set(3)
    assert cli.main(["predict", str(model), *given, "-o", "out/"]) == 0
    (output,) = Path("out").iterdir()
    expected = nw.load(model).predict(pixels, axes="TYX").mean
    np.testing.assert_allclose(open_source(output).read(), expected, atol=0.51)
    assert cli.main(["predict", str(model), *given, "-o", "out/", "--skip-existing"]) == 0
    assert list(Path("out").iterdir()) == [output]


@pytest.mark.parametrize("companion", [True, False])
@pytest.mark.parametrize("given", ["p0.ome.tif", "p1.ome.tif", "."])
def test_a_set_whose_metadata_are_in_one_file(model, companion, given):
    """The other files name it (`BinaryOnly`): another TIFF, or a companion file."""
    pixels = ome_set(3)
    with tifffile.TiffFile("p0.ome.tif") as file:
        xml = file.ome_metadata
    name = "all.companion.ome" if companion else "p0.ome.tif"
    if companion:
        Path(name).write_text(xml.replace('000000000000"><Image', '99"><Image'))
    for i in range(0 if companion else 1, 3):
        link = f'<BinaryOnly MetadataFile="{name}" UUID="urn:uuid:99"/>'
        own = f"urn:uuid:00000000-0000-0000-0000-{i:012d}"
        text = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{own}">{link}</OME>'
        tifffile.imwrite(f"p{i}.ome.tif", pixels[i], description=text, metadata=None)
    assert cli.main(["predict", str(model), given, "-o", "out/"]) == 0
    (output,) = Path("out").iterdir()
    expected = nw.load(model).predict(pixels, axes="TYX").mean
    np.testing.assert_allclose(open_source(output).read(), expected, atol=0.51)


def test_the_metadata_of_a_set_lie_in_its_folder(here):
    (here / "in").mkdir()
    tifffile.imwrite("outside.ome.tif", noisy(2, 32, 40), metadata={"axes": "TYX"})
    link = '<BinaryOnly MetadataFile="../outside.ome.tif" UUID="urn:uuid:99"/>'
    text = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{link}</OME>'
    tifffile.imwrite("in/a.ome.tif", noisy(32, 40), description=text, metadata=None)
    with pytest.raises(nw.UserError, match="not inside it"):
        open_source("in/a.ome.tif")


@pytest.mark.parametrize(("missing", "kept"), [([2], [0, 1]), ([1], [0, 2]), ([0], [1, 2])])
def test_missing_files_of_a_set(missing, kept):
    pixels = ome_set(3, missing)
    source = open_source(f"p{kept[0]}.ome.tif")
    np.testing.assert_array_equal(source.read(), pixels[kept])
    assert source.notes == [
        "the file holds 2 planes, its metadata state 3: files of its OME-TIFF set are missing in the folder; what "
        "exists is denoised"
    ]


# -- recordings that were stopped, and metadata that state other numbers ------------------------------


def pages(path, pixels, description):
    """A TIFF with one page for each plane, and a description in the first."""
    with tifffile.TiffWriter(path) as file:
        for i, plane in enumerate(pixels.reshape(-1, *pixels.shape[-2:])):
            file.write(plane, description=None if i else description, metadata=None, contiguous=False, software=False)


def ome_xml(sizes, blocks=None):
    """OME-XML of an image with these sizes of T, Z, C; blocks: TiffData."""
    xml = tifffile.OmeXml()
    xml.addimage("uint16", (*sizes, 32, 40), (int(np.prod(sizes)), 1, 1, 32, 40, 1), axes="TZCYX")
    return xml.tostring().encode()


SHAPED = json.dumps({"shape": [20, 32, 40], "axes": "TYX"})
PROMISES = {
    "ome": lambda count: ome_xml((count, 1, 1)),
    "imagej": lambda count: f"ImageJ=1.53t\nimages={count}\nframes={count}\nunit=um\nfinterval=2.0\nloop=false\n",
    "shaped": lambda count: SHAPED.replace("20", str(count)),
}


@pytest.mark.parametrize("kind", PROMISES)
@pytest.mark.parametrize("promised", [4, 7, 20])
def test_other_numbers_of_frames_than_stated(kind, promised):
    name = "a.ome.tif" if kind == "ome" else "a.tif"
    pixels = noisy(7, 32, 40)
    pages(name, pixels, PROMISES[kind](promised))
    source = open_source(name)
    assert source.axes == "TYX"
    np.testing.assert_array_equal(source.read(), pixels)
    assert source.notes == [] if promised == 7 else f"holds 7 planes, its metadata state {promised}" in source.notes[0]
    copied(name, "b" + name[1:])
    again = open_source("b" + name[1:])
    assert (again.axes, again.notes, again.scale) == ("TYX", [], source.scale)
    np.testing.assert_array_equal(again.read(), pixels)
    np.testing.assert_array_equal(tifffile.imread("b" + name[1:]), pixels)


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_a_recording_that_was_stopped_within_a_stack(kind):
    """Seven planes of 20 x 3: two time points and a third of the third one."""
    name, whole = ("a.ome.tif" if kind == "ome" else "a.tif"), noisy(3, 3, 32, 40)
    text = ome_xml((20, 3, 1)) if kind == "ome" else "ImageJ=1.53t\nimages=60\nslices=3\nframes=20\nhyperstack=true\n"
    pages(name, whole.reshape(9, 32, 40)[:7], text)
    source = open_source(name)
    assert source.axes == "TZYX" and source.shape == (3, 3, 32, 40)
    whole[2, 1:] = 0
    np.testing.assert_array_equal(source.read(), whole)
    assert "holds 7 planes, its metadata state 60" in source.notes[0]
    result = nw.denoise(name, output="b" + name[1:], **QUICK)
    output = open_source("b" + name[1:])
    assert output.axes == "TZYX" and output.shape == (3, 3, 32, 40)
    assert not output.read()[2, 1:].any() and output.read()[2, 0].all()
    assert any("exactly 0" in note for note in result.notes)


def test_a_recording_that_was_not_closed():
    """The last page announces another one where the file ends; elsewhere the file is damaged."""
    pixels = noisy(5, 32, 40)
    pages("a.tif", pixels, "by hand")
    data = bytearray(Path("a.tif").read_bytes())
    with tifffile.TiffFile("a.tif") as file:
        last = file.pages[4].offset
    pointer = last + 2 + 12 * int.from_bytes(data[last : last + 2], "little")
    data[pointer : pointer + 4] = len(data).to_bytes(4, "little")
    Path("a.tif").write_bytes(data)
    source = open_source("a.tif")
    np.testing.assert_array_equal(source.read(), pixels)
    assert "was not closed" in source.notes[0] and "the 5 planes before it" in source.notes[0]
    data[pointer : pointer + 4] = (len(data) + 500).to_bytes(4, "little")
    Path("a.tif").write_bytes(data)
    with pytest.raises(nw.UserError, match="truncated"):
        open_source("a.tif")


@pytest.mark.parametrize(("frames", "slices"), [(10**9, 10**9), (1, 10**12), (10**12, 1), (-5, 3), (0, 0)])
def test_numbers_of_planes_that_no_file_can_hold(frames, slices):
    pages("a.tif", noisy(5, 32, 40), f"ImageJ=1.53t\nimages=5\nframes={frames}\nslices={slices}\n")
    source = open_source("a.tif")
    assert source.shape == (5, 32, 40)


def test_a_set_of_which_most_is_missing_is_refused():
    data = "".join(f'<TiffData IFD="{i}" FirstT="{i}" FirstZ="{i}" PlaneCount="1"/>' for i in range(5))
    xml = ome_xml((9, 9, 1)).decode()
    xml = xml[: xml.index("<TiffData")] + data + xml[xml.index("</Pixels>") :]
    pages("a.ome.tif", noisy(5, 32, 40), xml.encode())
    with pytest.raises(nw.UserError, match="contains 5 of the 81 planes"):
        open_source("a.ome.tif")


# -- one bad file among many -------------------------------------------------------------------------


def bad(name):
    """A file that cannot be opened, or whose pixels cannot be decoded."""
    if name == "cut.tif":
        tifffile.imwrite(name, noisy(64, 64))
        Path(name).write_bytes(Path(name).read_bytes()[:3000])
    elif name == "damaged.tif":
        tifffile.imwrite(name, noisy(64, 64), compression="zlib", rowsperstrip=64)
        with tifffile.TiffFile(name) as file:
            offset = file.pages[0].dataoffsets[0]
        data = bytearray(Path(name).read_bytes())
        data[offset + 2 : offset + 40] = bytes(38)
        Path(name).write_bytes(data)
    elif name == "text.tif":
        Path(name).write_text("no image")
    elif name == "colours.tif":
        tifffile.imwrite(name, np.stack([noisy(64, 64)] * 3, -1), photometric="rgb")
    return name


@pytest.mark.parametrize("command", ["denoise", "predict"])
@pytest.mark.parametrize("name", ["cut.tif", "damaged.tif", "text.tif", "missing.tif", "colours.tif", "unknown.xyz"])
def test_one_bad_file_does_not_stop_the_others(command, name, model, capsys):
    for other in ("a.tif", "z.tif"):
        tifffile.imwrite(other, noisy(64, 64))
    asked = ("denoise", *FAST) if command == "denoise" else ("predict", str(model))
    assert cli.main([*asked, "a.tif", bad(name), "z.tif"]) == 3
    out, err = capsys.readouterr()
    assert out.split() == ["a_denoised.tif", "z_denoised.tif"]
    assert all(Path(path).exists() for path in out.split()) and not list(Path().glob(f"{name[:3]}*_denoised*"))
    lines = err.splitlines()
    assert sum(line.startswith("error: ") and name in line for line in lines) == 1
    assert "2 of 3 inputs done, 1 could not be used" in err
    assert cli.main([*asked, "a.tif", bad(name), "z.tif", "--overwrite", "--json"]) == 3
    record = json.loads(capsys.readouterr().out)
    assert record["output"] == ["a_denoised.tif", "z_denoised.tif"]
    assert [one["input"] for one in record["failed"]] == [name] and name in record["failed"][0]["error"]


@pytest.mark.parametrize("command", ["denoise", "predict", "measure", "train"])
def test_if_no_file_can_be_used(command, model, capsys):
    asked = {
        "denoise": ["denoise"],
        "predict": ["predict", str(model)],
        "measure": ["measure"],
        "train": ["train", "n2v"],
    }
    more = ["-o", "out.safetensors"] if command == "train" else []
    assert cli.main([*asked[command], bad("cut.tif"), bad("text.tif"), *more]) == 2
    err = capsys.readouterr().err
    assert "cut.tif" in err and "text.tif" in err and err.count("error: ") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["cut.tif", "text.tif"]


def test_measure_goes_on_and_train_names_what_it_cannot_read(capsys):
    tifffile.imwrite("a.tif", noisy(64, 64))
    assert cli.main(["measure", bad("cut.tif"), "a.tif", "--json"]) == 3
    record = json.loads(capsys.readouterr().out)
    assert len(record["checkups"]) == 1 and record["failed"][0]["input"] == "cut.tif"
    assert cli.main(["train", "n2v", "a.tif", "cut.tif", bad("text.tif"), "-o", "m.safetensors", "--steps", "1"]) == 2
    err = capsys.readouterr().err
    assert "cut.tif" in err and "text.tif" in err and not Path("m.safetensors").exists()


def test_notes_name_their_image_among_several(model, capsys):
    for name in ("a.tif", "b.tif"):
        pages(name, noisy(7, 32, 40), PROMISES["imagej"](20 if name == "b.tif" else 7))
    assert cli.main(["predict", str(model), "a.tif", "b.tif"]) == 0
    assert "note: b.tif: the file holds 7 planes, its metadata state 20" in capsys.readouterr().err


def test_python_collects_inputs_that_cannot_be_used(model):
    tifffile.imwrite("a.tif", noisy(64, 64))
    with pytest.raises(nw.UserError, match=r"cut\.tif"):
        nw.denoise(["a.tif", bad("cut.tif")], **QUICK)
    failed = {}
    results = nw.denoise(["a.tif", "cut.tif"], failed=failed, **QUICK)
    assert len(results) == 1 and list(failed) == ["cut.tif"]
    failed = {}
    assert len(nw.load(model).predict(["a.tif", "cut.tif"], failed=failed)) == 1 and list(failed) == ["cut.tif"]
    failed = {}
    assert len(nw.predict(["a.tif", "cut.tif"], model, failed=failed)) == 1 and list(failed) == ["cut.tif"]


# -- axes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 4, 30])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("writer", ["tifffile", "single pages", "npy"])
def test_pages_without_metadata_are_read_by_one_rule(count, dtype, writer):
    pixels = noisy(count, 32, 40).astype(dtype)
    name = "my stack.npy" if writer == "npy" else "my stack.tif"
    if writer == "npy":
        np.save(name, pixels)
    elif writer == "tifffile":
        tifffile.imwrite(name, pixels, metadata=None, photometric="minisblack")
    else:
        pages(name, pixels, None)
    source = open_source(name)
    assert source.axes == "SYX"
    (note,) = source.notes
    assert f"({count} x 32 x 40) are not named and were taken as SYX" in note
    assert "noisewise denoise 'my stack" in note and note.endswith("--axes ZYX")
    assert not open_source(name, "ZYX").notes


def formats_with(axes, pixels, scale):
    """Files in every format that says these axes, with a pixel size of 0.1 µm and the scale of the first axis."""
    size = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeZ": 2.0, "TimeIncrement": 3.0}
    tifffile.imwrite("a.ome.tif", pixels, metadata={"axes": axes, **size}, photometric="minisblack")
    tifffile.imwrite(
        "ij.tif", pixels, imagej=True, resolution=(10, 10),
        metadata={"axes": axes, "unit": "um", "spacing": 2.0, "finterval": 3.0, "Info": "scope = 1\n"},
    )  # fmt: skip
    tifffile.imwrite("shaped.tif", pixels, metadata={"axes": axes, "who": "me"}, photometric="minisblack")
    tifffile.imwrite("bare.tif", pixels, metadata=None, photometric="minisblack", description="by hand")
    source = io.open_source(pixels, axes=axes)
    source.scale = {"Y": 0.1, "X": 0.1, axes[0]: scale}
    for name in ("five.ome.zarr",):
        with io.create_sink(name, source) as sink:
            sink.write(source.everything, pixels)
    group = zarr.create_group("four.ome.zarr", zarr_format=2)
    kind = {"Z": "space", "T": "time", "C": "channel"}[axes[0]]
    named = [
        {"name": axes[0].lower(), "type": kind},
        *({"name": a, "type": "space", "unit": "micrometer"} for a in "yx"),
    ]
    if kind != "channel":
        named[0]["unit"] = "second" if kind == "time" else "micrometer"
    transforms = [{"type": "scale", "scale": [scale, 0.1, 0.1]}]
    datasets = [{"path": "0", "coordinateTransformations": transforms}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": named, "datasets": datasets}]
    group.create_array("0", data=pixels, chunks=(1, 16, 16))
    return ["a.ome.tif", "ij.tif", "shaped.tif", "bare.tif", "five.ome.zarr", "four.ome.zarr"]


@pytest.mark.parametrize(("stated", "given"), [("CYX", "ZYX"), ("ZYX", "TYX"), ("TYX", "ZYX"), ("ZYX", "CYX")])
def test_given_axes_replace_those_of_the_file_in_the_output(stated, given):
    """Pixel sizes stay with the axis that they belong to: a spacing along Z is not one along T."""
    pixels = noisy(5, 32, 40)
    for name in formats_with(stated, pixels, 2.0 if stated[0] == "Z" else 3.0):
        (source,) = copied(name, f"out_{name}", given)
        assert source.axes == given and source.shape == (5, 32, 40)
        again = open_source(f"out_{name}")
        assert again.axes == given, name
        np.testing.assert_array_equal(again.read(), pixels)
        known = {a: s for a, s in again.scale.items() if a in "ZT"}
        other = {a: s for a, s in source.scale.items() if a in "ZT"}
        assert known == pytest.approx(other) and set(known) <= set(given), name
        assert stated[0] not in again.scale
        if name not in ("bare.tif", "shaped.tif"):
            assert again.scale["X"] == pytest.approx(0.1, rel=1e-3), name
        if name.endswith(".tif"):
            with tifffile.TiffFile(f"out_{name}") as file:
                assert file.series[0].axes == given, name
                assert name != "ij.tif" or "scope = 1" in file.imagej_metadata["Info"]
                assert name != "bare.tif" or "by hand" in file.imagej_metadata["Info"]
                assert name != "shaped.tif" or '"who": "me"' in file.pages[0].description
        else:
            validate(Path(f"out_{name}"))


def validate(path):
    """OME-Zarr by its schema."""
    attributes = dict(zarr.open_group(path, mode="r").attrs)
    yaozarrs.validate_ome_object(attributes.get("ome", attributes))


def test_separate_images_have_no_name_in_the_metadata():
    names = formats_with("ZYX", noisy(5, 32, 40), 2.0)
    for name in names:
        if "zarr" not in name:
            copied(name, f"out_{name}", "SYX")
            assert tifffile.imread(f"out_{name}").shape == (5, 32, 40)


def test_axes_make_a_group_usable_whose_metadata_name_too_few():
    pixels = noisy(5, 32, 40)
    group = zarr.create_group("a.zarr", zarr_format=2)
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    group.create_array("0", data=pixels, chunks=(1, 16, 16))
    with pytest.raises(nw.UserError, match=r"names 2 axes for 3 dimensions.*--axes"):
        open_source("a.zarr")
    copied("a.zarr", "b.zarr", "TYX")
    assert open_source("b.zarr").axes == "TYX"
    validate(Path("b.zarr"))


# -- plates and collections --------------------------------------------------------------------------


def ome_image(group, pixels, version, levels=1):
    """An OME-Zarr image with time, in a group."""
    datasets = [
        {"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": [1.0, 0.1 * 2**i, 0.1 * 2**i]}]}
        for i in range(levels)
    ]
    axes = [{"name": "t", "type": "time"}, *({"name": a, "type": "space", "unit": "micrometer"} for a in "yx")]
    image = {"name": "field", "axes": axes, "datasets": datasets}
    if version == 2:
        group.attrs["multiscales"] = [image | {"version": "0.4"}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    for i in range(levels):
        group.create_array(str(i), data=pixels[:, :: 2**i, :: 2**i], chunks=(1, 16, 16))


def with_attributes(group, version, attributes):
    """Put OME attributes where the version has them."""
    group.attrs.update(attributes if version == 2 else {"ome": {"version": "0.5", **attributes}})
    return group


def plate(path, version, wells=("A/1", "B/2"), fields=2):
    """A plate with wells, each with fields."""
    root = with_attributes(zarr.create_group(path, zarr_format=version), version, {"plate": {
        "name": "screen", "rows": [{"name": "A"}, {"name": "B"}], "columns": [{"name": "1"}, {"name": "2"}],
        "wells": [{"path": w, "rowIndex": "AB".index(w[0]), "columnIndex": int(w[2]) - 1} for w in wells],
        **({"version": "0.4"} if version == 2 else {}),
    }})  # fmt: skip
    images = {}
    for well in wells:
        group = with_attributes(root.create_group(well), version, {"well": {
            "images": [{"path": str(i)} for i in range(fields)], **({"version": "0.4"} if version == 2 else {}),
        }})  # fmt: skip
        for i in range(fields):
            images[f"{well}/{i}"] = noisy(2, 32, 40, seed=len(images))
            ome_image(group.create_group(str(i)), images[f"{well}/{i}"], version, levels=2)
    root.attrs["lab"] = "7"
    return images


def collection(path, version, count=3):
    """What bioformats2raw writes: numbered images, and OME-XML."""
    root = with_attributes(zarr.create_group(path, zarr_format=version), version, {"bioformats2raw.layout": 3})
    images = {str(i): noisy(2, 32, 40, seed=i) for i in range(count)}
    for name, pixels in images.items():
        ome_image(root.create_group(name), pixels, version)
    with_attributes(root.create_group("OME"), version, {"series": list(images)})
    (Path(path) / "OME/METADATA.ome.xml").write_text("<OME/>")
    return images


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("make", [plate, collection])
def test_whole_plates_and_collections(make, version, model, capsys):
    images = make("a.ome.zarr", version)
    assert cli.main(["predict", str(model), "a.ome.zarr"]) == 0
    before, after = zarr.open_group("a.ome.zarr", mode="r"), zarr.open_group("a_denoised.ome.zarr", mode="r")
    record = dict(after.attrs).pop("noisewise")
    assert record["series"] == 0 and {**before.attrs, "noisewise": record} == dict(after.attrs)
    for name, pixels in images.items():
        expected = nw.load(model).predict(pixels, axes="TYX").mean
        assert dict(after[name].attrs).items() >= dict(before[name].attrs).items()
        np.testing.assert_allclose(after[name]["0"][:], expected, atol=0.51)
    if make is plate:
        assert dict(after["A/1"].attrs) == dict(before["A/1"].attrs)
        full = after["B/2/1"]["0"][:].astype(float).reshape(2, 16, 2, 20, 2).mean((2, 4))
        np.testing.assert_allclose(after["B/2/1"]["1"][:], full, atol=0.51)
    else:
        assert Path("a_denoised.ome.zarr/OME/METADATA.ome.xml").read_text() == "<OME/>"
    assert [source.name for source in open_images("a_denoised.ome.zarr")] == [
        f"a_denoised.ome.zarr/{n}" for n in images
    ]
    capsys.readouterr()
    assert cli.main(["info", "a.ome.zarr"]) == 0
    out = capsys.readouterr().out
    assert all(f"TYX, 2 x 32 x 40, uint16, {name}" in out for name in images)


def test_a_plate_is_denoised_with_one_model_and_samples_have_its_tree():
    plate("a.zarr", 3)
    results = nw.denoise("a.zarr", output="b.zarr", std=False, **QUICK)
    assert len(results) == 4 and results[3].mean.shape == (2, 32, 40)
    assert sorted(path.name for path in Path().iterdir()) == ["a.zarr", "b.zarr"]
    nw.denoise("a.zarr", output="c.zarr", series=2, **QUICK)
    assert open_source("c.zarr").in_file == 1
    with pytest.raises(nw.UserError, match="contains 4 images"):
        nw.denoise("a.zarr", series=4, **QUICK)


def test_a_well_and_a_plate_that_was_stopped(model):
    images = plate("a.zarr", 2, fields=3)
    assert len(open_images("a.zarr/A/1")) == 3
    shutil.rmtree("a.zarr/B/2/1")
    shutil.rmtree("a.zarr/A")
    sources = open_images("a.zarr")
    assert [source.name for source in sources] == ["a.zarr/B/2/0", "a.zarr/B/2/2"]
    assert "lists 4 images, 2 exist" in sources[0].notes[-1]
    assert cli.main(["predict", str(model), "a.zarr"]) == 0
    assert len(open_images("a_denoised.zarr")) == 2 and len(images) == 6


@pytest.mark.parametrize("where", ["well", "image", "series"])
@pytest.mark.parametrize("name", ["../other.zarr", "absolute", "link"])
def test_images_of_a_collection_lie_inside_it(where, name, here):
    plate("other.zarr", 2)
    path = str(here / "other.zarr/A/1/0") if name == "absolute" else name
    if where == "series":
        collection("a.zarr", 2)
        (here / "a.zarr/link").symlink_to(here / "other.zarr/A/1/0")
        zarr.open_group("a.zarr/OME").attrs["series"] = [path]
    else:
        plate("a.zarr", 2)
        for folder in ("a.zarr", "a.zarr/A/1"):
            (here / folder / "link").symlink_to(here / "other.zarr/A/1/0")
        group = zarr.open_group("a.zarr" if where == "well" else "a.zarr/A/1")
        kind = "plate" if where == "well" else "well"
        record = dict(group.attrs[kind])
        record["wells" if where == "well" else "images"] = [{"path": path}]
        group.attrs[kind] = record
    with pytest.raises(nw.UserError, match="not inside it"):
        open_images("a.zarr")


def test_positions_of_a_tiff_become_a_collection_and_back(model):
    pixels = positions("a.ome.tif")
    assert cli.main(["predict", str(model), "a.ome.tif", "-o", "b.ome.zarr"]) == 0
    assert [source.axes for source in open_images("b.ome.zarr")] == ["TYX"] * 3
    assert cli.main(["predict", str(model), "b.ome.zarr", "-o", "c.ome.tif"]) == 0
    assert [source.shape for source in open_images("c.ome.tif")] == [one.shape for one in pixels]


# -- pyramids of TIFF --------------------------------------------------------------------------------


@pytest.mark.parametrize(("subifds", "ome"), [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_pyramids_of_a_tiff_are_those_of_the_denoised_image(subifds, ome, dtype):
    pixels, name = noisy(3, 96, 128), ("a.ome.tif" if ome else "a.tif")
    planes = pixels if ome else pixels[0]
    with tifffile.TiffWriter(name, ome=ome) as file:
        metadata = {"axes": "TYX"} if ome else None
        file.write(
            planes, tile=(32, 32), metadata=metadata, photometric="minisblack", **({"subifds": 2} if subifds else {})
        )
        for step in (2, 4):
            file.write(
                planes[..., ::step, ::step], tile=(32, 32), subfiletype=1, metadata=None, photometric="minisblack"
            )
    source, output = open_source(name), "b" + name[1:]
    assert source.notes == []
    with io.create_sink(output, source, dtype) as sink:
        sink.write(source.everything, source.read() + 7)
    with tifffile.TiffFile(output) as file:
        (series,) = file.series
        assert [level.shape[-2:] for level in series.levels] == [(96, 128), (48, 64), (24, 32)]
        assert bool(file.pages[0].subifds) == subifds
        expected = planes.astype(float) + 7
        for level in series.levels:
            np.testing.assert_allclose(level.asarray(), expected, atol=1.01 if dtype is None else 1e-3)
            expected = expected.reshape(*expected.shape[:-2], expected.shape[-2] // 2, 2, -1, 2).mean((-3, -1))


def test_info_lists_the_images_of_a_file(capsys):
    positions("a.ome.tif", 2)
    assert cli.main(["info", "a.ome.tif"]) == 0
    assert "  1: TYX, 2 x 48 x 64, uint16, Pos1\n" in capsys.readouterr().out
    with tifffile.TiffWriter("a.tif") as file:
        file.write(np.zeros((16, 16), np.uint8), subfiletype=1, metadata=None)
        for seed in (0, 1):
            file.write(noisy(48, 64 + seed, seed=seed), metadata=None)
    assert cli.main(["info", "a.tif"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "0: YX, 16 x 16, uint8; left out" in lines
    assert "1: YX, 48 x 64, uint16" in lines and "2: YX, 48 x 65, uint16" in lines and "series: 1" in lines
    assert cli.main(["info", "a.tif", "--series", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shape"] == [48, 65]
