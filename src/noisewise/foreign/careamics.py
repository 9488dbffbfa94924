"""Models of CAREamics, from its checkpoints (.ckpt) and its packages (.zip), as models of noisewise."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisewise import methods
from noisewise.errors import UserError, one_line
from noisewise.io import checksum
from noisewise.methods.base import Denoiser, ImageSpec, make_unet
from noisewise.model import Model
from noisewise.train.state import TrainState

LARGEST = 1 << 30  # bytes of a file of weights
CONFIGURATION = "careamics.yaml"
STATISTICS = {
    "mean_std": ("input_means", "input_stds"),
    "quantile": ("input_lower_quantile_values", "input_upper_quantile_values"),
    "min_max": ("input_mins", "input_maxes"),
}  # of the normalisations of CAREamics


def is_careamics(path: Path) -> bool:
    """Whether a package has been written by CAREamics."""
    try:
        with zipfile.ZipFile(path) as package:
            return CONFIGURATION in package.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def load_checkpoint(path: Path) -> Model:
    """A checkpoint of CAREamics as a model. Pickled objects other than tensors and plain values are not loaded.

    Errors: `UserError` if it is none, or its network is of another kind than its U-Net.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        parts = [content[key] for key in ("hyper_parameters", "datamodule_hyper_parameters") if key in content]
        configuration = {key: value for part in parts for key, value in part.items()}
        weights = content["state_dict"]
    except Exception as error:
        raise UserError(f"{path}: is no checkpoint of CAREamics ({one_line(str(error))}); give one of its .ckpt files, "
                        f"or its exported package (.zip)") from error  # fmt: skip
    weights = {name.removeprefix("model."): tensor for name, tensor in weights.items() if name.startswith("model.")}
    return rebuilt(path, configuration, weights)


def load_careamics_package(path: Path) -> Model:
    """A package that CAREamics exported as a model. Errors: `UserError` as `load_checkpoint`."""
    try:
        import ruyaml

        with zipfile.ZipFile(path) as package:
            configuration = ruyaml.YAML(typ="safe").load(package.read(CONFIGURATION))
            entries = [one for one in package.infolist() if one.filename.endswith(".pth")]
            if len(entries) != 1 or entries[0].file_size > LARGEST:
                raise ValueError("it has no weights")
            weights = torch.load(io.BytesIO(package.read(entries[0])), map_location="cpu", weights_only=True)
    except ImportError as error:
        raise UserError('packages of CAREamics need further packages: pip install "noisewise[zoo]"') from error
    except Exception as error:
        raise UserError(f"{path}: is no usable package of CAREamics ({one_line(str(error))})") from error
    return rebuilt(path, configuration, weights)


def rebuilt(path: Path, configuration: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Model:
    """The model of a configuration and its weights. Errors: `UserError` for networks that noisewise does not have."""
    try:
        algorithm, data = configuration["algorithm_config"], configuration["data_config"]
        name, network = str(algorithm["algorithm"]), algorithm["model"]
        settings: Any = methods.get(name)
        spec = spec_of(network, data)
        reason = obstacle(network)
    except Exception as error:
        raise UserError(f"{path}: its configuration is not of a method of CAREamics that noisewise has "
                        f"({one_line(str(error)) or type(error).__name__})") from error  # fmt: skip
    if reason:
        raise UserError(f"{path}: {reason}; such networks of CAREamics cannot be used here")
    kind = "careamics_n2v2" if network.get("n2v2", False) else "careamics"
    channels = network.get("in_channels", 1)
    method = settings(
        network=kind, features=network.get("num_channels_init", 32), depth=network.get("depth", 2),
        joint_channels=channels > 1, spatial=spec.spatial,
    )  # fmt: skip
    backbone = make_unet(method, spec, channels, channels)
    net = Denoiser(backbone, spec, independent=not method.joint_channels)
    try:
        backbone.load_state_dict(renamed(weights))
    except (RuntimeError, KeyError) as error:
        raise UserError(f"{path}: its weights do not fit its configuration ({one_line(str(error))})") from error
    version = str(configuration.get("version", ""))
    record = {"method": name, "trained_by": "CAREamics", "configuration_version": version,
              "checkpoint_sha256": checksum(path), "trained_on": []}  # fmt: skip
    return Model(method, spec, net, json.loads(json.dumps(record)), TrainState(untrained=True))


def obstacle(network: Mapping[str, Any]) -> str:
    """What of a network noisewise does not have; "" if nothing."""
    if network.get("architecture") != "UNet":
        return f"its network is a {network.get('architecture')}"
    if not network.get("use_batch_norm", True):
        return "its network has no batch normalisation"
    if network.get("residual", False):
        return "its network adds its input to its output"
    if str(network.get("final_activation", "None")) not in ("None", "none"):
        return "its network ends in an activation"
    if network.get("in_channels", 1) != network.get("num_classes", 1):
        return "it gives other channels than it takes"
    if network.get("in_channels", 1) > 1 and network.get("independent_channels", True):
        return "its channels have networks of their own"
    return ""


def spec_of(network: Mapping[str, Any], data: Mapping[str, Any]) -> ImageSpec:
    """The images that a network of CAREamics is for."""
    dims, channels = network.get("conv_dims", 2), network.get("in_channels", 1)
    mean, std = normalisation(data["normalization"], "input", channels)
    target_mean, target_std = normalisation(data["normalization"], "target", channels)
    if data["normalization"].get("skip_target"):
        target_mean, target_std = (0.0,) * channels, (1.0,) * channels
    elif target_mean is None:
        target_mean, target_std = mean, std
    return ImageSpec(
        spatial="ZYX"[-dims:], channels=channels, spacing=(1.0,) * dims, size=(1 << 16,) * dims, mean=mean, std=std,
        target_mean=target_mean, target_std=target_std,
    )  # fmt: skip


def normalisation(found: Mapping[str, Any], of: str, channels: int) -> tuple[Any, Any]:
    """What is subtracted from the images (`input`) or targets (`target`), and what they are divided by."""
    if found["name"] not in STATISTICS:
        return (0.0,) * channels, (1.0,) * channels
    keys = [key.replace("input", of, 1) for key in STATISTICS[found["name"]]]
    if any(found.get(key) is None for key in keys):
        return None, None
    first, second = ([*map(float, found[key])] for key in keys)
    first, second = (values * channels if len(values) == 1 else values for values in (first, second))
    if found["name"] != "mean_std":
        second = [high - low for low, high in zip(first, second, strict=True)]
    return tuple(first), tuple(second)


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of CAREamics' U-Net with the names of this one."""
    layers = {"conv1": "0", "batch_norm1": "1", "conv2": "3", "batch_norm2": "4"}
    found = {}
    for name, tensor in weights.items():
        part, *rest = name.split(".")
        if part == "final_conv":
            found[f"tail.{rest[0]}"] = tensor
            continue
        kind = rest[0]
        if kind == "bottleneck":
            place, layer, value = "bottom", rest[1], rest[2]
        elif rest[-1] == "kernel":  # of the blur, which is not trained
            continue
        else:
            number = int(rest[1]) // 2
            place, layer, value = f"{'encoders' if kind == 'encoder_blocks' else 'decoders'}.{number}", rest[2], rest[3]
        found[f"{place}.{layers[layer]}.{value}"] = tensor
    return found
