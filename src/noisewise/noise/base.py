"""Noise: the law p(x|s) of a noisy value x given its signal s; to be drawn from, evaluated, fitted, saved."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from noisewise.container import write_container
from noisewise.noise.ops.likelihood_table import LikelihoodTable
from noisewise.noise.quantization import CONTINUOUS, Quantization, log_mass, standardised

Value = float | Tensor
FAR = 4.0  # standard deviations, beyond which few values lie


class Noise(nn.Module, ABC):
    """p(x|s): noisy value x given the signal s, both in ADU, the units of the image, offset included.

    s is what the mean over many exposures would show: E[x|s] = s, but for clipping and for fixed patterns.
    Tensors of any shape that broadcast; the last axes are those of the image. All are differentiable in s.

    A law's constructor arguments are its state: each is an attribute of the same name (tensor, number, `Digital`,
    or another law), so that a file needs nothing else. provenance: how it came about, JSON-like.
    """

    def __init__(self, quantization: Quantization = CONTINUOUS) -> None:
        super().__init__()
        self.quantization = quantization
        self.provenance: dict[str, Any] = {}
        self._tables: dict[tuple[float, float], LikelihoodTable] = {}

    def keep(self, **values: Value) -> None:
        """Keep parameters as attributes and part of the state: float64."""
        for name, value in values.items():
            self.register_buffer(name, buffer(value))

    @abstractmethod
    def sample(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One noisy image of a signal, same shape: rounded and clipped as the camera does."""

    @abstractmethod
    def log_prob(self, noisy: Tensor, signal: Tensor) -> Tensor:
        """log p(x|s) of each pixel: a density per ADU; where x is quantised, the mass of its step over the step."""

    def log_prob_image(self, noisy: Tensor, signal: Tensor) -> Tensor:
        """log p(x|s) of whole images (..., Y, X), told pixel by pixel: their sum is that of the image.

        Of noise whose pixels know their neighbours'; otherwise `log_prob`.
        """
        return self.log_prob(noisy, signal)

    @abstractmethod
    def cdf(self, noisy: Tensor, signal: Tensor) -> Tensor:
        """P(X <= x | s) of each pixel."""

    @abstractmethod
    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """E[x|s] (ADU) and Var[x|s] (ADU²), before clipping."""

    def span(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest x (ADU) that are not rare, before rounding and clipping."""
        mean, variance = self.mean_var(signal)
        return mean - FAR * variance.sqrt(), mean + FAR * variance.sqrt()

    def tabulated(self, noisy: Tensor, signal: Tensor, image_statistics: tuple[float, float]) -> Tensor:
        """`log_prob` from a table that is made when first asked for: float32, to about 0.02 nats, and fast.

        about: mean and standard deviation (ADU) of the images; the table, and so the result, depends on nothing else.
        """
        if image_statistics not in self._tables:
            self._tables[image_statistics] = LikelihoodTable(
                self.log_prob, self.mean_var, self.quantization, *image_statistics, device=next(self.buffers(), torch.empty(0)).device
            )  # fmt: skip
        return self._tables[image_statistics](noisy, signal)

    @classmethod
    @abstractmethod
    def fit(cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS) -> Self:
        """The law under which these noisy values of these signals (any equal shapes) are most likely.

        Errors: `UserError` if the pairs do not determine it.
        """

    def crop(self, window: tuple[slice, ...]) -> Noise:  # noqa: ARG002
        """The law of a part (Y, X) of the detector; itself where all pixels are alike."""
        return self

    def at(self, pixels: Tensor) -> Noise:  # noqa: ARG002
        """The law of pixels with coordinates (M, [Z], Y, X), for values (M, n); itself where all are alike."""
        return self

    def typical(self) -> Noise:
        """The law of a pixel like most; itself where all are alike."""
        return self

    def with_quantization(self, quantization: Quantization) -> Self:
        """The same noise model, otherwise rounded and clipped."""
        model = type(self)(**(arguments(self) | {"quantization": quantization}))
        model.provenance = self.provenance
        device = next(self.buffers(), torch.empty(0)).device
        return model.to(device)

    def spectral(self) -> Noise:
        """Where pixels remember others, the spectral Gaussian law with this autocorrelation; otherwise itself."""
        return self

    @property
    def white(self) -> bool:
        """Whether each pixel has its noise for itself."""
        return True

    @property
    def anisotropic(self) -> bool:
        """Whether noise along Y differs from noise along X."""
        return False

    @property
    def no_flip_axes(self) -> str:
        """Axes (Y, X) that it runs along in one direction, so that it is other noise when mirrored."""
        return ""

    @property
    def size(self) -> tuple[int, int] | None:
        """Pixels (Y, X) of the sensor, where they differ from each other; else None."""
        return None

    def save(self, path: str | Path) -> None:
        """Write one file (safetensors). Errors: `UserError` if the place cannot be written to."""
        content, tensors = pack(self)
        write_container(
            Path(path).expanduser(), "noise", {"noise_model": content, "provenance": self.provenance}, tensors
        )

    def extra_repr(self) -> str:
        parts = [f"{name}={value.item():.4g}" for name, value in self.named_buffers(recurse=False) if value.ndim == 0]
        return ", ".join([*parts] + ([str(self.quantization)] if self.quantization != CONTINUOUS else []))


class GaussianSum(Noise):
    """A law that is a sum of Gaussians: p(x|s) = Σₖ wₖ(s) N(x; μₖ(s), σₖ²(s)), rounded and clipped.

    A law of this kind says only what its components are.
    """

    @abstractmethod
    def components(self, signal: Tensor, noisy: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """log w, μ, σ with the components along a new last axis; those that matter for `noisy` if it is given."""

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
            lots = torch.rand((*signal.shape, 1), generator=generator, dtype=signal.dtype, device=signal.device)
            chosen = drawn(log_weight.exp(), lots)
            mean, std = mean.gather(-1, chosen), std.gather(-1, chosen)
        return self.quantization(mean[..., 0] + std[..., 0] * normal_like(signal, generator))

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        log_weight, mean, std = self.components(signal)
        weight = log_weight.exp()
        total = (weight * mean).sum(-1)
        spread = (weight * (std**2 + (mean - total[..., None]) ** 2)).sum(-1)
        return total, spread + self.quantization.step**2 / 12


def drawn(weight: Tensor, lots: Tensor) -> Tensor:
    """Which of the weights (..., K), that add up to one, uniform lots (..., 1) fall on: (..., 1)."""
    return (lots > weight.cumsum(-1)).sum(-1, keepdim=True).clamp(max=weight.shape[-1] - 1)


def normal_like(signal: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers in the shape, type and place of a signal."""
    return torch.randn(signal.shape, generator=generator, dtype=signal.dtype, device=signal.device)


def buffer(value: Value) -> Tensor:
    """A parameter as it is kept: float64."""
    return torch.as_tensor(value, dtype=torch.float64).clone()


# -- files -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packed:
    """What stands for one argument in the header of a file."""

    type: str
    value: Any = None


def arguments(noise_model: Noise) -> dict[str, Any]:
    """The constructor arguments that make this law again."""
    return {name: getattr(noise_model, name) for name in list(inspect.signature(type(noise_model)).parameters)}


def pack(noise_model: Noise, prefix: str = "") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A law as JSON and named tensors."""
    content: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for name, value in arguments(noise_model).items():
        if isinstance(value, Tensor):
            tensors[prefix + name] = value
            content[name] = asdict(Packed("tensor"))
        elif isinstance(value, Noise):
            inner, more = pack(value, f"{prefix}{name}.")
            tensors |= more
            content[name] = asdict(Packed("noise_model", inner))
        elif isinstance(value, Quantization):
            content[name] = asdict(Packed("quantization", asdict(value)))
        else:
            content[name] = asdict(Packed("plain", value))
    return {"kind": type(noise_model).__module__.rpartition(".")[2], "arguments": content}, tensors
