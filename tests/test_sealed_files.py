"""Files with a correct checksum and impossible content, and names that cannot be used: one sentence."""

import json

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load, safe_open, save

import noisewise as nw
from noisewise import cli, methods
from noisewise.container import CHECKSUM, KEY, with_checksum
from noisewise.io import open_source
from noisewise.io.files import user_path
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.ops import likelihood_table
from noisewise.plots.canvas import new_figure
from noisewise.plots.canvas import save as save_figure
from noisewise.train.loop import Trainer
from noisewise.workflow.training import Training

IMAGE = np.random.default_rng(0).poisson(100, (48, 48)).astype(np.uint16)
QUICK = {"network": "classic", "depth": 1, "features": 4, "patch_size": 16, "batch_size": 2}
OPTIONS = [word for name, value in QUICK.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def sealed_again(path, change):
    """Change the tensors of a file, and give it the checksum that fits."""
    with safe_open(path, "pt") as file:
        text = file.metadata()[KEY]
    tensors = load(path.read_bytes())
    change(tensors)
    header = json.dumps(json.loads(text.rpartition(CHECKSUM)[0] + "}"))
    path.write_bytes(save(tensors, {KEY: with_checksum(header, tensors)}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, torch.zeros(0), torch.ones(3, 5)])
def test_a_noise_model_that_gives_no_finite_noise(tmp_path, value, capsys):
    tifffile.imwrite(tmp_path / "in.tif", IMAGE)
    path = tmp_path / "noise.safetensors"
    Gaussian(3.0).save(path)
    sealed_again(path, lambda tensors: tensors.update(std=torch.as_tensor(value, dtype=torch.float64)))
    with pytest.raises(nw.UserError, match=r"noise\.safetensors: noisewise cannot read this noise model"):
        nw.load_noise(path)
    command = ["train", "pn2v", str(tmp_path / "in.tif"), "--noise", str(path), "-o", str(tmp_path / "m.safetensors")]
    assert cli.main(command) == 2
    assert capsys.readouterr().err.count("error: ") == 1 and not (tmp_path / "m.safetensors").exists()


def test_reading_leaves_a_noise_model_as_it_was(tmp_path):
    Gaussian(3.0).save(tmp_path / "noise.safetensors")
    one, two = nw.load_noise(tmp_path / "noise.safetensors"), Gaussian(3.0)
    signal = torch.linspace(0, 9, 64, dtype=torch.float64).reshape(8, 8)
    samples = [model.sample(signal, torch.Generator().manual_seed(0)) for model in (one, two)]
    assert torch.equal(*samples)


def test_a_seed_is_a_whole_number(tmp_path):
    noise_model = Gaussian(3.0)
    noise_model.provenance = {"seed": 0.0}
    noise_model.save(tmp_path / "noise.safetensors")
    with pytest.raises(nw.UserError, match=r"noise\.safetensors: noisewise cannot read this noise model"):
        nw.load_noise(tmp_path / "noise.safetensors")


@pytest.mark.parametrize("name", ["live.0", "average.1", "best.0", "exp_avg.0", "step.0"])
@pytest.mark.parametrize("change", ["shape", "missing"])
def test_a_training_state_that_does_not_fit(tmp_path, name, change, capsys):
    tifffile.imwrite(tmp_path / "in.tif", IMAGE)
    path = tmp_path / "m.safetensors"
    interrupted_training(tmp_path / "in.tif", path)

    def damage(tensors):
        key = f"training.{name}"
        old = tensors.pop(key)
        if change == "shape":
            tensors[key] = torch.cat([old[None], old[None]])

    sealed_again(path, damage)
    before = path.read_bytes()
    assert cli.main(["train", "n2v", str(tmp_path / "in.tif"), "-o", str(path), "--resume", *OPTIONS]) == 2
    error = capsys.readouterr().err
    assert "state of the training does not fit" in error and error.count("error: ") == 1
    assert path.read_bytes() == before


def interrupted_training(image, path):
    """Write the model file of a training that was interrupted after the first of three steps."""
    training = Training(methods.get("n2v")(**QUICK), [open_source(image)])
    training.model.train_state.steps = 3
    trainer = Trainer(training.model.method, training.model.net, training.patches, training.model.train_state)
    trainer.step()
    trainer.finish()
    training.patches.close()
    training.model.save(path)


# -- names and values --------------------------------------------------------------------------------


def test_names_that_cannot_be_used(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "in.tif", np.stack([IMAGE] * 4), metadata={"axes": "TYX"}, photometric="minisblack")
    with pytest.raises(nw.UserError, match="null character"):
        user_path("a\0b.tif")
    figures = [["measure", "--figure", name] for name in ("a\0b", "")]
    for arguments in (*figures, ["calibrate", "--output", ""], ["calibrate", "-o", "."]):
        assert cli.main([arguments[0], str(tmp_path / "in.tif"), *arguments[1:]]) == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_an_exposure_that_no_image_has():
    with pytest.raises(nw.UserError, match="exposure"):
        nw.train("gap", IMAGE, steps=1, exposure=1e-30)


def test_a_likelihood_table_is_computed_in_small_parts():
    """A mixture computes all its components for each entry."""
    sizes = []

    class Counted(Gaussian):
        def log_prob(self, noisy, signal):
            sizes.append(signal.numel())
            return super().log_prob(noisy, signal)

    Counted(3.0).tabulated(torch.tensor([1.0]), torch.tensor([1.0]), (100.0, 20.0))
    assert max(sizes) <= 1.1 * likelihood_table.CHUNK <= 2**17


def test_a_figure_is_complete_or_absent(tmp_path, monkeypatch):
    figure, path = new_figure((1, 1)), tmp_path / "f.png"
    path.write_bytes(b"old")

    def fails(target, **_):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", fails)
    with pytest.raises(nw.UserError, match="the disk is full"):
        save_figure(figure, path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
