"""Noise models p(x|s) of a noisy value x given its signal s: sampled, evaluated, fitted and saved."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from noisewise.container import write_container
from noisewise.io.files import user_path
from noisewise.noise.ops.arrays import accepts_arrays
from noisewise.noise.ops.likelihood_table import LikelihoodTable
from noisewise.noise.quantization import CONTINUOUS, Quantization, log_mass, standardised

Value = float | Tensor
WITH_ARRAYS = ("sample", "log_prob", "log_prob_image", "cdf", "mean_var", "span", "fit")  # methods that accept NumPy
SPAN_STD = 4.0  # standard deviations from the mean within which nearly all values lie


class Noise(nn.Module, ABC):
    """Noise model p(x|s): noisy value x given the signal s, both in ADU (the unit of the image), offset included.

    The signal is the mean of many exposures: E[x|s] = s, except for clipping and fixed patterns. Methods take tensors
    of any shapes that broadcast; the last axes are those of the image. All results are differentiable in s.

    NumPy arrays and numbers are accepted wherever tensors are; the results are then arrays (float32 for float32,
    otherwise float64), and `generator` may be a random seed: `noise.sample(signal, generator=0)`.

    The constructor arguments are the state: each is an attribute of the same name (tensor, number, `Quantization` or
    another noise model), so a file holds nothing else. provenance: origin of the model, JSON-like.
    """

    def __init__(self, quantization: Quantization = CONTINUOUS) -> None:
        super().__init__()
        self.quantization = quantization
        self.provenance: dict[str, Any] = {}
        self._tables: dict[tuple[float, float], LikelihoodTable] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in set(WITH_ARRAYS) & set(vars(cls)):
            method = vars(cls)[name]
            if isinstance(method, classmethod):
                setattr(cls, name, classmethod(accepts_arrays(method.__func__)))
            else:
                setattr(cls, name, accepts_arrays(method))

    def store(self, **values: Value) -> None:
        """Register parameters as float64 buffers, which are attributes and part of the state."""
        for name, value in values.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float64).clone())

    @abstractmethod
    def sample(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw a noisy image of a signal, same shape and unit, rounded and clipped as by the camera.

        signal: ADU. generator: source of the random numbers, on the device of the signal, or a seed; None: PyTorch's
        global one.
        """

    @abstractmethod
    def log_prob(self, noisy: Tensor, signal: Tensor) -> Tensor:
        """log p(x|s) of each pixel: a density per ADU; for quantised x, the mass of its step divided by the step."""

    @accepts_arrays
    def log_prob_image(self, noisy: Tensor, signal: Tensor) -> Tensor:
        """Per-pixel terms (..., Y, X) whose sum is the joint log-likelihood of the image.

        They differ from `log_prob` for correlated noise only.
        """
        return self.log_prob(noisy, signal)

    @abstractmethod
    def cdf(self, noisy: Tensor, signal: Tensor) -> Tensor:
        """P(X <= x | s) of each pixel."""

    @abstractmethod
    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """E[x|s] (ADU) and Var[x|s] (ADU²), before clipping."""

    @accepts_arrays
    def span(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Range of x (ADU) that holds nearly all values, before rounding and clipping."""
        mean, variance = self.mean_var(signal)
        return mean - SPAN_STD * variance.sqrt(), mean + SPAN_STD * variance.sqrt()

    def tabulated(self, noisy: Tensor, signal: Tensor, image_statistics: tuple[float, float]) -> Tensor:
        """Fast `log_prob` from a table that is built at first use: float32, exact to about 0.02 nats.

        image_statistics: (mean, standard deviation) of the images, ADU. The table depends on nothing else.
        """
        if image_statistics not in self._tables:
            self._tables[image_statistics] = LikelihoodTable(
                self.log_prob, self.mean_var, self.quantization, *image_statistics, device=self._device
            )
        return self._tables[image_statistics](noisy, signal)

    @classmethod
    @abstractmethod
    def fit(cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS) -> Self:
        """Fit the model to noisy values and their signals, of any equal shapes, ADU.

        quantization: rounding and clipping of the noisy values, which the model keeps.

        Errors: `UserError` if the pairs do not determine the parameters.
        """

    def crop(self, window: tuple[slice, ...]) -> Noise:  # noqa: ARG002
        """Noise model of a region of the detector; the model itself where all pixels are alike.

        window: slices along Y and X, in pixels of the detector.
        """
        return self

    def at(self, pixels: Tensor) -> Noise:  # noqa: ARG002
        """Noise model of some pixels, for values (M, n); the model itself where all pixels are alike.

        pixels: integer coordinates (M, 2) or (M, 3) of the pixels: Y, X or Z, Y, X; Z is ignored.
        Errors: `UserError` for pixels outside the detector.
        """
        return self

    def typical(self) -> Noise:
        """Noise model of a typical pixel; the model itself where all pixels are alike."""
        return self

    def with_quantization(self, quantization: Quantization) -> Self:
        """Copy of the model with another quantization."""
        model = type(self)(**(arguments(self) | {"quantization": quantization}))
        model.provenance = self.provenance
        return model.to(self._device)

    @property
    def _device(self) -> torch.device:
        return next(self.buffers(), torch.empty(0)).device

    def spectral_approximation(self) -> Noise:
        """Stationary Gaussian (`Correlated`) model with the same autocorrelation; itself unless autoregressive."""
        return self

    @property
    def rounding_variance(self) -> float:
        """Variance that rounding adds, ADU²."""
        return self.quantization.rounding_variance

    @property
    def white(self) -> bool:
        """Whether the noise is spatially independent."""
        return True

    @property
    def anisotropic(self) -> bool:
        """Whether the noise differs along Y and X."""
        return False

    @property
    def no_flip_axes(self) -> str:
        """Axes (of YX) whose mirroring changes the distribution of the noise."""
        return ""

    @property
    def size(self) -> tuple[int, int] | None:
        """Sensor size (Y, X) in pixels where the pixels differ from each other; else None."""
        return None

    def save(self, path: str | Path) -> None:
        """Write the model to one file (safetensors). Errors: `UserError` if the path cannot be written to."""
        content, tensors = pack(self)
        write_container(user_path(path), "noise", {"noise_model": content, "provenance": self.provenance}, tensors)

    def extra_repr(self) -> str:
        parts = [f"{name}={value.item():.4g}" for name, value in self.named_buffers(recurse=False) if value.ndim == 0]
        return ", ".join([*parts] + ([str(self.quantization)] if self.quantization != CONTINUOUS else []))


class GaussianSum(Noise):
    """Gaussian mixture p(x|s) = Σₖ wₖ(s) N(x; μₖ(s), σₖ²(s)), rounded and clipped; subclasses give the components."""

    @abstractmethod
    def components(self, signal: Tensor, noisy: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """log w, μ and σ (ADU), components along a new last axis; if `noisy` is given, only those relevant to it."""

    def log_prob(self, noisy: Tensor, signal: Tensor) -> Tensor:
        log_weight, mean, std = self.components(signal, noisy)
        return torch.logsumexp(log_weight + log_mass(noisy[..., None], mean, std, self.quantization), -1)

    def cdf(self, noisy: Tensor, signal: Tensor) -> Tensor:
        log_weight, mean, std = self.components(signal)
        below = torch.special.ndtr(standardised(noisy[..., None] + self.quantization.step / 2, mean, std))
        total = (log_weight.exp() * below).sum(-1).clamp(max=1)
        return self.quantization.clip_cdf(total, noisy)

    def sample(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        log_weight, mean, std = (part.expand(*signal.shape, -1) for part in self.components(signal))
        if log_weight.shape[-1] > 1:
            uniform = torch.rand((*signal.shape, 1), generator=generator, dtype=signal.dtype, device=signal.device)
            chosen = sample_component(log_weight.exp(), uniform)
            mean, std = mean.gather(-1, chosen), std.gather(-1, chosen)
        return self.quantization(mean[..., 0] + std[..., 0] * normal_like(signal, generator))

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        log_weight, mean, std = self.components(signal)
        weight = log_weight.exp()
        total = (weight * mean).sum(-1)
        variance = (weight * (std**2 + (mean - total[..., None]) ** 2)).sum(-1)
        return total, variance + self.quantization.rounding_variance


def sample_component(weight: Tensor, uniform: Tensor) -> Tensor:
    """Indices (..., 1) drawn from weights (..., K) of sum one, given uniform random numbers (..., 1)."""
    return (uniform > weight.cumsum(-1)).sum(-1, keepdim=True).clamp(max=weight.shape[-1] - 1)


def normal_like(signal: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers with the shape, type and device of a signal."""
    return torch.randn(signal.shape, generator=generator, dtype=signal.dtype, device=signal.device)


# -- files -----------------------------------------------------------------------------------------


def arguments(noise_model: Noise) -> dict[str, Any]:
    """Constructor arguments that rebuild this noise model."""
    return {name: getattr(noise_model, name) for name in list(inspect.signature(type(noise_model)).parameters)}


def pack(noise_model: Noise, prefix: str = "") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Convert a noise model to JSON content and named tensors; the inverse of `models.unpack`."""
    content: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for name, value in arguments(noise_model).items():
        kind, plain = "plain", value
        if isinstance(value, Tensor):
            kind, plain = "tensor", None
            tensors[prefix + name] = value
        elif isinstance(value, Noise):
            kind = "noise_model"
            plain, inner = pack(value, f"{prefix}{name}.")
            tensors |= inner
        elif isinstance(value, Quantization):
            kind, plain = "quantization", asdict(value)
        content[name] = {"type": kind, "value": plain}
    return {"kind": type(noise_model).__module__.rpartition(".")[2], "arguments": content}, tensors
