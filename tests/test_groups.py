"""Images of one call with different noise: each kind is denoised by a model of its own."""

import importlib
import itertools
import json

import numpy as np
import pytest
import tifffile

import noisewise as nw
from noisewise.cli import main
from noisewise.evaluate.metrics import psnr
from noisewise.workflow.alike import alike, group_channels, noise_of
from tests.test_measure import scene

workflow = importlib.import_module("noisewise.workflow.denoise")
CAMERAS = {"a": (1.0, 1.0), "b": (8.0, 0.2), "c": (1.0, 1.0), "d": (8.0, 0.2)}  # gain, exposure


def pair(number, gain, exposure, size=192):
    """Truth and exposed image, ADU."""
    photons = exposure * scene(size, number)
    return 100 + gain * photons, (100 + gain * np.random.default_rng(number).poisson(photons)).astype("uint16")


PAIRS = [pair(number, *camera) for number, camera in enumerate(CAMERAS.values())]


def test_images_of_two_cameras_are_as_good_as_alone():
    together = nw.denoise([noisy for _, noisy in PAIRS], steps=0)
    for (truth, noisy), one in zip(PAIRS, together, strict=True):
        alone = nw.denoise(noisy, steps=0)
        assert psnr(one.mean, truth, np.ptp(truth)) > psnr(alone.mean, truth, np.ptp(truth)) - 0.3
    assert together[0].model is together[2].model and together[0].model is not together[1].model
    assert "2 different kinds of noise (2 images like number 0, 2 images like number 1)" in together[0].notes[0]


def test_order_of_results_and_files(tmp_path, capsys):
    for name, (_, noisy) in zip(CAMERAS, PAIRS, strict=True):
        tifffile.imwrite(tmp_path / f"{name}.tif", noisy)
    (tmp_path / "e.tif").write_bytes(b"not an image")
    command = ["denoise", *(str(tmp_path / f"{name}.tif") for name in "abecd"), "--steps", "0", "--json"]
    assert main(command) == 3
    found = json.loads(capsys.readouterr().out)
    assert [path.rpartition("/")[2] for path in found["output"]] == [f"{name}_denoised.tif" for name in "abcd"]
    assert any("2 images like a.tif, 2 images like b.tif" in note for note in found["notes"])
    for name, (truth, noisy) in zip(CAMERAS, PAIRS, strict=True):
        denoised = tifffile.imread(tmp_path / f"{name}_denoised.tif")
        assert psnr(denoised, truth, np.ptp(truth)) > psnr(noisy, truth, np.ptp(truth)) + 3


def test_one_model_file_cannot_hold_two_models(tmp_path):
    images = [noisy for _, noisy in PAIRS[:2]]
    with pytest.raises(nw.UserError, match="2 different kinds of noise"):
        nw.denoise(images, steps=0, model=tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_training_on_both_tells_so():
    images = [noisy for _, noisy in PAIRS]
    assert any("train a model for each kind" in note for note in nw.train("simulated", images, steps=1).notes)
    assert not any("kinds of noise" in note for note in nw.train("n2v", images, steps=1).notes)


@pytest.mark.parametrize("method", ["auto", "simulated"])
def test_dim_and_bright_images_of_one_camera_are_one_group(method):
    images = [pair(number, 2.0, exposure)[1] for number, exposure in enumerate((0.1, 1, 10, 3))]
    results = nw.denoise(images, steps=0, method=method)
    assert all(one.model is results[0].model for one in results)
    assert not any("kinds of noise" in note for note in results[0].notes)


@pytest.mark.parametrize("order", ["abz", "zab"])
def test_a_group_that_cannot_be_denoised_does_not_stop_the_others(tmp_path, order, monkeypatch):
    """Its files are collected with the reason; without `failed`, it is an error."""
    for name, (_, noisy) in zip("azb", PAIRS, strict=False):
        tifffile.imwrite(tmp_path / f"{name}.tif", noisy)
    original = workflow.MeasuredNoise

    def measured_noise(sources):
        if sources[0].name == "z.tif":
            raise nw.UserError("z.tif: is odd")
        return original(sources)

    monkeypatch.setattr(workflow, "MeasuredNoise", measured_noise)
    images = [tmp_path / f"{name}.tif" for name in order]
    failed = {}
    results = nw.denoise(images, output=tmp_path / "out", steps=0, failed=failed)
    assert [one.path.name for one in results] == ["a_denoised.tif", "b_denoised.tif"]
    assert failed == {str(tmp_path / "z.tif"): "z.tif: is odd"}
    with pytest.raises(nw.UserError, match="is odd"):
        nw.denoise(images, steps=0)


def test_groups_do_not_depend_on_the_order():
    """A dark frame is like the images of both cameras, and must not bring them together."""
    rng = np.random.default_rng(0)
    dark = (100 + rng.poisson(0.2, (192, 192))).astype("uint16")
    images = [dark, *(noisy for _, noisy in PAIRS)]
    for order in itertools.islice(itertools.permutations(range(5)), 0, None, 13):
        found = group_channels([noise_of(nw.io.open_source(images[number])) for number in order])
        cameras = [{order[number] % 2 for number in members if order[number]} for members in found]
        assert sorted(map(len, cameras)) == [1, 1]


def test_every_channel_counts():
    """Of two images whose second channels differ, each gets its own models; an empty channel counts for nothing."""
    (_, a), (_, b), (_, c), _ = PAIRS
    empty = np.zeros_like(a)
    same, other, lacking = np.stack([a, c]), np.stack([c, b]), np.stack([empty, a])
    channels = [noise_of(nw.io.open_source(image, axes="CYX")) for image in (same, other, lacking)]
    assert not alike(channels[0], channels[1]) and alike(channels[0], channels[2])


def test_the_same_source_twice():
    source = nw.io.open_source(PAIRS[0][1])
    assert len(nw.denoise([source, source], steps=0)) == 2


def test_outputs_of_all_groups_are_checked_before_the_first(tmp_path):
    outputs = [tmp_path / "a.tif", tmp_path / "b.tif"]
    outputs[1].write_bytes(b"old")
    with pytest.raises(nw.UserError, match="exists already"):
        nw.denoise([noisy for _, noisy in PAIRS[:2]], output=outputs, steps=0)
    assert not outputs[0].exists() and outputs[1].read_bytes() == b"old"


def test_an_interruption_of_the_second_group(tmp_path, monkeypatch, capsys):
    """No command with a model of another group is suggested."""
    for name, (_, noisy) in zip("ab", PAIRS, strict=False):
        tifffile.imwrite(tmp_path / f"{name}.tif", noisy)
    original = workflow.Training.run

    def run(self, **options):
        if "b.tif" in str(self.model.provenance["trained_on"]):
            raise workflow.Interrupted(self.model)
        return original(self, **options)

    monkeypatch.setattr(workflow.Training, "run", run)
    command = ["denoise", str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), "--steps", "0"]
    assert main(command) == 130
    message = capsys.readouterr().err
    assert "--skip-existing" in message and "predict" not in message and "train" not in message.rpartition("error")[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "a_denoised.tif", "b.tif"]
    monkeypatch.undo()
    assert main([*command, "--skip-existing"]) == 0 and (tmp_path / "b_denoised.tif").exists()
