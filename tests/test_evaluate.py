"""`noisewise evaluate`: it reports the metrics, pairs files in order, and refuses invalid input in one line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from noisewise.cli import _display, main
from noisewise.evaluate.compare import compare
from noisewise.evaluate.metrics import ms_ssim, nrmse, psnr, psnr_affine, ssim
from noisewise.evaluate.microssim import micro_ssim
from noisewise.evaluate.resolution import Frc, frc, resolution
from noisewise.io import open_source
from tests.conftest import blobs


def truth_and_image(shape=(40, 50), seed=0, noise=4.0):
    """A smooth signal, and an image of it with noise, gain and offset. Both float32."""
    truth = blobs(shape, seed)
    return truth, (0.9 * truth + 3 + np.random.default_rng(seed).normal(0, noise, shape)).astype(np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run a command line in this process; return exit code, stdout and stderr."""

    def call(*args):
        capsys.readouterr()
        code = main(["evaluate", *map(str, args)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def scores(run):
    """The JSON object of a command line that must succeed."""

    def call(*args):
        code, out, err = run(*args, "--json", "--quiet")
        assert (code, err) == (0, "") and out.count("\n") == 1, err
        return json.loads(out)

    return call


@pytest.fixture
def refused(run):
    """The one line of a command line that must be refused."""

    def call(*args):
        code, out, err = run(*args)
        assert (code, out) == (2, ""), err
        assert err.startswith("error: ") and err.count("\n") == 1, err
        return err

    return call


def span(array):
    return float(np.ptp(array))


# -- the numbers -----------------------------------------------------------------------------------


def test_metrics_of_two_images(scores):
    truth, image = truth_and_image((180, 190))
    tifffile.imwrite("image.tif", image)
    np.save("truth.npy", truth)
    found = scores("image.tif", "truth.npy")
    assert set(found) == {"data_range", "pairs", "mean", "notes"}
    assert found["data_range"] == "max - min of each reference image" and found["notes"] == []
    (pair,) = found["pairs"]
    assert pair["prediction"] == "image.tif" and pair["reference"] == "truth.npy" and pair["resolution"] is None
    expected = {
        "psnr": psnr(image, truth, span(truth)),
        "psnr_affine": psnr_affine(image, truth, span(truth)),
        "nrmse": nrmse(image, truth),
        "ssim": ssim(image, truth, span(truth)),
        "ms_ssim": ms_ssim(image, truth, span(truth)),
        "micro_ssim": micro_ssim([image], [truth]).mean,
    }
    assert {name: pair[name] for name in expected} == pytest.approx(expected)
    assert found["mean"] | {"resolution": 0} == pytest.approx(expected | {"resolution": 0})
    assert pair["images"] == [{"data_range": span(truth), **{name: pair[name] for name in [*expected, "resolution"]}}]


def test_the_range_can_be_given_and_is_reported(run, scores):
    truth, image = truth_and_image()
    np.save("image.npy", image)
    np.save("truth.npy", truth)
    found = scores("image.npy", "truth.npy", "--data-range", "255")
    assert found["data_range"] == 255 and found["pairs"][0]["images"][0]["data_range"] == 255
    assert found["mean"]["psnr"] == pytest.approx(psnr(image, truth, 255))
    assert found["mean"]["psnr_affine"] == pytest.approx(psnr_affine(image, truth, 255))
    assert found["mean"]["ssim"] == pytest.approx(ssim(image, truth, 255))
    assert found["mean"]["micro_ssim"] == pytest.approx(micro_ssim([image], [truth], [255]).mean)
    assert found["mean"]["nrmse"] == pytest.approx(nrmse(image, truth))
    assert run("image.npy", "truth.npy", "--data-range", "255")[1].endswith("range: 255, as given\n")
    assert run("image.npy", "truth.npy")[1].endswith("range: max - min of each reference image\n")


def test_integers_and_equal_images(run, scores):
    truth = blobs((30, 30)).astype(np.uint8)
    np.save("truth.npy", truth)
    np.save("image.npy", 255 - truth)
    found = scores("image.npy", "truth.npy")["mean"]
    assert found["psnr"] == pytest.approx(psnr(255.0 - truth, truth.astype(float), span(truth)))
    equal = scores("truth.npy", "truth.npy")["mean"]
    assert equal["psnr"] is None and equal["ssim"] == pytest.approx(1) and equal["micro_ssim"] == pytest.approx(1)
    assert " inf " in run("truth.npy", "truth.npy")[1]


def test_images_along_further_axes_have_their_own_ranges(scores):
    truth, image = (np.stack(arrays) for arrays in zip(*(truth_and_image(seed=i) for i in range(6)), strict=True))
    bright = np.array([1, 50, 1, 50, 1, 50.0])[:, None, None]
    truth, image = ((bright * array).reshape(3, 2, 40, 50).astype(np.float32) for array in (truth, image))
    tifffile.imwrite("truth.ome.tif", truth, metadata={"axes": "TCYX"})
    np.save("image.npy", image)
    found = scores("image.npy", "truth.ome.tif", "--axes", "TCYX")["pairs"][0]
    singles = [(t, c) for t in range(3) for c in range(2)]
    assert [(one["T"], one["C"]) for one in found["images"]] == singles
    each = [psnr(image[i], truth[i], span(truth[i])) for i in singles]
    assert [one["psnr"] for one in found["images"]] == pytest.approx(each)
    assert found["psnr"] == pytest.approx(np.mean(each))
    assert found["ssim"] == pytest.approx(np.mean([ssim(image[i], truth[i], span(truth[i])) for i in singles]))
    # MicroSSIM has one scaling for each channel: a channel 50 times as bright does not affect the other
    channels = [micro_ssim(list(image[:, c]), list(truth[:, c])).scores for c in range(2)]
    assert [one["micro_ssim"] for one in found["images"]] == pytest.approx(np.transpose(channels).ravel())


def test_a_stack_is_one_image_whose_planes_are_compared(scores):
    truth, image = truth_and_image((5, 30, 40))
    truth[0] = 20  # one plane without structure is accepted
    for name, array in (("truth.ome.tif", truth), ("image.ome.tif", image)):
        tifffile.imwrite(name, array, metadata={"axes": "ZYX"})
    found = scores("image.ome.tif", "truth.ome.tif", "--frc")["pairs"][0]
    assert len(found["images"]) == 1 and found["images"][0]["data_range"] == span(truth)
    assert found["psnr"] == pytest.approx(psnr(image, truth, span(truth)))
    assert found["nrmse"] == pytest.approx(nrmse(image, truth))
    planes = list(zip(image, truth, strict=True))
    assert found["ssim"] == pytest.approx(np.mean([ssim(*plane, span(truth)) for plane in planes]))
    assert found["micro_ssim"] == pytest.approx(micro_ssim(list(image), list(truth), [span(truth)] * 5).mean)
    curves = [frc(*plane) for plane in planes[1:]]
    mean = Frc(curves[0].frequency, np.mean([curve.correlation for curve in curves], 0))
    assert found["resolution"] == pytest.approx(resolution(mean))


def test_axes_of_length_one_and_their_order_do_not_matter(scores):
    colours = np.stack([truth_and_image(seed=i)[1] for i in range(3)], -1).clip(0, 255).astype(np.uint8)
    Image.fromarray(colours).save("colours.png")
    truth = np.stack([truth_and_image(seed=i)[0] for i in range(3)])
    tifffile.imwrite("truth.ome.tif", truth[None], metadata={"axes": "TCYX"})
    found = scores("colours.png", "truth.ome.tif")["pairs"][0]
    expected = [psnr(colours[..., c], truth[c], span(truth[c])) for c in range(3)]
    assert [one["psnr"] for one in found["images"]] == pytest.approx(expected)


def test_resolution_has_the_unit_of_the_file(run, scores):
    rng = np.random.default_rng(0)
    smooth = np.exp(-np.add.outer(np.fft.fftfreq(100) ** 2, np.fft.fftfreq(120) ** 2) / 0.01)
    signal = 5 * np.fft.ifft2(smooth * np.fft.fft2(rng.normal(size=smooth.shape))).real
    pair = [(signal + rng.normal(size=signal.shape)).astype(np.float32) for _ in range(2)]
    pixel = {"PhysicalSizeY": 0.2, "PhysicalSizeYUnit": "µm", "PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm"}
    for name, image in zip("ab", pair, strict=True):
        tifffile.imwrite(f"{name}.ome.tif", image, metadata={"axes": "YX", **pixel})
        np.save(f"{name}.npy", image)
    in_um, in_pixels = (scores(f"a{suffix}", f"b{suffix}", "--frc")["pairs"][0] for suffix in (".ome.tif", ".npy"))
    assert in_um["resolution_unit"] == "µm" and in_pixels["resolution_unit"] == "pixels"
    assert in_um["resolution"] == pytest.approx(resolution(frc(*pair, (0.2, 0.1))))
    assert in_pixels["resolution"] == pytest.approx(resolution(frc(*pair)))
    assert f"{in_um['resolution']:.3g} µm" in run("a.ome.tif", "b.ome.tif", "--frc")[1]
    assert "resolution" not in run("a.npy", "b.npy")[1]
    # no mean of lengths in µm and in pixels
    for kind in ("first", "second"):
        Path(kind).mkdir()
    for name, kind in zip("ab", ("first", "second"), strict=True):
        Path(f"{name}.ome.tif").rename(f"{kind}/1.ome.tif")
        Path(f"{name}.npy").rename(f"{kind}/2.npy")
    both = scores("first", "second", "--frc")
    assert both["mean"]["resolution"] is None and None not in [pair["resolution"] for pair in both["pairs"]]


# -- several files ---------------------------------------------------------------------------------


@pytest.fixture
def folders():
    """Three predictions and their references, with different noise."""
    arrays = []
    for number in range(3):
        truth, image = truth_and_image(seed=number, noise=2.0 + 3 * number)
        arrays.append((image, truth))
        for kind, array in (("images", image), ("truths", truth)):
            Path(kind).mkdir(exist_ok=True)
            np.save(f"{kind}/cell{number}.npy", array)
    return arrays


def test_folders_are_paired_in_order(run, scores, folders):
    found = scores("images", "truths")
    expected = [psnr(image, truth, span(truth)) for image, truth in folders]
    assert [pair["psnr"] for pair in found["pairs"]] == pytest.approx(expected)
    assert [pair["reference"] for pair in found["pairs"]] == [f"truths/cell{i}.npy" for i in range(3)]
    assert found["mean"]["psnr"] == pytest.approx(np.mean(expected))
    together = micro_ssim(*(list(arrays) for arrays in zip(*folders, strict=True)))
    assert [pair["micro_ssim"] for pair in found["pairs"]] == pytest.approx(together.scores)
    assert scores("images/*.npy", "truths")["mean"] == found["mean"]

    code, out, _ = run("images", "truths")
    rows = out.splitlines()
    assert code == 0 and len(rows) == 6
    titles = re.split(r"\s{2,}", rows[0].strip())
    assert titles[:5] == ["prediction", "reference", "range", "PSNR", "affine PSNR"]
    for number, row in enumerate(rows[1:4]):
        cells = row.split()
        assert cells[:2] == [f"cell{number}.npy"] * 2 and cells[3] == f"{expected[number]:.2f}"
    assert rows[4].split()[:2] == ["mean", f"{np.mean(expected):.2f}"]


def test_metrics_that_need_larger_images_are_left_out(run, scores):
    truth, image = truth_and_image((30, 9))
    np.save("image.npy", image)
    np.save("truth.npy", truth)
    code, out, err = run("image.npy", "truth.npy", "--frc")
    assert code == 0 and out.splitlines()[1].count(" -") == 3
    for name, least in (("SSIM", 11), ("MS-SSIM", 176), ("the resolution", 16)):
        assert f"note: image.npy: {name} is left out; it needs {least} pixels" in err
    assert "MicroSSIM" not in err and err.count("\n") == 3
    assert run("image.npy", "truth.npy", "--quiet")[2] == ""
    assert scores("image.npy", "truth.npy")["mean"]["ssim"] is None
    assert len(scores("image.npy", "truth.npy", "--frc")["notes"]) == 3


def test_images_are_read_one_at_a_time():
    """No more than a single image (Z, Y, X) is read at once."""
    truth, image = (np.stack(arrays) for arrays in zip(*(truth_and_image(seed=i) for i in range(4)), strict=True))
    sources = [open_source(array, axes="TYX") for array in (image, truth)]
    asked = []
    for source in sources:
        read = source.read
        source.read = lambda region=None, read=read: asked.append(region) or read(region)
    (found,), _ = compare([tuple(sources)])
    assert {region[0].stop - region[0].start for region in asked} == {1}
    pairs = list(zip(image, truth, strict=True))
    assert found.mean.psnr == pytest.approx(np.mean([psnr(*pair, span(pair[1])) for pair in pairs]))


# -- errors ---------------------------------------------------------------------------------------


def test_files_that_are_not_there(refused, folders):
    assert "nowhere.tif" in refused("nowhere.tif", "truths")
    assert "nowhere.tif" in refused("images", "nowhere.tif")
    Path("empty").mkdir()
    assert "empty" in refused("images", "empty")
    assert "reference" in refused("images").lower()


def test_unequal_numbers(refused, folders):
    Path("truths/cell1.npy").unlink()
    message = refused("images", "truths")
    assert "3 images in images" in message and "2 in truths" in message
    refused("images/cell0.npy", "truths")


def test_unequal_sizes_are_found_before_the_work(refused, folders):
    np.save("truths/cell2.npy", np.zeros((40, 51)))
    message = refused("images", "truths")
    assert "images/cell2.npy is YX (40, 50)" in message and "truths/cell2.npy is YX (40, 51)" in message


def test_unlike_axes(refused, scores):
    stack = np.stack([truth_and_image(seed=i)[0] for i in range(4)])
    tifffile.imwrite("stack.ome.tif", stack, metadata={"axes": "ZYX"})
    np.save("film.npy", stack)
    assert "or axes if they are wrong" in refused("film.npy", "stack.ome.tif")
    assert scores("film.npy", "stack.ome.tif", "--axes", "ZYX")["mean"]["ssim"] == pytest.approx(1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["images", "truths"])
def test_pixels_that_are_not_finite(refused, folders, kind, value):
    path = f"{kind}/cell1.npy"
    array = np.load(path)
    array[3, 4] = value
    np.save(path, array)
    message = refused("images", "truths")
    assert path in message and ("image" if kind == "images" else "reference") + " has pixels" in message


def test_constant_references(refused, scores):
    truth, image = truth_and_image()
    np.save("truth.npy", np.stack([truth, 0 * truth + 7]))
    np.save("image.npy", np.stack([image, image]))
    message = refused("image.npy", "truth.npy", "--axes", "TYX")
    assert "truth.npy, T 1" in message and "constant" in message and "7" in message
    np.save("truth.npy", truth)
    np.save("image.npy", 0 * truth + 7)  # a constant prediction is allowed
    found = scores("image.npy", "truth.npy")["mean"]
    assert found["psnr_affine"] == pytest.approx(10 * np.log10(span(truth) ** 2 / truth.astype(float).var()))


@pytest.mark.parametrize("value", ["0", "-5", "nan", "inf"])
def test_invalid_ranges(refused, folders, value):
    assert "--data-range" in refused("images", "truths", f"--data-range={value}")


# -- progress --------------------------------------------------------------------------------------


def test_progress_is_logged(run, monkeypatch):
    """Only of long computations (in all other tests nothing is logged)."""
    truth, image = truth_and_image((30, 40))
    np.save("truth.npy", np.stack([truth] * 3))
    np.save("image.npy", np.stack([image] * 3))
    monkeypatch.setattr(_display, "LOG_SECONDS", -1.0)
    code, out, err = run("image.npy", "truth.npy", "--axes", "TYX")
    percent = [int(line[10:14]) for line in err.splitlines() if line.startswith("comparing: ")]
    assert code == 0 and percent == sorted(percent) == [11, 22, 33, 44, 56, 67, 78, 89, 100] and "comparing" not in out
    code, _, err = run("image.npy", "truth.npy", "--axes", "TYX", "--quiet")
    assert (code, err) == (0, "")


def test_progress_counts_the_planes_of_stacks():
    truth, image = (open_source(part, "ZYX") for part in truth_and_image((4, 30, 40)))
    fractions: list[float] = []
    compare([(image, truth), (image, truth)], report=fractions.append)
    np.testing.assert_allclose(fractions, [4 / 24, 8 / 24, *np.arange(9, 25) / 24])
