"""How well a denoiser predicts pixels that are hidden from it: a comparison that needs no truth and no noise model."""

from __future__ import annotations

import torch
from torch import Tensor

from noisewise.evaluate.consistency import DenoiseFunction
from noisewise.noise.ops import thinning

SPACING = 4  # pixels between hidden ones, along Y and X
PHASES = ((0, 0), (2, 1), (1, 3), (3, 2))  # where the grid of hidden pixels begins


def held_out_errors(noisy: Tensor, denoise: DenoiseFunction) -> Tensor:
    """Squared errors (N, C, *S) at hidden pixels, a quarter of all; NaN elsewhere. Four passes of the denoiser.

    A hidden pixel is replaced by the mean of its eight neighbours; the error is the difference of the prediction from
    the hidden value. For spatially independent noise its expectation is the noise variance plus the squared error of a
    prediction from the neighbours alone: so two denoisers can be compared, whatever the noise model.

    Source: Krull et al. 2019, doi:10.1109/CVPR.2019.00223; Batson and Royer 2019 (J-invariance), arXiv:1901.11365.
    """
    neighbours = neighbour_mean(noisy)
    errors = torch.full_like(noisy, torch.nan)
    for y, x in PHASES:
        hidden = torch.zeros_like(noisy, dtype=torch.bool)
        hidden[..., y::SPACING, x::SPACING] = True
        predicted = denoise(torch.where(hidden, neighbours, noisy)).mean
        errors = torch.where(hidden, (predicted - noisy) ** 2, errors)
    return errors


def neighbour_mean(images: Tensor) -> Tensor:
    """Mean of the eight neighbours along Y and X of each pixel of images (N, C, *S); at borders of those there are."""
    planes = images.reshape(-1, 1, *images.shape[-2:])
    return thinning.neighbour_mean(planes).reshape(images.shape)
