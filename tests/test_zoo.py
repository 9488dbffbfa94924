"""Models for other programs, and from them: TorchScript, ONNX, the BioImage Model Zoo, CAREamics."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from bioimageio import core
from torch import Tensor
from torch.nn import functional as F

import noisewise as nw
from noisewise.errors import UserError
from noisewise.foreign.package import with_blocks
from noisewise.model import Model
from noisewise.predict.run import Predictor
from noisewise.zoo.bioimageio import write_package
from noisewise.zoo.graph import Graph, write_onnx, write_torchscript
from tests.conftest import random_weights

pytestmark = pytest.mark.filterwarnings("ignore")
SIZES = {"YX": [(64, 64), (101, 40), (37, 133)], "ZYX": [(8, 48, 48), (11, 40, 57), (5, 33, 64)]}
TOLERANCE = 1e-4  # standard deviations of the noise


def noisy(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    signal = 12 + 8 * np.sin(np.arange(shape[-1]) / 5) * np.cos(np.arange(shape[-2]) / 7)[:, None]
    return (2 * np.random.default_rng(seed).poisson(np.broadcast_to(signal, shape)) + 100).astype(np.uint16)


def trained(method: str, axes: str, **settings: Any) -> Model:
    """A model whose weights are random, so that every layer counts."""
    model = nw.train(method, noisy((64, 64) if axes == "YX" else (6, 64, 64)), axes=axes, steps=1, **settings)
    if not model.method.traits.pretrained:
        random_weights(model.net.backbone)
    return model


MODELS = {
    "n2v": ("n2v", "YX", {}), "n2v in 3D": ("n2v", "ZYX", {}), "n2v2": ("n2v", "YX", {"network": "n2v2"}),
    "careamics": ("n2v", "YX", {"network": "careamics"}), "simulated": ("simulated", "YX", {}),
    "simulated in 3D": ("simulated", "ZYX", {}), "hdn": ("hdn", "YX", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_graph_gives_the_posterior_at_any_size(tmp_path: Path, name: str) -> None:
    method, axes, settings = MODELS[name]
    model = trained(method, axes, **settings)
    write_torchscript(model, tmp_path / "m.pt")
    write_onnx(model, tmp_path / "m.onnx")
    script = torch.jit.load(tmp_path / "m.pt")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["model"])["method"] == method
    for size in SIZES[axes]:
        image = torch.from_numpy(noisy(size).astype(np.float32))[None, None]
        found = Predictor(model.method, model.net).posterior(image, transforms=1)
        unit = float((image - found.mean).std())
        expected = [one for one in (found.mean, found.std) if one is not None]
        with torch.no_grad():
            results = [script(image), session.run(None, {"noisy": image.numpy()})]
        for result in results:
            assert len(result) == len(expected)
            for one, other in zip(result, expected, strict=True):
                assert one.shape == image.shape
                far = (torch.as_tensor(one) - other).abs() > TOLERANCE * unit
                assert far.float().mean() < 1e-3  # of specks, which are found by thresholds


def test_what_lies_beyond_the_halo_does_not_matter() -> None:
    graph = Graph(trained("simulated", "YX")).eval()
    halo = graph.halo[0]
    assert halo % graph.stride[0] == 0 and 0 < halo <= 240
    image = torch.from_numpy(noisy((2 * halo + 16, 300), 3).astype(np.float32))[None, None]
    with torch.no_grad():
        whole = graph(image)[0]
        part = graph(image[..., 16 * 2 : 16 * 2 + 2 * halo + 16])[0]
    difference = (part[..., halo : halo + 16] - whole[..., 32 + halo : 48 + halo]).abs().max()
    assert difference < 1e-3 * (image - whole).std()


@pytest.mark.parametrize("method", ["pn2v", "unchanged"])
def test_a_model_that_needs_more_than_pixels_is_refused(method: str) -> None:
    model = nw.train(method, noisy((64, 64)), steps=0 if method == "unchanged" else 1)
    with pytest.raises(UserError, match="cannot be exported"):
        Graph(model)


@pytest.mark.parametrize("axes", ["YX", "ZYX"])
def test_a_package_is_valid_and_predicts_as_the_model(tmp_path: Path, axes: str) -> None:
    model = trained("simulated" if axes == "YX" else "n2v", axes)
    path = tmp_path / "m.zip"
    write_package(model, path, name="cells", authors=["A. Person"])
    summary = core.test_model(path)
    assert summary.status == "passed", summary.format()
    imported = nw.load(path)
    sizes = [axis.size for axis in imported.pipeline.model_description.inputs[0].axes[2:]]
    for more in (0, 1, 2):
        size = tuple(one.min + more * one.step for one in sizes)
        image = noisy(size)
        found = imported.predict(image, axes=axes)
        expected = Predictor(model.method, model.net).posterior(
            torch.from_numpy(image.astype(np.float32))[None, None], transforms=1
        )
        unit = float((torch.from_numpy(image.astype(np.float32)) - expected.mean).std())
        assert found.mean.shape == image.shape and (found.std is None) == (expected.std is None)
        sample = core.digest_spec.create_sample_for_model(
            imported.pipeline.model_description, inputs=image[None, None].astype(np.float32)
        )
        imported.pipeline.load()
        alone = imported.pipeline.predict_sample_without_blocking(
            sample, skip_input_padding=True, skip_output_cropping=True
        )
        mean = np.asarray(next(iter(alone.members.values())))
        assert np.abs(mean - expected.mean.numpy()).max() < TOLERANCE * unit
        # bioimageio.core mirrors pixels beyond the border, where the network sees none.
        inside = (..., *(slice(halo, size - halo) for halo, size in zip(Graph(model).halo, size, strict=True)))
        assert np.abs(found.mean - expected.mean[0, 0].numpy())[inside].max() < 10 * TOLERANCE * unit


def test_a_package_keeps_pixels_that_are_no_numbers(tmp_path: Path) -> None:
    write_package(trained("n2v", "YX"), tmp_path / "m.zip")
    image = noisy((80, 90)).astype(np.float32)
    image[3, 4] = np.nan
    found = nw.load(tmp_path / "m.zip").predict(np.stack([image, image]), axes="TYX").mean
    assert found.shape == (2, 80, 90) and np.isnan(found[:, 3, 4]).all() and np.isfinite(found).mean() > 0.999
    assert np.allclose(found[0], found[1], equal_nan=True)


def test_a_package_without_usable_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("not a package")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as empty:
        empty.writestr("rdf.yaml", "type: model\n")
    for name in ("text.zip", "empty.zip"):
        with pytest.raises(UserError, match="no usable package") as error:
            nw.load(tmp_path / name)
        assert "\n" not in str(error.value)


def test_blocks_are_those_of_the_package() -> None:
    class Size:
        min, step = 32, 16

    class Axis:
        size = Size()

    image = np.zeros((1, 1, 40, 1000), np.float32)
    padded, block = with_blocks(image, [Axis(), Axis()])
    assert block == [48, 32 + 16 * 61] and padded.shape == (1, 1, 48, 1008)
    padded, block = with_blocks(image[..., :20], [Axis(), Axis()])
    assert block == [48, 32] and padded.shape == (1, 1, 48, 32)
    padded, block = with_blocks(np.broadcast_to(image[..., :1, :1], (1, 1, 3000, 2999)), [Axis(), Axis()])
    assert block == [32 + 16 * 8] * 2 and padded.shape == (1, 1, 3000, 2999)


# -- command line ------------------------------------------------------------------------------------


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "noisewise", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_export_on_the_command_line(tmp_path: Path) -> None:
    model = trained("n2v", "YX")
    model.save(tmp_path / "m.safetensors")
    np.save(tmp_path / "cells.npy", noisy((70, 80)))
    done = run("export", tmp_path / "m.safetensors", "-o", tmp_path / "m.zip", "--author", "A. Person", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"].endswith("m.zip")
    done = run("predict", tmp_path / "m.zip", tmp_path / "cells.npy", "-o", tmp_path / "out.npy")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "out.npy").shape == (70, 80)
    for arguments, reason in [
        (("-o", tmp_path / "m.zip"), "exists already"),
        (("-o", tmp_path / "m.bin"), "tells no format"),
    ]:
        refused = run("export", tmp_path / "m.safetensors", *arguments)
        assert refused.returncode == 2 and reason in refused.stderr and refused.stderr.count("\n") == 1


# -- CAREamics ---------------------------------------------------------------------------------------


def careamics_net(weights: dict[str, Tensor], x: Tensor, depth: int, n2v2: bool) -> Tensor:
    """The U-Net of CAREamics 0.3, written from its description."""

    def block(x: Tensor, name: str) -> Tensor:
        for i in (1, 2):
            x = F.conv2d(x, weights[f"{name}.conv{i}.weight"], weights[f"{name}.conv{i}.bias"], padding=1)
            norm = [weights[f"{name}.batch_norm{i}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
            x = F.relu(F.batch_norm(x, *norm))
        return x

    def pool(x: Tensor) -> Tensor:
        if not n2v2:
            return F.max_pool2d(x, 2)
        kernel = torch.tensor([1.0, 2.0, 1.0]) / 4
        kernel = (kernel[:, None] * kernel).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(F.max_pool2d(x, 2, 1), kernel, padding=1, stride=2, groups=x.shape[1])

    skips = []
    for level in range(depth):
        skips.append(block(x, f"encoder.encoder_blocks.{2 * level}"))
        x = pool(skips[-1])
    x = block(x, "decoder.bottleneck")
    for level in range(depth):
        x = F.interpolate(x, scale_factor=2, mode="bilinear")
        skip = skips[depth - 1 - level]
        x = x if n2v2 and level == depth - 1 else torch.cat([x, skip], 1)
        x = block(x, f"decoder.decoder_blocks.{2 * level + 1}")
    return F.conv2d(x, weights["final_conv.weight"], weights["final_conv.bias"])


def careamics_weights(features: int, depth: int, n2v2: bool) -> dict[str, Tensor]:
    generator, weights = torch.Generator().manual_seed(0), {}

    def add(name: str, inputs: int, middle: int, outputs: int) -> None:
        for i, (a, b) in enumerate(((inputs, middle), (middle, outputs)), 1):
            weights[f"{name}.conv{i}.weight"] = torch.randn(b, a, 3, 3, generator=generator) / (3 * a**0.5)
            weights[f"{name}.conv{i}.bias"] = 0.1 * torch.randn(b, generator=generator)
            for key, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
                weights[f"{name}.batch_norm{i}.{key}"] = value + 0.1 * torch.rand(b, generator=generator)
            weights[f"{name}.batch_norm{i}.num_batches_tracked"] = torch.tensor(5)

    for level in range(depth):
        width = features * 2**level
        add(f"encoder.encoder_blocks.{2 * level}", 1 if level == 0 else width // 2, width, width)
    deepest = features * 2 ** (depth - 1)
    add("decoder.bottleneck", deepest, 2 * deepest, deepest)
    for level in range(depth):
        width = features * 2 ** (depth - level - 1)
        last = level == depth - 1
        outputs = width if last else width // 2
        add(
            f"decoder.decoder_blocks.{2 * level + 1}",
            width if n2v2 and last else 2 * width,
            outputs * (1 if last else 2),
            outputs,
        )
    weights["final_conv.weight"] = torch.randn(1, features, 1, 1, generator=generator) / features**0.5
    weights["final_conv.bias"] = torch.zeros(1)
    return weights


def configuration(**network: Any) -> dict[str, Any]:
    model = {"architecture": "UNet", "conv_dims": 2, "depth": 2, "num_channels_init": 8, "in_channels": 1}
    statistics = {"name": "mean_std", "input_means": [110.0], "input_stds": [12.0], "target_means": None}
    return {
        "version": "0.1.0", "algorithm_config": {"algorithm": "n2v", "model": model | network},
        "data_config": {"normalization": statistics},
    }  # fmt: skip


def write_checkpoint(path: Path, weights: dict[str, Tensor], **network: Any) -> Path:
    state = {f"model.{name}": tensor for name, tensor in weights.items()}
    whole = configuration(**network)
    parts = {"hyper_parameters": {"algorithm_config": whole["algorithm_config"]},
             "datamodule_hyper_parameters": {"data_config": whole["data_config"]}}  # fmt: skip
    torch.save(parts | {"state_dict": state, "epoch": 3, "pytorch-lightning_version": "2.6.6"}, path)
    return path


@pytest.mark.parametrize("n2v2", [False, True])
def test_a_checkpoint_of_careamics_predicts_as_there(tmp_path: Path, n2v2: bool) -> None:
    weights = careamics_weights(8, 2, n2v2)
    model = nw.load(write_checkpoint(tmp_path / "last.ckpt", weights, n2v2=n2v2))
    image = noisy((64, 80)).astype(np.float32)
    expected = careamics_net(weights, (torch.from_numpy(image)[None, None] - 110) / 12, 2, n2v2) * 12 + 110
    found = Predictor(model.method, model.net).mean(torch.from_numpy(image)[None, None])
    assert torch.allclose(found, expected, atol=1e-3)
    model.save(tmp_path / "own.safetensors")
    assert np.array_equal(nw.load(tmp_path / "own.safetensors").predict(image).mean, model.predict(image).mean)


def test_a_package_of_careamics_predicts_as_there(tmp_path: Path) -> None:
    import io

    weights, stream = careamics_weights(8, 2, False), io.BytesIO()
    torch.save(weights, stream)
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as package:
        package.writestr("careamics.yaml", json.dumps(configuration()))  # JSON is YAML
        package.writestr("weights.pth", stream.getvalue())
    image = noisy((64, 80)).astype(np.float32)
    expected = careamics_net(weights, (torch.from_numpy(image)[None, None] - 110) / 12, 2, False) * 12 + 110
    model = nw.load(tmp_path / "m.zip")
    assert torch.allclose(
        Predictor(model.method, model.net).mean(torch.from_numpy(image)[None, None]), expected, atol=1e-3
    )


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("evil"),))


@pytest.mark.parametrize(
    ("network", "reason"),
    [({"residual": True}, "adds its input"), ({"architecture": "LVAE"}, "is a LVAE"), ({"depth": 3}, "do not fit")],
)
def test_other_networks_of_careamics_are_refused(tmp_path: Path, network: dict[str, Any], reason: str) -> None:
    path = write_checkpoint(tmp_path / "last.ckpt", careamics_weights(8, 2, False), **network)
    with pytest.raises(UserError, match=reason):
        nw.load(path)


def test_a_checkpoint_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"hyper_parameters": Evil(), "state_dict": {}}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match="no checkpoint of CAREamics"):
        nw.load(tmp_path / "last.ckpt")
    assert not (tmp_path / "evil").exists()
