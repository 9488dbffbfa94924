"""xarray in, xarray out: axes from dimensions, results with the labels of the image; and no import of xarray."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import noisewise as nw
from noisewise import io

xarray = pytest.importorskip("xarray")
TIME_ZYX = ("time", "z", "y", "x")


def labelled(shape: tuple[int, ...], dims: tuple[str, ...], **options: Any) -> Any:
    """A noisy image with a name, attributes and coordinates in pixels or micrometres."""
    rng = np.random.default_rng(0)
    pixels = (100 + 50 * np.sin(np.arange(shape[-1]) / 9) + rng.normal(0, 9, shape)).astype(np.float32)
    coordinates = {dim: (dim, 0.2 * np.arange(n), {"units": "µm"}) for dim, n in zip(dims, shape, strict=True)}
    return xarray.DataArray(
        pixels, dims=dims, name="cells", attrs={"stain": "DAPI"}, **{"coords": coordinates} | options
    )


@pytest.fixture(scope="module")
def model() -> nw.Model:
    return nw.train("n2v", labelled((64, 64), ("y", "x")), steps=2, features=8, depth=1)


def same_labels(found: Any, image: Any) -> None:
    assert isinstance(found, xarray.DataArray)
    assert found.dims == image.dims and found.name == image.name and found.attrs == image.attrs
    assert set(found.coords) == set(image.coords)
    for name in image.coords:
        xarray.testing.assert_identical(found.coords[name], image.coords[name])


@pytest.mark.parametrize(
    ("dims", "axes"),
    [
        (("y", "x"), "YX"), (("Y", "X"), "YX"), (TIME_ZYX, "TZYX"), (("T", "C", "Z", "Y", "X"), "TCZYX"),
        (("channel", "y", "x"), "CYX"), (("x", "y"), "XY"), (("sample", "row", "col"), "SYX"),
    ],
)  # fmt: skip
def test_dimensions_are_axes(dims: tuple[str, ...], axes: str) -> None:
    source = io.open_source(xarray.DataArray(np.zeros((4, 5, 6, 7, 8)[-len(dims) :], "uint16"), dims=dims))
    assert source.axes == axes
    assert io.open_source(source.array, axes.lower()).axes == axes  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("dims", "axes", "message"),
    [
        (("well", "y", "x"), None, r"cells: the dimension 'well' is not known.*image\.rename\({'well': 's'}\)"),
        (("t", "time", "y", "x"), None, "the dimensions 't' and 'time' are both T"),
        (("z", "t"), None, "Y and X are required"),
        (("z", "y", "x"), "TYX", r"axes 'TYX' say T of the dimension 'z', which is Z.*rename\({'z': 't'}\)"),
        (("z", "y", "x"), "YX", "name 2 dimensions, but the image has 3"),
        (("z", "y", "x"), "QYX", "unknown letter 'Q'"),
    ],
)
def test_dimensions_that_are_no_axes_are_refused(dims: tuple[str, ...], axes: str | None, message: str) -> None:
    image = labelled((4, 5, 40, 40)[-len(dims) :], dims)
    for call in (nw.denoise, nw.measure, io.open_source):
        with pytest.raises(nw.UserError, match=message):
            call(image, axes=axes)


def test_axes_name_dimensions_without_a_known_name() -> None:
    assert io.open_source(xarray.DataArray(np.zeros((3, 40, 40))), "TYX").axes == "TYX"  # dim_0, dim_1, dim_2
    assert io.open_source(labelled((3, 40, 40), ("well", "y", "x")), "SYX").axes == "SYX"


def test_a_dataset_is_refused() -> None:
    with pytest.raises(nw.UserError, match=r"is an xarray\.Dataset.*give one of its variables \('cells'\)"):
        nw.measure(labelled((64, 64), ("y", "x")).to_dataset())


def test_coordinates_give_pixel_size_and_channel_names() -> None:
    coordinates = {
        "time": ("time", [0, 500, 1000], {"units": "ms"}), "c": ["DAPI", "GFP"],
        "z": ("z", [0.0, 1.0, 2.5], {"units": "µm"}), "y": ("y", np.arange(40) * 65.0, {"units": "nm"}),
        "x": np.arange(40) * 0.065,
    }  # fmt: skip
    image = labelled((3, 2, 3, 40, 40), ("time", "c", "z", "y", "x"), coords=coordinates)
    source = io.open_source(image)
    assert dict(source.scale) == pytest.approx({"T": 0.5, "Y": 0.065})  # uneven along z, without a unit along x
    assert source.channel_names == ["DAPI", "GFP"] and source.name == "cells"


@pytest.mark.parametrize("dims", [("y", "x"), ("Y", "X"), ("time", "y", "x"), ("x", "y"), ("y", "x", "time")])
def test_results_are_labelled_as_the_image(model: nw.Model, dims: tuple[str, ...]) -> None:
    image = labelled((40, 44, 3)[: len(dims)] if dims[-1] == "time" else (3, 40, 44)[-len(dims) :], dims)
    found = model.predict(image).mean
    same_labels(found, image)
    plain = model.predict(image.values, axes="".join(dim[0].upper() for dim in dims)).mean
    np.testing.assert_array_equal(found.values, plain)
    assert found.dtype == np.float32 and isinstance(plain, np.ndarray)


def test_denoise_labels_mean_std_intervals_and_samples() -> None:
    image = labelled((64, 64), ("y", "x"), coords={"y": np.arange(64), "plate": 7})
    result = nw.denoise(image, steps=0)
    assert result.std is not None and result.checkup is not None
    for found in (result.mean, result.std, *result.posterior.interval(0.9)):
        same_labels(found, image)
    samples = result.posterior.sample(3)
    assert samples.dims == ("sample", "y", "x") and samples.name == "cells" and int(samples.plate) == 7
    np.testing.assert_array_equal(samples.y, image.y)
    assert result.model.provenance["trained_on"] == ["cells"]


def test_samples_of_separate_images_get_a_dimension_of_another_name() -> None:
    result = nw.denoise(labelled((2, 64, 64), ("sample", "y", "x")), steps=0)
    assert result.posterior.sample(3).dims == ("draw", "sample", "y", "x")


def test_several_images_and_files(model: nw.Model, tmp_path: Any) -> None:
    first, second = labelled((40, 44), ("y", "x")), np.zeros((40, 40), np.float32)
    found = model.predict([first, second])
    same_labels(found[0].mean, first)
    assert isinstance(found[1].mean, np.ndarray)
    written = model.predict(first, output=tmp_path / "clean.tif")
    same_labels(written.mean, first)
    np.testing.assert_allclose(written.mean, found[0].mean)
    with io.open_source(tmp_path / "clean.tif") as source:
        assert dict(source.scale) == pytest.approx({"Y": 0.2, "X": 0.2})


def test_measure_takes_named_dimensions() -> None:
    image = labelled((4, 64, 64), ("time", "y", "x"))
    checkup = nw.measure(image)
    assert checkup.from_frames and checkup.name == "cells"
    assert checkup.signal_range == nw.measure(image.values, axes="TYX").signal_range


def test_xarray_is_not_imported() -> None:
    code = (
        "import sys, numpy as np, noisewise as nw\n"
        "nw.measure(np.random.default_rng(0).normal(100, 9, (64, 64)))\n"
        "assert 'xarray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_results_keep_their_labels_where_other_inputs_fail(model: nw.Model) -> None:
    image, failed = labelled((64, 64), ("y", "x")), dict[str, str]()
    (found,) = nw.predict(["missing.tif", image], model, failed=failed)
    same_labels(found.mean, image)
    assert list(failed) == ["missing.tif"]
