"""Memory of a training: how much is held, that the result does not depend on how much is free, and what is released."""

import gc
import tracemalloc

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import noisewise as nw
from noisewise import methods
from noisewise.axes import Layout
from noisewise.data import planned
from noisewise.data.images import BAND_PIXELS, TrainingImage, fill, load, nbytes
from noisewise.data.patches import PatchSource, moments
from noisewise.io import decoded, open_source
from noisewise.io.memory import MemorySource
from noisewise.workflow import training as training_module
from noisewise.workflow.training import Training

QUICK = {"network": "classic", "depth": 1, "features": 4, "patch_size": 16, "batch_size": 2}
GB = 1 << 30
MOVIE = np.random.default_rng(0).poisson(100, (40, 64, 64)).astype(np.uint16)


@pytest.fixture
def free(monkeypatch):
    """Sets the free memory that is found."""
    return lambda size: monkeypatch.setattr(training_module, "free_bytes", lambda *_: size)


@pytest.fixture
def small_plan(monkeypatch):
    """A plan that a small image exceeds: 400 kB, or with too little free memory less."""
    monkeypatch.setattr(planned, "HELD_BYTES", 400_000)
    monkeypatch.setattr(planned, "FEWEST_BYTES", 50_000)


def trained(image):
    return nw.train("n2v", image, axes="TYX", steps=6, seed=3, **QUICK)


@pytest.mark.parametrize("frames", [4, 40])
def test_weights_do_not_depend_on_the_free_memory(free, small_plan, frames):
    """Held as a whole, or streamed."""
    models = []
    for size in (2 * GB, 64 * GB):
        free(size)
        models.append(trained(MOVIE[:frames]))
    one, two = (model.net.state_dict().values() for model in models)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not any("GB" in note for model in models for note in model.notes)


def test_less_memory_than_planned_is_recorded_and_noted(free, small_plan, tmp_path):
    free(600_000)
    little = trained(MOVIE)
    assert little.train_state.image_bytes == 200_000
    assert any("the result differs" in note for note in little.notes)
    begun = Training(little.method, [open_source(MOVIE, "TYX")], seed=3)
    begun.model.train_state.steps = 6
    begun.model.save(tmp_path / "begun.safetensors")
    # A training that is resumed keeps its plan, unless there is less memory.
    for size, expected in ((64 * GB, 200_000), (200_000, 50_000)):
        free(size)
        model = nw.load(tmp_path / "begun.safetensors")
        assert model.train_state.image_bytes == 200_000
        resumed = Training(model.method, [open_source(MOVIE, "TYX")], resume=model)
        assert model.train_state.image_bytes == expected
        assert any("when it began" in note for note in resumed.notes) == (expected < 200_000)
        resumed.patches.close()
    begun.patches.close()


@pytest.mark.parametrize("stated", [-1, 0, 1, 10**18])
def test_a_plan_from_a_file_is_not_trusted(stated):
    assert planned.plan_bytes(10**9, 64 * GB, stated) == planned.HELD_BYTES


# -- how much is held --------------------------------------------------------------------------------


class Drawn(MemorySource):
    """An image that is made when it is read, so that only what is read needs memory."""

    def read(self, region=None):
        shape = [part.stop - part.start for part in region or self.everything]
        return np.random.default_rng(0).integers(0, 999, shape, dtype=self.dtype)


@pytest.mark.parametrize("shape", [(6000, 4000), (24, 1000, 1000)])
@pytest.mark.parametrize("target", [False, True])
def test_training_holds_what_is_planned(shape, target):
    """Five bytes per pixel, nine with a target; reading and measuring them needs little more."""
    axes = "ZYX"[-len(shape) :]
    source = Drawn("drawn", axes, shape, np.dtype("uint16"))
    image = TrainingImage(source, Layout(axes, axes), source if target else None)
    expected = nbytes(image)
    assert expected == np.prod(shape) * (9 if target else 5)
    patch, device = (16, 32, 32)[-len(shape) :], torch.device("cpu")
    tracemalloc.start()
    try:
        patches = PatchSource([image], patch, 2, seed=0, memory_bytes=GB, device=device)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert expected < peak < 1.2 * expected
    patches.close()


def test_bands_give_what_the_whole_gives():
    rng = np.random.default_rng(0)
    pixels = rng.normal(100, 10, (3 * BAND_PIXELS // 1000, 1000)).astype(np.float32)
    pixels[rng.random(pixels.shape) < 0.01] = np.nan
    pixels[500:1200] = np.inf  # whole rows, across bands
    image = TrainingImage(open_source(pixels), Layout("YX", "YX"))
    found, (values, finite) = load(image, image.noisy.everything), fill(pixels[None])
    assert np.array_equal(found.noisy, values) and np.array_equal(found.valid, finite)
    assert found.pixel_counts.not_finite == (~np.isfinite(pixels)).sum()
    statistics, good = moments([(found.noisy, found.valid)]), pixels[np.isfinite(pixels)].astype(np.float64)
    assert statistics.mean[0] == pytest.approx(good.mean(), rel=1e-12)
    assert statistics.std[0] == pytest.approx(good.std(), rel=1e-6)


def test_images_are_released_after_training():
    training = Training(methods.get("n2v")(**QUICK), [open_source(MOVIE[0])])
    training.run(steps=1)
    assert not training.patches._pool


# -- decoded files -----------------------------------------------------------------------------------


def test_predicting_many_compressed_files_does_not_hold_them(tmp_path, monkeypatch):
    for number in range(24):
        pixels = np.random.default_rng(number).poisson(100, (512, 512)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{number:02d}.tif", pixels, compression="zlib")
    files = sorted(tmp_path.glob("*.tif"))
    monkeypatch.setattr(decoded, "KEPT_BYTES", 1 << 20)
    model = nw.train("n2v", files[0], steps=1, **QUICK)
    peaks = []
    for count in (4, 24):
        gc.collect()
        tracemalloc.start()
        try:
            model.predict(files[:count], output=str(tmp_path / f"out{count}") + "/", average=False)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] + 3 * 2**20  # the other 20 files have 10 MB of pixels


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_released_pixels_are_decoded_again(tmp_path, suffix, monkeypatch):
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        pixels = np.random.default_rng(1).integers(0, 255, (64, 64), dtype=np.uint8)
        if suffix == ".tif":
            tifffile.imwrite(path, pixels, compression="zlib")
        else:
            Image.fromarray(pixels).save(path)
    with open_source(paths[0]) as first, open_source(paths[1]) as second:
        before = first.read()
        monkeypatch.setattr(decoded, "KEPT_BYTES", 64 * 64)
        second.read()
        assert first.array.pixels is None or second.array.pixels is None
        assert np.array_equal(first.read(), before)
        assert second.array.pixels is None
        first.release()
        assert first.array.pixels is None and np.array_equal(first.read(), before)


def test_a_file_of_another_size_is_noticed_when_it_is_decoded_again(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    with open_source(path) as source:
        source.release()
        Image.fromarray(np.zeros((9, 8), np.uint8)).save(path)
        with pytest.raises(nw.UserError, match="changed while it was read"):
            source.read()
