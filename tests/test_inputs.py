"""What a call of the Python functions accepts, and how it answers what it cannot use."""

import numpy as np
import pytest
import tifffile

import noisewise as nw
from noisewise.io import companions, default_output, find_inputs, open_source
from noisewise.noise.models.pixel_maps import PixelMaps

from .conftest import blobs
from .noise_models import example

KINDS = ("autoregressive", "correlated", "gamma_poisson", "gaussian", "histogram", "mixture", "poisson_gaussian")


@pytest.fixture(scope="module")
def noisy():
    """An image of an odd size with Poisson noise, gain 2.2 and offset 100."""
    return (100 + 2.2 * np.random.default_rng(0).poisson(blobs((85, 70)))).astype(np.float32)


@pytest.mark.usefixtures("few_scenes")
@pytest.mark.parametrize("kind", [*KINDS, "pixel_maps", "maps"])
def test_auto_takes_every_noise_model(noisy, kind):
    rng = np.random.default_rng(1)
    maps = (2.2 + 0.1 * rng.normal(size=(85, 70)), 100 + rng.normal(size=(85, 70)), 3 + 0 * noisy)
    noise_model = PixelMaps(*map(np.asarray, maps)) if kind == "maps" else example(kind)
    untrained = nw.denoise(noisy, noise=noise_model, steps=0, average=False)
    assert untrained.mean.shape == noisy.shape and untrained.mean.std() < noisy.std()
    assert nw.denoise(noisy, noise=noise_model, steps=1, average=False).model.train_state.step == 1


def test_images_of_different_sizes_are_denoised_together(noisy):
    results = nw.denoise([noisy, noisy[:12, :12]], method="n2v", steps=2)
    assert [result.mean.shape for result in results] == [(85, 70), (12, 12)]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda image: nw.train("n2v", []), "no image"),
        (lambda image: nw.denoise([]), "no image"),
        (lambda image: nw.measure([]), "no image"),
        (lambda image: nw.denoise([image, image], output=["a.tif"], steps=0), "1 outputs for 2 images"),
        (lambda image: nw.denoise([image, image], output=["a.tif", "a.tif"], steps=0), "two inputs"),
        (lambda image: nw.denoise(image, tile="big", steps=0), "not a size in pixels"),
        (lambda image: nw.denoise(image, budget=5, steps=5), "exclude each other"),
        (lambda image: nw.train("n2v", image, budget=5, steps=5), "exclude each other"),
        (lambda image: nw.train("hdn", image, noise=example("gaussian"), steps=1, mean_samples=1), "one sample"),
        (lambda image: nw.load("~nosuchuser/model.safetensors"), "home folder"),
        (lambda image: nw.denoise("~nosuchuser/image.tif"), "home folder"),
        (lambda image: nw.calibrate(np.stack([image] * 3), kind="pink"), "autoregressive"),
        (lambda image: nw.calibrate(np.stack([image] * 3), kind="correlated", offset=3.0), "neither dark frames"),
    ],
)
def test_what_cannot_be_used_is_a_user_error(noisy, call, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(nw.UserError, match=words):
        call(noisy)
    assert not list(tmp_path.iterdir())


def test_calibrate_gives_correlated_noise_models_too():
    frames = np.random.default_rng(0).normal(100, 5, (4, 64, 64))
    assert type(nw.calibrate(frames, kind="correlated")).__name__ == "Correlated"


def test_outputs_that_exist_are_skipped(noisy, tmp_path):
    for output in ([tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path):
        kept = (output if isinstance(output, list) else [tmp_path / "000_denoised.tif", ""])[0]
        kept.write_bytes(b"kept")
        results = nw.denoise([noisy, noisy], output=output, method="n2v", steps=2, skip_existing=True)
        assert len(results) == 1 and any("skipped" in note for note in results[0].notes)
        assert kept.read_bytes() == b"kept"


@pytest.mark.usefixtures("few_scenes")
def test_a_posterior_in_files_is_that_in_memory(noisy, tmp_path):
    image = tmp_path / "image.tif"
    tifffile.imwrite(image, noisy)
    options = {
        "noise": example("poisson_gaussian"),
        "steps": 1,
        "average": False,
        "reading": 8,
        "width": 8,
        "levels": 2,
    }
    memory = nw.denoise(image, method="hdn", **options).posterior
    files = nw.denoise(image, method="hdn", output=tmp_path / "out.tif", float32=True, std=True, **options).posterior
    for one, other in zip(memory.interval(0.5), files.interval(0.5), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    np.testing.assert_allclose(memory.sample(2), files.sample(2), rtol=1e-5)
    np.testing.assert_allclose(memory.mode(), files.mode(), rtol=1e-5)
    np.testing.assert_allclose(memory.diverse(1, of=2), files.diverse(1, of=2), rtol=1e-5)
    pixels = {"noise": options["noise"], "features": 8, "depth": 1, "steps": 1}
    alone = nw.denoise(image, method="pn2v", output=tmp_path / "s.tif", std=True, **pixels).posterior
    assert alone.sample(2).shape == (2, *noisy.shape)
    with pytest.raises(ValueError, match="a method with samples"):
        alone.mode()


def test_an_animation_of_an_image_with_further_axes(noisy, tmp_path):
    stack = np.stack([noisy, noisy])
    options = {"noise": example("poisson_gaussian"), "steps": 1, "reading": 8, "width": 8, "levels": 2, "samples": 2}
    nw.denoise(stack, axes="SYX", method="hdn", output=tmp_path / "out.npy", gif=True, average=False, **options)
    assert (tmp_path / "out_samples.gif").exists()


@pytest.mark.usefixtures("few_scenes")
def test_what_is_returned_is_shown_in_a_few_lines(noisy):
    result = nw.denoise(noisy, noise=example("poisson_gaussian"), steps=0, average=False)
    checkup = nw.measure(noisy)
    for shown in map(repr, (result, result.model, checkup)):
        assert 2 <= shown.count("\n") + 1 <= 5 and len(shown) < 1000
    assert "simulated" in repr(result) and "simulated" in repr(result.model) and checkup.verdict in repr(checkup)


def test_public_names():
    assert {"denoise", "train", "load", "measure", "calibrate"} <= set(dir(nw)) <= {*nw.__all__, "__version__"}


def test_patterns_in_folders_with_brackets(tmp_path):
    folder = tmp_path / "Exp [day 3]"
    folder.mkdir()
    for name in ("a[1].tif", "b.tif"):
        tifffile.imwrite(folder / name, np.zeros((8, 8), np.uint16))
    for pattern in (folder, folder / "*.tif", folder / "?*.tif"):
        assert [path.name for path in find_inputs([pattern])] == ["a[1].tif", "b.tif"]
    assert [path.name for path in find_inputs([folder / "a[1].tif"])] == ["a[1].tif"]
    assert [path.name for path in find_inputs([str(tmp_path / "Exp*" / "b.tif")])] == ["b.tif"]


def test_outputs_of_images_in_a_zarr_are_beside_it(tmp_path):
    collection = tmp_path / "plate.ome.zarr"
    (collection / "0").mkdir(parents=True)
    assert default_output(collection / "0") == tmp_path / "plate_0_denoised.ome.zarr"
    assert default_output(collection / "A" / "1" / "0", "_std") == tmp_path / "plate_A_1_0_std.ome.zarr"
    assert default_output(tmp_path / "a.b.tif") == tmp_path / "a.b_denoised.tif"
    assert companions(tmp_path / "a.b.tif")["gif"] == tmp_path / "a.b_samples.gif"


def test_guessed_axes_are_reported(tmp_path):
    stack = np.zeros((5, 64, 64), np.uint16)
    np.save(tmp_path / "a.npy", stack)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", metadata=None)
    tifffile.imwrite(tmp_path / "b.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    for image in (stack, tmp_path / "a.npy", tmp_path / "a.tif"):
        assert any(
            "5 x 64 x 64" in note and "give axes, such as ZYX or TYX" in note for note in open_source(image).notes
        )
        assert not open_source(image, "TYX").notes
    assert not open_source(tmp_path / "b.tif").notes and not open_source(stack[0]).notes
