"""A method, a noise model, a file format and a command are one new file each, and nothing else."""

import importlib
import json
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import noisewise as nw
from noisewise import cli, io, methods
from noisewise.noise import models

METHOD = '''
"""Identity: returns the noisy image."""

from dataclasses import dataclass

from torch import Tensor

from noisewise.methods.base import Batch, Denoiser, Method
from noisewise.methods.losses.reductions import masked_mean


@dataclass(frozen=True, kw_only=True)
class Shrink(Method):
    """Shrink: a method of a single file, for this test."""

    strength: float = 0.5
    """how much"""

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        noisy = net.encode(batch.noisy)
        return masked_mean((net.backbone(noisy).float() - self.strength * noisy) ** 2, net.fold(batch.valid))
'''

NOISE = '''
"""Laplacian noise."""

import torch
from torch import Tensor

from noisewise.noise.base import GaussianSum, Value
from noisewise.noise.quantization import CONTINUOUS, Quantization


class Wide(GaussianSum):
    """p(x|s) = N(x; s, width^2)."""

    def __init__(self, width: Value, quantization: Quantization = CONTINUOUS) -> None:
        super().__init__(quantization)
        self.store(width=width)

    def components(self, signal, noisy=None):
        width = self.width.to(signal).expand(signal.shape)[..., None]
        return torch.zeros_like(width), signal[..., None], width

    @classmethod
    def fit(cls, noisy, signal, *, quantization=CONTINUOUS):
        return cls((noisy - signal).std(), quantization)
'''

FORMAT = '''
"""Text tables of numbers."""

from pathlib import Path

import numpy as np

from noisewise.io.base import Sink
from noisewise.io.memory import MemorySource, open_array

SUFFIXES = (".csv",)


def open_file(path: Path, axes: str | None) -> MemorySource:
    """An image from a table."""
    source = open_array(np.loadtxt(path, delimiter=",", dtype=np.float32, ndmin=2), axes, path.name)
    source.path = path
    return source


class TableSink(Sink):
    """A table that is written when it is complete."""

    def __init__(self, draft, like, dtype) -> None:
        self.draft, self.dtype, self.pixels = draft, np.dtype(dtype), np.zeros(like.shape, dtype)

    def write(self, region, pixels) -> None:
        self.pixels[region] = pixels

    def commit(self) -> None:
        np.savetxt(self.draft.temporary, self.pixels, delimiter=",")
        self.draft.commit()

    def discard(self) -> None:
        self.draft.discard()


def create(draft, like, dtype, provenance) -> Sink:
    """A table like an image."""
    return TableSink(draft, like, dtype)
'''

COMMAND = '''
"""`noisewise hello`."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Hello:
    """Greets the user."""

    name: str = "you"
    """whom to greet"""

    def run(self) -> int:
        """Greet."""
        print(f"hello {self.name}")
        return 0
'''


@contextmanager
def one_new_file(package, folder: Path, name: str, text: str):
    """The package as if it had this file."""
    folder.mkdir()
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    package.__path__.append(str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        package.__path__.remove(str(folder))
        sys.modules.pop(f"{package.__name__}.{name}", None)
        models.kinds.cache_clear()


def test_a_method_is_one_file(tmp_path, planted, capsys):
    _, noisy = planted
    with one_new_file(methods, tmp_path / "methods", "shrink", METHOD):
        assert "shrink" in methods.modules()
        model = nw.train("shrink", noisy, steps=3, strength=0.25, features=8, depth=1)
        model.save(tmp_path / "model.safetensors")
        again = nw.load(tmp_path / "model.safetensors")
        assert again.method.strength == 0.25
        assert again.predict(noisy, average=False).mean.shape == noisy.shape
        assert cli.main(["methods", "--json"]) == 0
        assert "shrink" in {row["name"] for row in json.loads(capsys.readouterr().out)["methods"]}
        assert cli.main(["train", "shrink", "--help"]) == 0
        assert "--strength" in capsys.readouterr().out


def test_a_noise_model_is_one_file(tmp_path):
    with one_new_file(models, tmp_path / "models", "wide", NOISE):
        models.kinds.cache_clear()
        signal = torch.full((4000,), 10.0, dtype=torch.float64)
        fitted = models.get("wide").fit(signal + 2 * torch.randn(4000, dtype=torch.float64), signal)
        fitted.save(tmp_path / "noise.safetensors")
        again = nw.load_noise(tmp_path / "noise.safetensors")
        assert type(again).__name__ == "Wide"
        assert float(again.width) == float(fitted.width) == pytest.approx(2, rel=0.1)


def test_a_file_format_is_one_file(tmp_path, planted):
    signal, _ = planted
    with one_new_file(io.formats, tmp_path / "formats", "table", FORMAT):
        path = tmp_path / "image.csv"
        np.savetxt(path, signal[:40, :40], delimiter=",")
        source = io.open_source(path)
        np.testing.assert_allclose(source.read(), signal[:40, :40], rtol=1e-5)
        assert [found.name for found in io.find_inputs([tmp_path])] == ["image.csv"]
        with io.create_sink(tmp_path / "copy.csv", source) as sink:
            sink.write(source.everything, source.read())
        np.testing.assert_array_equal(io.open_source(tmp_path / "copy.csv").read(), source.read())


def test_a_command_is_one_file(tmp_path, capsys):
    with one_new_file(cli, tmp_path / "commands", "hello", COMMAND):
        assert cli.main(["--help"]) == 0
        assert "Greets the user." in capsys.readouterr().out
        assert cli.main(["hello", "--name", "world"]) == 0
        assert capsys.readouterr().out == "hello world\n"
