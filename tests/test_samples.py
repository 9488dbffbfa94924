"""Posterior samples: independent of the tiles, written along an axis of their own, refused with a reason."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import tifffile

import noisewise as nw
from noisewise import cli, methods, posterior
from noisewise.io import open_source
from noisewise.io.animation import planes
from noisewise.io.memory import MemorySink
from noisewise.io.stacked import stacked
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.posterior import choose_medoids
from noisewise.predict.outputs import Outputs, Samples
from noisewise.predict.run import Predictor

from .conftest import blobs

pytestmark = pytest.mark.usefixtures("few_scenes")
SAMPLING = [name for name in sorted(methods.modules()) if methods.get(name)().traits.samples]
TINY = {"features": 8, "depth": 2, "batch_size": 2, "patch_size": 32}
LADDER = {"reading": 8, "width": 8, "levels": 3}
LIGHT = {"growth": 20.0, "passes": 4}
QUICK = {"gap": LIGHT, "simulated": LIGHT, "hdn": LADDER, "divnoising": LADDER | {"levels": 1}, "cosdd": LADDER}


def counts(shape=(72, 84), seed=0):
    return np.random.default_rng(seed).poisson(blobs(shape) / 4).astype(np.float32)


def trained(name, image, steps=12, axes=None, **settings):
    settings = TINY | QUICK[name] | settings
    return nw.train(name, image, noise=PoissonGaussian(1.0, 0.0, 0.0), steps=steps, axes=axes, **settings)


@cache
def trained_on_counts(name):
    return trained(name, counts())


@pytest.fixture(params=SAMPLING)
def model(request):
    return trained_on_counts(request.param)


def test_samples_depend_on_their_number_and_seed_alone(model):
    post = model.predict(counts(), average=False)
    three, five, other = post.sample(3), post.sample(5), post.sample(3, seed=1)
    assert three.shape == (3, *post.mean.shape) and three.dtype == np.float32
    assert np.array_equal(three, five[:3])
    assert len({sample.tobytes() for sample in (*five, *other)}) == 8


def test_tiles_have_no_seams(model):
    source = open_source(counts())
    found = []
    for tile in (None, 40):
        sink = MemorySink((3, *source.shape), np.float32)
        place = lambda region, number: (slice(number, number + 1), *region)  # noqa: E731
        model.predict_to(source, Outputs(samples=Samples(range(3), 0, sink, place)), tile=tile)
        found.append(sink.array)
    np.testing.assert_allclose(*found, atol=1e-3 * counts().std())
    assert np.ptp(found[0], 0).mean() > 1e-2


def test_pixels_that_are_not_finite_are_kept_and_affect_no_others(model):
    image = counts()
    image[10, 11] = np.nan
    drawn = model.predict(image, average=False).sample(2)
    assert np.isnan(drawn[:, 10, 11]).all() and np.isfinite(drawn).sum() == drawn.size - 2


@pytest.mark.parametrize("name", ["hdn", "divnoising"])
def test_mean_and_std_from_samples_are_those_of_the_samples(name):
    model = trained_on_counts(name)
    model = replace(model, method=replace(model.method, mean_samples=11))
    post = model.predict(counts(), average=False)
    drawn = post.sample(11).astype(np.float64)
    np.testing.assert_allclose(post.mean, drawn.mean(0), atol=1e-4)
    np.testing.assert_allclose(post.std, drawn.std(0, ddof=1), atol=1e-4)


def test_a_mean_of_samples_has_no_seams_either():
    model, source, found = trained_on_counts("hdn"), open_source(counts()), []
    direct, drawn = (Predictor(model.method, model.net, sampling=sampling).halo for sampling in (False, True))
    model = replace(model, method=replace(model.method, mean_samples=3))
    assert Predictor(model.method, model.net).halo == drawn > direct
    for tile in (None, 40):
        sink = MemorySink(source.shape, np.float32)
        model.predict_to(source, Outputs(sink), tile=tile)
        found.append(sink.array)
    np.testing.assert_allclose(*found, atol=1e-3 * counts().std())


@pytest.mark.parametrize("name", SAMPLING)
def test_channels_and_slices(name):
    image = np.stack([counts((4, 24, 28), seed) for seed in (0, 1)])
    model = trained(name, image, axes="CZYX", steps=2, depth=1)
    drawn = model.predict(image, axes="CZYX", average=False).sample(2)
    assert drawn.shape == (2, *image.shape) and np.isfinite(drawn).all()


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [("YX", (8, 9), "TYX"), ("ZYX", (3, 8, 9), "TZYX"), ("TYX", (3, 8, 9), "TCYX"), ("TCYX", (3, 2, 8, 9), "STCYX")],
)
def test_samples_are_stacked_along_an_axis_of_their_own(axes, shape, expected):
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    stack = stacked(open_source(image, axes), 4)
    assert stack.axes == expected and stack.size_of(stack.along) == 4
    for number in range(4):
        assert np.array_equal(np.squeeze(stack.read(stack.place(tuple(slice(0, n) for n in shape), number))), image)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    trained_on_counts("hdn").save(path)
    return path


def run(capsys, *args):
    capsys.readouterr()
    code = cli.main([str(arg) for arg in args])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.mark.parametrize(("suffix", "axes"), [(".tif", "YX"), (".ome.tif", "TYX"), (".npy", "YX"), (".ome.zarr", "YX")])
def test_predict_writes_them_beside_the_image(saved, tmp_path, monkeypatch, capsys, suffix, axes):
    monkeypatch.chdir(tmp_path)
    image = counts((2, 40, 44)).astype(np.uint16)[: 1 if axes == "YX" else 2].squeeze()
    if suffix == ".npy":
        np.save("cells.npy", image)
    elif suffix == ".ome.zarr":
        with nw.io.create_sink("cells.ome.zarr", open_source(image, axes)) as sink:
            sink.write(open_source(image, axes).everything, image)
    else:
        tifffile.imwrite("cells" + suffix, image, metadata={"axes": axes}, ome=suffix == ".ome.tif")
    code, out, err = run(capsys, "predict", saved, "cells" + suffix, "--samples", "3", "--std", "--json")
    assert code == 0, err
    record = json.loads(out)
    written = open_source(record["samples"][0])
    assert record["samples"] == [f"cells_denoised_samples{suffix}"]
    assert written.dtype == image.dtype and sorted(written.shape) == sorted((3, *image.shape))
    drawn = np.moveaxis(written.read(), 1 if axes == "TYX" else 0, 0)
    expected = nw.load(saved).predict("cells" + suffix).sample(3)
    assert np.abs(drawn - np.clip(expected, 0, None)).max() <= 0.51


def test_an_animation_the_mode_and_diverse_samples(saved, tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("cells.tif", counts((40, 44)).astype(np.uint16), metadata={"axes": "YX"})
    options = ("--samples", "7", "--diverse", "3", "--gif", "--mode", "--float32", "--json")
    code, out, err = run(capsys, "predict", saved, "cells.tif", *options)
    assert code == 0, err
    record = json.loads(out)
    every = nw.load(saved).predict("cells.tif").sample(7)
    kept = open_source(record["samples"][0]).read()
    assert kept.shape == (3, 40, 44)
    assert all(any(np.allclose(one, other, atol=1e-4) for other in every) for one in kept)
    with Image.open(record["gif"][0]) as film:
        assert film.n_frames == 3 and film.size == (44, 40)
    mode = open_source(record["mode"][0]).read()
    assert np.allclose(mode, nw.load(saved).predict("cells.tif").mode(), atol=1e-4)
    assert mode.std() < every.std()
    before = sorted(tmp_path.iterdir())
    code, _, err = run(capsys, "predict", saved, "cells.tif", "-o", "again.tif", "--gif")
    assert code == 2 and "gif needs samples; give a number of samples" in err and sorted(tmp_path.iterdir()) == before
    code, _, err = run(capsys, "predict", saved, "cells.tif", "-o", "again.tif", "--samples", "2", "--diverse", "3")
    assert code == 2 and "diverse 3 of 2 is not possible; give 1 to 2" in err and sorted(tmp_path.iterdir()) == before


def test_the_animation_of_a_stack_shows_its_maximum():
    image = np.random.default_rng(0).integers(0, 1000, (4, 2, 3, 8, 9)).astype(np.uint16)  # samples, C, Z, Y, X
    source = open_source(image[0], "CZYX")
    stack = stacked(source, 4)
    frames = list(planes(open_source(image, stack.axes), stack))
    assert stack.axes == "TCZYX" and len(frames) == 4
    assert all(np.array_equal(frame, one[0].max(0)) for frame, one in zip(frames, image, strict=True))


def test_diverse_samples_represent_all(monkeypatch):
    """Three kinds of images, one of them rare: one of each is chosen."""
    rng = np.random.default_rng(0)
    kinds = [0] * 12 + [1] * 12 + [2] * 3
    rng.shuffle(kinds)
    centres = rng.normal(0, 1, (3, 40, 50))
    images = np.stack([centres[kind] + rng.normal(0, 0.2, (40, 50)) for kind in kinds])

    def draw(numbers):
        return images[list(numbers)]

    chosen = choose_medoids(3, len(images), draw)
    assert sorted(kinds[number] for number in chosen) == [0, 1, 2]
    assert len(choose_medoids(5, 5, draw)) == 5
    monkeypatch.setattr(posterior, "CHUNK_VALUES", 4 * images[0].size)
    assert choose_medoids(3, len(images), draw) == chosen


def test_impossible_samples_are_refused_before_the_work(saved, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("cells.npy", counts())
    before = sorted(tmp_path.iterdir())
    code, out, err = run(capsys, "predict", saved, "cells.npy", "--samples=-3")
    assert code == 2 and out == "" and err == "error: samples -3 is not a number of samples; give 1 or more\n"
    code, _, err = run(capsys, "denoise", "cells.npy", "--method", "n2v", "--samples", "4", "--steps", "2")
    assert (
        code == 2
        and err.startswith("error: method n2v gives no samples; methods that do: simulated, ")
        and "--samples 8" in err
    )
    code, _, err = run(capsys, "predict", saved, "cells.npy", "--samples", "1000000000")
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_evaluate_compares_std_with_errors(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    truth, std = rng.uniform(50, 200, (80, 90)), rng.uniform(1, 9, (80, 90))
    np.save("truth.npy", truth.astype(np.float32))
    np.save("found.npy", (truth + std * rng.normal(0, 1, truth.shape)).astype(np.float32))
    np.save("std.npy", std.astype(np.float32))
    code, out, err = run(
        capsys, "evaluate", "found.npy", "truth.npy", "--std", "std.npy", "--json", "--figure", "f.png"
    )
    assert code == 0, err
    found = json.loads(out)["calibration"][0]
    assert found["ence"] < 0.06 and found["ratio"] == pytest.approx(1, abs=0.05)
    assert found["coverage"]["0.9"] == pytest.approx(0.9, abs=0.015)
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = run(capsys, "evaluate", "found.npy", "truth.npy", "--std", "std.npy")
    assert code == 0 and "% intervals contain" in out and "ENCE" in out
    np.save("small.npy", std[:40].astype(np.float32))
    for wrong, words in (
        (("--std", "small.npy"), "images of one size"),
        (("--figure", "g.png"), "--std"),
        (("--std", "std.npy", "--figure", "f.png"), "exists"),
    ):
        code, out, err = run(capsys, "evaluate", "found.npy", "truth.npy", *wrong)
        assert code == 2 and out == "" and words in err and err.count("\n") == 1
