"""Noise2Void: self-supervised training on noisy images with blind spots (N2V, N2V2, structN2V)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval
from torch import Tensor

from noisewise.axes import Symmetry
from noisewise.errors import UserError
from noisewise.methods.base import Batch, Denoiser, ImageSpec, Method, Traits, build_denoiser
from noisewise.methods.losses.reductions import masked_mean
from noisewise.nets.blind import (
    Masking,
    Offset,
    blind_centres,
    hide,
    is_anisotropic,
    parse_shape,
    predict_blind,
    window_radius,
)
from noisewise.noise.base import Noise
from noisewise.noise.models.correlated import MAX_LAG
from noisewise.noise.ops.correlation_length import correlated_offsets
from noisewise.posterior import Point, Posterior


@dataclass(frozen=True, kw_only=True)
class N2V(Method):
    """Noise2Void: predicts each pixel from its neighbours; requires spatially independent noise.

    Blind pixels B are replaced by values computed from their neighbours, x̃, and only they are scored:
    loss = Σ_{i∈B} (f(x̃)_i − x_i)² / |B| is minimised by f(x̃)_i = E[s_i | x without x_i].
    N2V2 is `network="n2v2", masking="median"`. structN2V also hides the pixels around a blind one whose noise is
    correlated with it (`blind_shape`); the minimiser is then E[s_i | x without all of them].

    Sources: Krull et al. 2019 (N2V), doi:10.1109/CVPR.2019.00223; Höck et al. 2022 (N2V2), arXiv:2211.08512; Broaddus
    et al. 2020 (structN2V), doi:10.1109/ISBI45749.2020.9098336.
    """

    masking: Masking = "mean"
    """what replaces a blind pixel: a random neighbour (uniform), or the mean or median of the neighbours"""
    mask_percent: Annotated[float, Interval(gt=0, le=25)] = 11.0
    """blind pixels in a patch, percent"""
    mask_radius: Annotated[int, Interval(ge=1, le=10)] = 1
    """neighbours are the (2 r + 1)² window around a pixel without the pixel itself"""
    blind_shape: str = "pixel"
    """pixels hidden with a blind pixel: pixel (none), a size in pixels such as 1x11 (along Y and X), a pattern
    such as 010/111/010, or auto (those whose noise was measured to be correlated with it)"""
    blind_prediction: bool = False
    """hide each pixel in prediction too, which takes 9 passes or more; otherwise one pass sees the whole image"""

    @property
    def traits(self) -> Traits:
        return Traits(
            removes=("white",) if self.blind_shape == "pixel" else ("white", "rows", "columns"),
            noise="correlated" if self.blind_shape == "auto" else "none",
            by_position=self.blind_prediction, symmetry=self._symmetry, halo=self._halo,
        )  # fmt: skip

    def shape(self, noise_models: Sequence[Noise], dims: int) -> tuple[Offset, ...]:
        """Offsets of the pixels hidden with a blind one. Errors: `UserError` if the setting is not a shape."""
        if self.blind_shape == "auto":
            return correlated_offsets(tuple(noise_models), dims, MAX_LAG)
        try:
            return parse_shape(self.blind_shape, dims)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise UserError(
                f"blind_shape '{self.blind_shape}' is not a shape ({error}); give pixel, auto, a size such as 1x11, "
                f"or a pattern such as 010/111/010"
            ) from error

    def _symmetry(self, noise_models: Sequence[Noise], dims: int) -> Symmetry:
        return Symmetry(swap_yx=not is_anisotropic(self.shape(noise_models, dims)))

    def _halo(self, noise_models: Sequence[Noise], dims: int) -> tuple[int, ...]:
        if not self.blind_prediction:
            return (0,) * dims
        shape = self.shape(noise_models, dims)
        # The replacement of a hidden pixel comes from the window around it, in which further pixels may be hidden.
        farthest = max((abs(o) for offset in shape for o in offset), default=0)
        return (window_radius(shape, self.mask_radius) + farthest,) * dims

    def build(self, spec: ImageSpec, noise_models: Sequence[Noise] = ()) -> Denoiser:
        self.shape(noise_models, spec.dims)  # a wrong shape is refused before the training
        return build_denoiser(self, spec, noise_models)

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        noisy, valid = net.encode(batch.noisy), net.fold(batch.valid)
        shape = self.shape(net.noise, net.dims)
        blind = valid if batch.held_out else blind_centres(valid, self.mask_percent, batch.generator, shape)
        predicted = net.backbone(hide(noisy, blind, self.masking, self.mask_radius, batch.generator, shape))
        return masked_mean((predicted.float() - noisy) ** 2, blind)

    def posterior(self, net: Denoiser, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:
        if not self.blind_prediction:
            return Point(net(noisy))
        shape = self.shape(net.noise, net.dims)
        maps = predict_blind(net, noisy, coordinates, self.mask_percent, self.mask_radius, shape)
        return Point(net.decode(maps[0]))
