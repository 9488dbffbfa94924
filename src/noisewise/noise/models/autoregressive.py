"""Noise with a memory: each pixel's is told by that of the pixels before it, along an axis or in a raster."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from noisewise.errors import UserError
from noisewise.noise.base import Noise, Value, buffer
from noisewise.noise.models.correlated import Correlated, of_single_pixels
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.causal_mixture import FAR, Axis, CausalMixture, causal_offsets
from noisewise.noise.quantization import CONTINUOUS, Quantization, log_mass

STEPS, RATE, PATCH, PATCHES = 2000, 4e-3, 64, 4
RIDGE = 1e-4  # of the variance
TWIN = (8, 128)  # images and pixels a side of samples, from which the autocorrelation is told


class Autoregressive(Noise):
    """x = s + σ(s) z, z_i ~ Σ_k w_k N(μ_k, σ_k²), parts told by the z before it and by s_i; rounded and clipped.

    Before it are the pixels to the left (axis X), above (Y), or both (YX, a raster). σ²(s) is the variance of `law`.

    law: of each pixel for itself; log_prob, cdf and mean_var are its own. weights: of the network. far: pixels that
    are remembered along an axis. signal_range: darkest and brightest signal that it was fitted to, ADU.

    Source: Salmon and Krull 2022 (autoregressive models of noise).
    """

    signal_range: Tensor

    def __init__(
        self, pixel_noise: Noise, weights: Tensor, axis: Axis = "X", far: int = FAR, signal_range: Value = (0.0, 1.0),  # type: ignore[assignment]
        quantization: Quantization = CONTINUOUS,
    ) -> None:  # fmt: skip
        super().__init__(quantization)
        self.pixel_noise, self.axis, self.far = pixel_noise, axis, far
        self.register_buffer("signal_range", buffer(signal_range))
        self.memory = CausalMixture(causal_offsets(axis, far), 1)
        self.memory.requires_grad_(False)
        if weights.numel():
            vector_to_parameters(weights.float(), self.memory.parameters())
        self._twin: Correlated | None = None

    @property
    def weights(self) -> Tensor:
        """The network's, flat."""
        return parameters_to_vector(self.memory.parameters())

    def context(self, signal: Tensor) -> Tensor:
        """Signals as the network is told them: (..., 1)."""
        low, high = self.signal_range.to(signal)
        place: Tensor = (signal - low) / (high - low)
        return place.clamp(-0.5, 1.5)[..., None]

    def std(self, signal: Tensor) -> Tensor:
        """σ(s), ADU."""
        variance: Tensor = self.pixel_noise.mean_var(signal)[1]
        return variance.clamp(min=1e-12).sqrt()

    def sample(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Noise of each image (Y, X) of a signal (..., Y, X) by itself."""
        images = signal.reshape(-1, *signal.shape[-2:]).float()
        z = self.memory.walk(self.context(images), generator).reshape(signal.shape)
        return self.quantization((signal + self.std(signal) * z.to(signal)).to(signal.dtype))

    def log_prob_image(self, noisy: Tensor, signal: Tensor) -> Tensor:
        noisy, signal = noisy + 0 * signal, signal + 0 * noisy
        shape = signal.shape
        x, s = (part.reshape(-1, *shape[-2:]).float() for part in (noisy, signal))
        std = self.std(s)
        log_weight, mean, width = self.memory(self.memory.context_values((x - s) / std), self.context(s))
        scale = std[..., None]
        mass = log_mass(x[..., None], s[..., None] + scale * mean, scale * width, self.quantization)
        return torch.logsumexp(log_weight + mass, -1).reshape(shape).to(signal.dtype)

    def log_prob(self, noisy: Tensor, signal: Tensor) -> Tensor:
        return self.pixel_noise.log_prob(noisy, signal)

    def cdf(self, noisy: Tensor, signal: Tensor) -> Tensor:
        return self.pixel_noise.cdf(noisy, signal)

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        return self.pixel_noise.mean_var(signal)

    @property
    def white(self) -> bool:
        return False

    @property
    def anisotropic(self) -> bool:
        return self.axis != "YX" or self.spectral().anisotropic

    @property
    def no_flip_axes(self) -> str:
        return self.axis

    def spectral(self) -> Correlated:
        if self._twin is None:
            signal = self.signal_range.mean().expand(TWIN[0], TWIN[1], TWIN[1])
            noisy = self.sample(signal, torch.Generator(signal.device).manual_seed(0))
            found = Correlated.fit(noisy, signal)
            pixel_noise = without(self.pixel_noise, float(found.offset_variance()))
            self._twin = Correlated(pixel_noise, found.kernel, found.row_kernel, found.column_kernel, self.quantization)
            self._twin.provenance = {"signal_range": self.signal_range.tolist()}
        return self._twin

    @classmethod
    def fit(
        cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS, axis: Axis = "X", seed: int = 0,
        steps: int = STEPS,
    ) -> Self:  # fmt: skip
        """From images (..., Y, X) and their signals, in so many steps.

        Errors: `UserError` for anything but images.
        """
        if noisy.ndim < 2 or min(noisy.shape[-2:]) < 2:
            raise UserError("noise with a memory is fitted to images (..., Y, X), not to single pixels")
        x, s = (part.reshape(-1, *part.shape[-2:]).double() for part in (noisy, signal))
        pixel_noise = of_single_pixels(x, s, quantization)
        low, high, spread = float(s.min()), float(s.max()), float((x - s).std())
        reach = torch.tensor([low, max(high, low + spread)])  # of dark frames, one signal and as good as none
        self = cls(pixel_noise, torch.empty(0), axis, signal_range=reach, quantization=quantization)
        self.learn(x.float(), s.float(), torch.Generator().manual_seed(seed), steps)
        return self

    def learn(self, noisy: Tensor, signal: Tensor, generator: torch.Generator, steps: int) -> None:
        """Maximum likelihood: a linear prediction in closed form, then all of it by stochastic gradients."""
        self.start((noisy - signal) / self.std(signal))
        self.memory.requires_grad_(True)
        optimiser = torch.optim.AdamW(self.memory.parameters(), RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        height, width = (min(PATCH, n) for n in noisy.shape[-2:])
        for _ in range(steps):
            corners = [
                torch.randint(n, (PATCHES,), generator=generator).tolist()
                for n in (len(noisy), noisy.shape[1] - height + 1, noisy.shape[2] - width + 1)
            ]
            x, s = (
                torch.stack([part[i, y : y + height, c : c + width] for i, y, c in zip(*corners, strict=True)])
                for part in (noisy, signal)
            )
            loss = -self.log_prob_image(x, s).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(self.memory.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        self.memory.requires_grad_(False)

    def start(self, z: Tensor) -> None:
        """The best linear prediction of z (N, Y, X) by what is remembered, and its width."""
        count = len(self.memory.offsets)
        seen = self.memory.context_values(z)[..., :count].reshape(-1, count)
        value = z.reshape(-1)
        some = torch.arange(0, len(value), max(1, len(value) // 400_000))
        seen, value = seen[some].double(), value[some].double()
        gram = seen.T @ seen / len(seen)
        slope = torch.linalg.solve(gram + RIDGE * torch.eye(count), seen.T @ value / len(seen))
        left = float((value - seen @ slope).std())
        with torch.no_grad():
            self.memory.linear.weight[0] = slope.float()
            self.memory.linear.bias.zero_()
            components = len(self.memory.told.bias) // 3
            self.memory.told.bias[2 * components :] = torch.log(torch.expm1(torch.tensor(max(left, 0.03))))


def without(pixel_noise: Noise, variance: float) -> Noise:
    """A law of less read noise, by so much variance (ADU²)."""
    if isinstance(pixel_noise, PoissonGaussian):
        left = (pixel_noise.read_noise**2 - variance).clamp(min=0).sqrt()
        return PoissonGaussian(pixel_noise.gain, pixel_noise.offset, left)
    if isinstance(pixel_noise, Gaussian):
        return Gaussian((pixel_noise.std**2 - variance).clamp(min=1e-12).sqrt())
    return pixel_noise
