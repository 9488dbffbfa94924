"""Measurements with error bars: values of single images, intervals that hold the truth, tables, bad input."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import noisewise as nw
from noisewise import cli
from noisewise.errors import NeedsTraining
from noisewise.posterior import Normal, Sampled
from noisewise.quantify.measurements import MEASUREMENTS, Key, Options, Regions, Scene
from noisewise.quantify.run import complete, ordered, otsu, quantify, regions_of
from noisewise.quantities import Quantities
from noisewise.scenes import draw

OPTIONS = Options((5.0, 5.0), (1.0, 1.0), line=(0, 0, 0, 9), spot_amplitude=(4.0, 4.0), baseline=(0, 2))


def scene(image: np.ndarray, axes: str, labels: np.ndarray | None = None) -> Scene:
    full = ordered(image.astype(np.float32), axes)
    marks = np.ones((1, *full.shape[2:]), np.int64) if labels is None else labels.reshape(1, *full.shape[2:])
    return Scene(full, Regions.of_labels(marks))


def values(name: str, *given: Any) -> dict[tuple[Any, ...], float]:
    return {tuple(key): value for key, value in MEASUREMENTS[name](scene(*given), OPTIONS).items()}


# -- measurements of one image -------------------------------------------------------------------------


def test_regions_are_measured_one_by_one() -> None:
    image = np.arange(12.0).reshape(3, 4)
    labels = np.array([[1, 1, 0, 7], [1, 0, 0, 7], [0, 0, 0, 7]])
    assert values("mean", image, "YX", labels) == {("mean", 1, 0, 0, 0): 5 / 3, ("mean", 7, 0, 0, 0): 7.0}
    assert values("sum", image, "YX", labels)["sum", 7, 0, 0, 0] == 21
    assert values("integrated", image, "YX", labels)["integrated", 7, 0, 0, 0] == 18
    assert values("maximum", image, "YX", labels)["maximum", 1, 0, 0, 0] == 4
    assert values("area", image, "YX", labels)["area", 7, 0, 0, 0] == 2  # above 5
    found = values("centroid", image, "YX", labels)
    weights = np.array([2.0, 6.0, 10.0])
    assert found["centroid y", 7, 0, 0, 0] == pytest.approx((weights * [0, 1, 2]).sum() / weights.sum())
    assert found["centroid x", 7, 0, 0, 0] == 3 and ("centroid z", 7, 0, 0, 0) not in found


def test_two_channels_are_compared() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(2, 10, (20, 20))
    image = np.stack([first, 3 * first])
    assert values("ratio", image, "CYX")["ratio", 1, 0, 0, 0] == pytest.approx(
        (first.mean() - 1) / (3 * first.mean() - 1)
    )
    found = values("colocalisation", image, "CYX")
    assert found["pearson", 1, 0, 0, 0] == pytest.approx(1.0)
    assert found["manders m1", 1, 0, 0, 0] == pytest.approx(1.0)  # the second channel is above 5 everywhere
    inside = first > 5
    assert found["manders m2", 1, 0, 0, 0] == pytest.approx((3 * first - 1)[inside].sum() / (3 * first - 1).sum())


def test_traces_are_relative_to_the_baseline() -> None:
    movie = np.array([3.0, 3.0, 5.0])[:, None, None] * np.ones((3, 4, 4))
    found = values("trace", movie, "TYX")
    assert [found["dF/F", 1, 0, frame, 0] for frame in range(3)] == pytest.approx([0, 0, 1.0])


def test_a_region_that_is_absent_from_a_frame_has_no_value_there() -> None:
    movie = np.array([3.0, 3.0, 5.0])[:, None, None] * np.ones((3, 4, 4))
    labels = np.ones((3, 1, 4, 4), int)
    labels[0], labels[2, :, 2:] = 4_000_000_000, 9
    movie[2, 2:] = 7
    here = Scene(ordered(movie.astype(np.float32), "TYX"), Regions.of_labels(labels))
    means = {(key.label, key.frame): value for key, value in MEASUREMENTS["mean"](here, OPTIONS).items()}
    assert means == {(4_000_000_000, 0): 3.0, (1, 1): 3.0, (1, 2): 5.0, (9, 2): 7.0}
    for name in ("maximum", "centroid", "area", "spots"):
        assert all(np.isfinite(value) for value in MEASUREMENTS[name](here, OPTIONS).values()), name
    traces = {(key.label, key.frame): value for key, value in MEASUREMENTS["trace"](here, OPTIONS).items()}
    assert traces[1, 2] == pytest.approx(1.0) and np.isnan(traces[9, 2])  # 9 is not in the baseline


def test_profiles_are_interpolated() -> None:
    ramp = np.tile(np.arange(10.0), (4, 1))
    found = values("profile", ramp, "YX")
    assert [found["profile", 0, 0, 0, i] for i in range(10)] == pytest.approx(list(range(10)))


def test_spots_are_counted_where_their_centres_lie() -> None:
    y, x = np.mgrid[:40, :60]
    image = sum(10 * np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * 1.5**2)) for a, b in ((10, 10), (25, 20), (12, 45)))
    labels = np.where(x < 30, 1, 2)
    found = values("spots", image, "YX", labels)
    assert found == {("spots", 1, 0, 0, 0): 2.0, ("spots", 2, 0, 0, 0): 1.0}


def test_a_threshold_is_found_between_two_levels() -> None:
    rng = np.random.default_rng(0)
    image = np.concatenate([rng.normal(10, 1, 900), rng.normal(40, 2, 100)])
    assert 14 < otsu(image) < 34


# -- distributions -------------------------------------------------------------------------------------


def test_intervals_are_those_of_the_ranks() -> None:
    drawn = Quantities(("value",), np.random.default_rng(0).permutation(39.0 + np.arange(39))[:, None], np.zeros(1))
    assert [float(bound[0]) for bound in drawn.interval(0.9)] == [40.0, 76.0] and drawn.median == 58.0
    with pytest.raises(nw.UserError, match="needs 39 samples or more, not 8"):
        Quantities(("value",), np.zeros((8, 1)), np.zeros(1)).interval(0.95)


def known_posterior() -> Sampled[np.ndarray]:
    mean = np.full((6, 6), 10.0, np.float32)

    def sampled(numbers: Any, seed: int) -> np.ndarray:
        rngs = [np.random.default_rng([seed, n]) for n in numbers]
        return np.stack([mean + rng.normal() for rng in rngs]).astype(np.float32)  # pixels err together

    return Sampled(mean, np.ones_like(mean), sampled)


def test_errors_that_pixels_share_do_not_average_out() -> None:
    found = known_posterior().quantify(np.mean, 399)
    low, high = found.interval()
    assert high - low == pytest.approx(2 * 1.645, rel=0.15)
    assert found.names == ("value",) and found.of_mean == pytest.approx(10)
    assert (found.values == known_posterior().quantify(np.mean, 399).values).all()
    assert (found.values != known_posterior().quantify(np.mean, 399, seed=1).values).any()


def test_functions_may_name_what_they_measure() -> None:
    found = known_posterior().quantify(lambda image: {"largest": image.max(), "first": image[0, 0]}, 20)
    assert found.names == ("largest", "first") and found.values.shape == (20, 2)
    assert known_posterior().quantify(lambda image: [1, 2, 3], 20).names == (0, 1, 2)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda image: float("nan"), "the measurement is not a finite number for the mean"),
        (lambda image: {"ratio": float("inf") if image.mean() > 10 else 1.0}, "ratio is not a finite number"),
        (lambda image: [], "gives no values"),
        (lambda image: "much", "the measurement gives str, not numbers"),
        (lambda image: [0] * (1 + (image.mean() > 11)), "gives 2 values for sample"),
    ],
)
def test_measurements_that_are_no_numbers_are_refused(measure: Any, message: str) -> None:
    with pytest.raises(nw.UserError, match=message):
        known_posterior().quantify(measure, 39)


def test_a_measurement_needs_samples() -> None:
    with pytest.raises(nw.UserError, match="no sample to measure"):
        known_posterior().quantify(np.mean, 0)


def test_standard_deviations_of_pixels_are_no_samples() -> None:
    with pytest.raises(ValueError, match="choose a method with samples"):
        Normal(np.zeros((4, 4)), np.ones((4, 4))).quantify(np.mean)


def test_quantities_that_are_missing_in_a_sample_are_told_apart() -> None:
    found = Quantities(("a", "b", "c"), np.array([[1.0, np.nan, 2.0], [3.0, 1.0, 2.0]]), np.array([1.0, 1.0, np.inf]))
    left, lost = found.without_missing()
    assert left.names == ("a",) and left.values.tolist() == [[1.0], [3.0]] and lost == ("b", "c")


def test_what_is_found_is_rounded_to_a_fraction_of_the_contrast() -> None:
    image = 32768 + 10 * np.random.default_rng(0).uniform(size=(1, 1, 1, 40, 40))
    options, notes = complete({}, image)
    assert options.background[0] == pytest.approx(np.percentile(image, 5), abs=0.01)
    assert f"background: {options.background[0]:.9g}, found" in notes["background"]


def test_an_xarray_is_measured_as_it_is_labelled() -> None:
    xarray = pytest.importorskip("xarray")
    image = xarray.DataArray(100 + np.random.default_rng(0).normal(size=(40, 32)).astype(np.float32), dims=("y", "x"))
    posterior = nw.denoise(image, steps=0, samples=19).posterior
    found = posterior.quantify(lambda one: float(one.sel(x=slice(0, 8)).mean()), 19)
    assert found.values.shape == (19, 1)
    assert quantify(image, None, "mean", steps=0, samples=19).rows()[0]["label"] == 0


# -- files -----------------------------------------------------------------------------------------------


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    truth = 100 + 60 * draw("nuclei", (64, 64), 5).numpy()
    noisy = np.random.default_rng(0).normal(truth, 8.0)
    tifffile.imwrite(tmp_path / "cells.tif", noisy.astype(np.float32))
    labels = np.zeros((64, 64), np.uint8)
    labels[:32, :32], labels[32:, 32:] = 1, 2
    tifffile.imwrite(tmp_path / "masks.tif", labels)
    np.save(tmp_path / "truth.npy", truth)
    return tmp_path / "cells.tif"


def test_a_table_with_intervals_that_hold_the_truth(cells: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cells.parent
    command = [
        "quantify",
        str(cells),
        "--labels",
        str(folder / "masks.tif"),
        "--measure",
        "mean",
        "area",
        "--steps",
        "0",
    ]
    assert cli.main([*command, "--figure", str(folder / "plot.png")]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{folder / 'cells_quantified.csv'}\n{folder / 'plot.png'}\n"
    assert "threshold: " in printed.err and "found in the image" in printed.err and "spot" not in printed.err
    rows = list(csv.DictReader((folder / "cells_quantified.csv").read_text().splitlines()))
    assert [(row["measurement"], row["label"]) for row in rows] == [
        ("mean", "1"), ("mean", "2"), ("area", "1"), ("area", "2"),
    ]  # fmt: skip
    truth = np.load(folder / "truth.npy")
    for row, region in zip(rows, (truth[:32, :32], truth[32:, 32:]), strict=False):
        low, high = float(row["low"]), float(row["high"])
        assert low - (high - low) < region.mean() < high + (high - low)
        assert 0.1 < high - low < 3.0  # 8 / 32 for pixels that err independently
    assert cli.main(command) == 2 and "exists already" in capsys.readouterr().err
    assert cli.main([*command, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 39


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "half.npy"], "labels of 32 x 64 pixels do not fit the image cells.tif of 64 x 64"),
        (["--labels", "none.npy"], "holds no region, all labels are 0"),
        (["--labels", "light.npy"], "labels are whole numbers"),
        (["--labels", "missing.tif"], "no such file"),
        (["--samples", "8"], "needs 19 samples or more, not 8"),
        (["--measure", "ratio"], "the image has one"),
        (["--measure", "trace"], "needs a time axis"),
        (["--measure", "profile"], "needs a line"),
        (["--measure", "profile", "--line", "0", "0", "90", "3"], "leaves the image of 64 x 64 pixels"),
        (["--measure", "beauty"], "there is no measurement 'beauty'"),
        (["--method", "n2v"], "method n2v gives no samples"),
        (["-o", "table.txt"], "a table is written as CSV"),
        (["--threshold", "1", "2"], "threshold: 2 values for 1 channel"),
        (["--threshold", "nan"], "is not finite"),
        (["--measure"], "nothing is to be measured"),
        (["--labels", "huge.npy"], "is too large; number the regions anew"),
        (["--measure", "spots", "--spot-amplitude", "-3"], "no amplitude"),
        (["--measure", "spots", "--spot-sigma", "1000"], "no width of spots here"),
        (["-o", "folder.csv", "--overwrite"], "is a folder"),
        (["--baseline", "5", "5"], "no frame is from 5 to 5"),
        (["--measure", "spots", "--spot-sigma", "0"], "0 is no width"),
        (["--model", "half.npy", "--steps", "3"], "leave out --method, --noise, --budget, --steps"),
        (["--labels", "half.npy", "--figure", "half.npy.png", "-o", "half.csv"], "do not fit the image"),
    ],
)
def test_bad_input_is_refused_before_the_work(
    cells: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    monkeypatch.chdir(cells.parent)
    np.save("half.npy", np.ones((32, 64), int))
    np.save("none.npy", np.zeros((64, 64), int))
    np.save("huge.npy", np.full((64, 64), 2**63 + 1, np.uint64))
    Path("folder.csv").mkdir()
    np.save("light.npy", np.full((64, 64), 0.5))
    before = sorted(Path().iterdir())
    assert cli.main(["quantify", "cells.tif", "--measure", "area", *options]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert sorted(Path().iterdir()) == before


def test_a_model_without_samples_is_refused(cells: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = cells.parent / "n2v.safetensors"
    nw.train("n2v", cells, steps=1, features=8, depth=1).save(model)
    assert cli.main(["quantify", str(cells), "--model", str(model)]) == 2
    assert "method n2v gives no samples" in capsys.readouterr().err


def test_a_pixel_that_is_not_a_number_is_named(cells: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noisy = tifffile.imread(cells)
    noisy[3, 4] = np.nan
    tifffile.imwrite(cells, noisy)
    command = ["quantify", str(cells), "--measure", "area", "mean", "--steps", "0", "--samples", "19", "--threshold"]
    assert cli.main([*command, "0", "--json"]) == 0
    printed = capsys.readouterr()
    assert "1 pixel of regions hold no light (not finite, excluded, or fill) and are left out" in printed.err
    area, mean = json.loads(printed.out)["quantities"]
    assert area["median"] == 64 * 64 - 1 and area["label"] == 0 and 100 < mean["median"] < 160


def test_labels_of_an_xarray_have_the_axes_of_the_image() -> None:
    xarray = pytest.importorskip("xarray")
    labels = np.zeros((32, 32), int)
    labels[:8], labels[8:] = 1, 2
    with nw.io.open_source(np.zeros((32, 32), np.float32)) as source:
        turned = regions_of(xarray.DataArray(labels.T, dims=("x", "y")), source)
        assert (turned.indices == regions_of(labels, source).indices).all()


def test_nothing_is_trained_unless_a_training_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def denoise(_source: Any, **settings: Any) -> None:
        asked.append(settings.get("steps"))
        raise nw.UserError("stop")

    monkeypatch.setattr(sys.modules[quantify.__module__], "denoise", denoise)
    for settings in ({}, {"budget": None, "method": "auto"}, {"budget": "1 min"}, {"method": "hdn"}, {"steps": 7}):
        with pytest.raises(nw.UserError, match="stop"):
            quantify(np.random.default_rng(0).normal(100, 9, (40, 40)), **settings)
    assert asked == [0, 0, None, None, 7]


def test_a_method_that_must_be_trained_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def denoise(_source: Any, **settings: Any) -> None:
        asked.append(settings.get("steps"))
        raise NeedsTraining("no") if settings.get("steps") == 0 else nw.UserError("stop")

    monkeypatch.setattr(sys.modules[quantify.__module__], "denoise", denoise)
    with pytest.raises(nw.UserError, match="stop"):
        quantify(np.random.default_rng(0).normal(100, 9, (40, 40)))
    assert asked == [0, None]


def test_the_help_names_all_measurements() -> None:
    text = Path(cli.__file__).with_name("quantify.py").read_text()
    assert f'"""what to measure: {", ".join(MEASUREMENTS)}"""' in text


def test_labels_of_one_frame_are_for_all_and_frames_err_independently() -> None:
    movie = 100 + 10 * np.random.default_rng(0).normal(size=(3, 32, 32))
    labels = np.ones((32, 32), int)
    found = quantify(movie.astype(np.float32), labels, "mean", axes="TYX", steps=0, samples=39)
    assert found.quantities.names == tuple(Key("mean", 1, 0, frame) for frame in range(3))
    correlation = np.corrcoef(found.quantities.values.T)
    assert np.abs(correlation[np.triu_indices(3, 1)]).max() < 0.6
    with nw.io.open_source(movie, "TYX") as source:
        assert regions_of(labels, source).indices.shape == (1, 1, 32, 32)
        assert regions_of(np.ones((3, 32, 32), int), source).indices.shape == (3, 1, 32, 32)
        assert regions_of(labels > 0, source).names.tolist() == [1]  # a Boolean mask is one region


def test_one_image_of_a_file_is_measured(cells: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noisy = tifffile.imread(cells)
    with tifffile.TiffWriter(cells.with_name("two.ome.tif"), ome=True) as file:
        for number in range(2):
            file.write(noisy + 100 * number, metadata={"axes": "YX"})
    command = ["quantify", str(cells.with_name("two.ome.tif")), "--steps", "0", "--samples", "19", "--json"]
    assert cli.main([*command, "-o", str(cells.with_name("a.csv"))]) == 0
    printed = capsys.readouterr()
    assert "the file contains 2 images; only the first is used" in printed.err
    first = json.loads(printed.out)["quantities"][0]["median"]
    assert cli.main([*command, "--series", "1", "-o", str(cells.with_name("b.csv"))]) == 0
    assert json.loads(capsys.readouterr().out)["quantities"][0]["median"] == pytest.approx(first + 100, abs=2)


def test_the_labels_are_never_overwritten(cells: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = cells.with_name("masks.png")
    from PIL import Image

    Image.fromarray(tifffile.imread(cells.with_name("masks.tif"))).save(masks)
    before = masks.read_bytes()
    command = ["quantify", str(cells), "--labels", str(masks), "--figure", str(masks), "--overwrite", "--steps", "0"]
    assert cli.main(command) == 2 and masks.read_bytes() == before
