"""Mean and standard deviation from a network that is conditioned on the noise."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from noisewise.methods.base import Denoiser
from noisewise.nets.planes import INPUT_SCALE
from noisewise.noise.ops.conditioning import NoiseFeatures, noise_features, stack_features

MIN_STD = 1e-3  # predicted standard deviation, in units of the noise


def split_channels(images: Tensor) -> Tensor:
    """Make each channel an image: (N, C, *S) -> (N·C, 1, *S)."""
    return images.reshape(-1, 1, *images.shape[2:])


def conditioning(net: Denoiser, copies: int) -> NoiseFeatures:
    """Noise features of every channel, for images (N·C, 1, *S) with N = copies."""
    channels = range(len(net.mean))
    found = [noise_features(net.noise_model(channel), *net.input_statistics(channel)) for channel in channels]
    return stack_features(found, copies).for_dims(net.dims)


def moments(
    net: Denoiser, noisy: Tensor, features: NoiseFeatures, apply: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Mean (image units) and standard deviation (in those of the noise) of images (N·C, 1, *S).

    apply: from the network's input to its output; default: the backbone.

    The network corrects the stabilised image T(x): mean = T⁻¹(T(x) − g(x)).
    """
    maps = features.network_input(noisy)
    stable = maps[:, :1].clone()
    maps[:, :1] *= INPUT_SCALE
    correction, width = map(
        split_channels, net.maps((apply or net.backbone)(maps.reshape(-1, net.width, *noisy.shape[2:])))
    )
    return features.stabilizer.inverse(stable - correction), F.softplus(width) + MIN_STD
