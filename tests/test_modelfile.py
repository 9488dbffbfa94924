"""The model file: equal to the last bit, and nothing else is let in."""

from __future__ import annotations

import io
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

import noisewise as nw
from noisewise.noise.base import Noise
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import Quantization


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 10, (48, 48)).astype(np.float32)


@pytest.fixture(scope="module")
def path(image: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    nw.train("n2v", image, steps=5, network="classic", features=4).save(file)
    return file


def test_round_trip_is_equal_to_the_last_bit(image: np.ndarray, tmp_path: Path) -> None:
    model = nw.train("n2v", image, steps=5, network="classic", features=4)
    model.save(tmp_path / "a.safetensors")
    again = nw.load(tmp_path / "a.safetensors")
    assert again.method == model.method and again.spec == model.spec
    assert again.provenance == json.loads(json.dumps(model.provenance))
    for name, tensor in model.net.state_dict().items():
        assert torch.equal(tensor, again.net.state_dict()[name]), name
    assert np.array_equal(model.predict(image).mean, again.predict(image).mean)
    again.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_finished_model_carries_no_training_state(path: Path) -> None:
    with safe_open(path, "pt") as file:
        assert all(name.startswith("net.") for name in file.keys())  # noqa: SIM118


def test_noise_models_are_kept_with_their_provenance(image: np.ndarray, tmp_path: Path) -> None:
    """Two channels with noise models of two kinds; what is computed from one is not in the file."""
    noise_models: list[Noise] = [
        PoissonGaussian(2.2, 10.0, 3.5, Quantization(1.0, 0.0, 4095.0)),
        Correlated(Gaussian(9.0), row_kernel=2.0),
    ]
    noise_models[0].provenance = {"signal_range": [12.0, 800.0], "warnings": ["µ"]}
    pair = np.stack([image, 2 * image])
    model = nw.train("pn2v", pair, axes="CYX", noise=noise_models, steps=2, network="classic", features=4, depth=1)
    model.save(tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        names = set(file.keys())
    assert {name.split(".")[0] for name in names} == {"net", "noise"}
    assert {name for name in names if name.startswith("noise.1.")} == {
        f"noise.1.{name}" for name in ("kernel", "row_kernel", "column_kernel", "slice_correlation", "pixel_noise.std")
    }
    again = nw.load(tmp_path / "m.safetensors").noise_models
    assert [type(noise_model) for noise_model in again] == [PoissonGaussian, Correlated]
    assert again[0].quantization == Quantization(1.0, 0.0, 4095.0) and again[0].provenance == noise_models[0].provenance
    signal = torch.linspace(60, 140, 50)
    for before, after in zip(noise_models, again, strict=True):
        assert torch.equal(before.log_prob(signal + 3, signal), after.log_prob(signal + 3, signal))


class Bomb:
    """Unpickling this would run code."""

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("kind", ["pickle", "torch", "inside"])
def test_a_pickle_is_refused(kind: str, path: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.safetensors"
    if kind == "pickle":
        file.write_bytes(pickle.dumps(Bomb()))
    elif kind == "torch":
        buffer = io.BytesIO()
        torch.save({"weights": Bomb()}, buffer)
        file.write_bytes(buffer.getvalue())
    else:  # behind a valid file
        file.write_bytes(path.read_bytes() + pickle.dumps(Bomb()))
    with pytest.raises(nw.UserError, match="not a noisewise model"):
        nw.load(file)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, -1])
def test_a_truncated_file_is_refused(size: int, path: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:size])
    with pytest.raises(nw.UserError):
        nw.load(tmp_path / "cut.safetensors")


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_byte_is_noticed(path: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(path.read_bytes())
    where = data.draw(st.integers(0, len(content) - 1))
    content[where] ^= 1 << data.draw(st.integers(0, 7))
    file = tmp_path / "edited.safetensors"
    file.write_bytes(content)
    with pytest.raises(nw.UserError):
        nw.load(file)


def contents(path: Path) -> tuple[str, dict[str, torch.Tensor]]:
    """The text of a file's header, and its tensors."""
    with safe_open(path, "pt") as file:
        return file.metadata()["noisewise"], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def test_edited_settings_are_refused(path: Path, tmp_path: Path) -> None:
    text, tensors = contents(path)
    header = json.loads(text)
    header["settings"]["mask_radius"] = 3
    save_file(tensors, tmp_path / "edited.safetensors", {"noisewise": json.dumps(header)})
    with pytest.raises(nw.UserError, match="edited or damaged"):
        nw.load(tmp_path / "edited.safetensors")


@pytest.mark.parametrize(
    ("before", "after"),
    [("0.30000000000000004", "0.30000000000000005"), ('"seconds": 0', '"seconds":\t0'), (r"\u00b5", r"\u00B5")],
)
def test_a_change_that_means_nothing_is_noticed_too(before: str, after: str, path: Path, tmp_path: Path) -> None:
    """The checksum covers the text, not its meaning: more than 17 digits, white space, ways to write µ."""
    model = nw.load(path)
    model.provenance |= {"seconds": 0.1 + 0.2, "by": "µ"}
    model.save(tmp_path / "odd.safetensors")
    text, tensors = contents(tmp_path / "odd.safetensors")
    assert text.count(before) == 1 and json.loads(text.replace(before, after)) == json.loads(text)
    save_file(tensors, tmp_path / "edited.safetensors", {"noisewise": text.replace(before, after)})
    with pytest.raises(nw.UserError, match="edited or damaged"):
        nw.load(tmp_path / "edited.safetensors")


def test_the_checksum_may_not_be_left_out(path: Path, tmp_path: Path) -> None:
    text, tensors = contents(path)
    header = json.loads(text)
    assert re.fullmatch("[0-9a-f]{64}", header.pop("sha256"))
    for edited in (json.dumps(header), text + " ", text.replace('"sha256"', '"SHA256"')):
        save_file(tensors, tmp_path / "edited.safetensors", {"noisewise": edited})
        with pytest.raises(nw.UserError, match="edited or damaged"):
            nw.load(tmp_path / "edited.safetensors")
    save_file(tensors, tmp_path / "same.safetensors", {"noisewise": text})
    assert nw.load(tmp_path / "same.safetensors").method == nw.load(path).method


def test_a_file_of_another_format_is_refused_in_plain_words(path: Path, tmp_path: Path) -> None:
    header = json.loads(contents(path)[0])
    save_file({"x": torch.zeros(3)}, tmp_path / "old.safetensors", {"noisewise": json.dumps(header | {"format": 1})})
    with pytest.raises(
        nw.UserError, match=r"format 1, but this version of noisewise reads format \d+; update noisewise"
    ):
        nw.load(tmp_path / "old.safetensors")


def test_foreign_safetensors_and_missing_files(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(nw.UserError, match="not a noisewise model"):
        nw.load(tmp_path / "foreign.safetensors")
    with pytest.raises(nw.UserError, match="no such"):
        nw.load(tmp_path / "missing.safetensors")


def test_a_model_for_other_images_is_refused(path: Path) -> None:
    model = nw.load(path)
    with pytest.raises(nw.UserError, match="3 channels, the model is for 1"):
        model.predict(np.zeros((3, 20, 20), np.float32), axes="CYX")
