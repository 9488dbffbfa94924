"""The packaged network as a denoiser, and a network as a function of images, for checks."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor

from noisewise import methods
from noisewise.data.images import fill
from noisewise.estimate.planes import cuts_of, fullest, read_planes, valid_mask
from noisewise.estimate.report import NoiseReport
from noisewise.evaluate.consistency import ChannelNoise, DenoiseFunction
from noisewise.io.base import Source
from noisewise.methods.base import Denoiser, ImageSpec, Method
from noisewise.noise.base import Noise
from noisewise.posterior import Normal, Point, Posterior
from noisewise.predict.run import Predictor

PACKAGED = "simulated"  # the method whose pretrained network removes the noise
MOST_PIXELS = 1 << 16  # of all planes together
PLANES = 4
STRIDE = 16


def planes_of(source: Source, found: NoiseReport, channel: int) -> tuple[Tensor, Tensor]:
    """A part of some planes (N, 1, Y, X) of an image, ADU, and where pixels are finite and not saturated."""
    groups = [group[0] for group in read_planes(source, channel, PLANES)[1]]
    side = int((MOST_PIXELS / len(groups)) ** 0.5)
    cuts = cuts_of(groups[0].shape, [min(size, side) // STRIDE * STRIDE for size in groups[0].shape])
    cut = fullest(np.stack([plane[part] for plane in groups]) for part in cuts)[:, None]
    counts = valid_mask([cut], found.pixel_values)
    return torch.from_numpy(fill(cut[:, 0])[0])[:, None], torch.from_numpy(counts)


def packaged_denoiser(planes: Tensor, noise_model: Noise) -> DenoiseFunction:
    """The packaged denoiser for planes (N, 1, Y, X), conditioned on their noise."""
    method, one = methods.get(PACKAGED)(), (1.0,)
    spec = ImageSpec(
        spatial="YX", channels=1, spacing=(1.0, 1.0), size=tuple(planes.shape[2:]), mean=(float(planes.mean()),),
        std=(float(planes.std()),), target_mean=one, target_std=one,
    )  # fmt: skip
    net = method.build(spec, [noise_model]).eval()
    net.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return as_function(method, net)


def packaged_result(noisy: Tensor, noise_model: Noise) -> Tensor:
    """The result of the packaged denoiser, as it is, for an image (Y, X) of any size."""
    height, width = noisy.shape
    padded = np.pad(noisy, [(0, -size % STRIDE) for size in noisy.shape], mode="symmetric")[None, None]
    image = torch.from_numpy(padded)
    found: Tensor = packaged_denoiser(image, noise_model)(image).mean[0, 0, :height, :width]
    return found


def as_function(method: Method, net: Denoiser) -> DenoiseFunction:
    """A trained network as a function of images (N, C, *S), on any device; its results are where the images are."""
    predictor = Predictor(method, net)

    def posterior(noisy: Tensor) -> Posterior[Tensor]:
        found = predictor.posterior(noisy.to(predictor.device), transforms=1)
        mean = found.mean.to(noisy.device)
        return Point(mean) if found.std is None else Normal(mean, found.std.to(noisy.device))

    return posterior


def for_checks(models: Sequence[Noise]) -> ChannelNoise:
    """Noise models of channels, typical of all pixels, in the main memory, where checks are computed."""
    return ChannelNoise([deepcopy(model.typical()).cpu() for model in models])
