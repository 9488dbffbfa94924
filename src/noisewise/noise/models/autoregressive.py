"""Autoregressive noise: each pixel depends on preceding pixels along an axis or in raster order."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from noisewise.noise.base import Noise, Value
from noisewise.noise.models.correlated import Correlated, fit_pixel_noise
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.arrays import refuse_single_pixels
from noisewise.noise.ops.causal_mixture import CONTEXT_LENGTH, Axis, CausalMixture, causal_offsets
from noisewise.noise.quantization import CONTINUOUS, Quantization, log_mass

STEPS, LEARNING_RATE, PATCH_SIZE, BATCH_SIZE = 2000, 4e-3, 64, 4
RIDGE = 1e-4  # regularisation of the linear prediction, relative to the variance
SAMPLES, SAMPLE_SIZE = 8, 128  # images, and pixels along each side, to estimate the autocorrelation from


class Autoregressive(Noise):
    """x = s + σ(s) z, z_i ~ Σ_k w_k N(μ_k, σ_k²) given the causal context of z_i and s_i; rounded and clipped.

    The causal context are pixels to the left (axis X), above (Y), or both (YX, raster order). σ²(s) is the variance of
    `pixel_noise`. A small network predicts the mixture parameters.

    pixel_noise: marginal model of single pixels, which gives log_prob, cdf and mean_var. weights: flat parameters of
    the network. context_length: pixels along an axis. signal_range: darkest and brightest fitted signal, ADU.

    Source: Salmon and Krull 2022, doi:10.1007/978-3-031-25069-9_25 (autoregressive noise models).
    """

    signal_range: Tensor

    def __init__(
        self, pixel_noise: Noise, weights: Tensor, axis: Axis = "X", context_length: int = CONTEXT_LENGTH,
        signal_range: Value = (0.0, 1.0), quantization: Quantization = CONTINUOUS,  # type: ignore[assignment]
    ) -> None:  # fmt: skip
        super().__init__(quantization)
        self.pixel_noise, self.axis, self.context_length = pixel_noise, axis, context_length
        self.store(signal_range=signal_range)
        self.mixture = CausalMixture(causal_offsets(axis, context_length), 1)
        self.mixture.requires_grad_(False)
        if weights.numel():
            vector_to_parameters(weights.float(), self.mixture.parameters())
        self._spectral: Correlated | None = None

    @property
    def weights(self) -> Tensor:
        """Parameters of the network as one flat tensor."""
        return parameters_to_vector(self.mixture.parameters())

    def condition(self, signal: Tensor) -> Tensor:
        """Signal relative to the fitted range, the condition of the network: (..., 1)."""
        low, high = self.signal_range.to(signal)
        relative: Tensor = (signal - low) / (high - low)
        return relative.clamp(-0.5, 1.5)[..., None]

    def std(self, signal: Tensor) -> Tensor:
        """σ(s) of `pixel_noise`, ADU."""
        variance: Tensor = self.pixel_noise.mean_var(signal)[1]
        return variance.clamp(min=torch.finfo(variance.dtype).tiny).sqrt()

    def sample(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw noise of each image (Y, X) of a signal (..., Y, X) independently."""
        refuse_single_pixels(signal, "autoregressive")
        images = signal.reshape(-1, *signal.shape[-2:]).float()
        z = self.mixture.sample(self.condition(images), generator).reshape(signal.shape)
        return self.quantization((signal + self.std(signal) * z.to(signal)).to(signal.dtype))

    def log_prob_image(self, noisy: Tensor, signal: Tensor) -> Tensor:
        noisy, signal = noisy + 0 * signal, signal + 0 * noisy
        refuse_single_pixels(signal, "autoregressive")
        shape = signal.shape
        x, s = (part.reshape(-1, *shape[-2:]).float() for part in (noisy, signal))
        std = self.std(s)
        log_weight, mean, relative_std = self.mixture(self.mixture.context_values((x - s) / std), self.condition(s))
        scale = std[..., None]
        mass = log_mass(x[..., None], s[..., None] + scale * mean, scale * relative_std, self.quantization)
        return torch.logsumexp(log_weight + mass, -1).reshape(shape).to(signal.dtype)

    def log_prob(self, noisy: Tensor, signal: Tensor) -> Tensor:
        return self.pixel_noise.log_prob(noisy, signal)

    def cdf(self, noisy: Tensor, signal: Tensor) -> Tensor:
        return self.pixel_noise.cdf(noisy, signal)

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        return self.pixel_noise.mean_var(signal)

    def with_quantization(self, quantization: Quantization) -> Self:
        model = super().with_quantization(quantization)
        model.pixel_noise = self.pixel_noise.with_quantization(quantization)
        return model

    @property
    def white(self) -> bool:
        return False

    @property
    def anisotropic(self) -> bool:
        return self.axis != "YX" or self.spectral_approximation().anisotropic

    @property
    def no_flip_axes(self) -> str:
        return self.axis

    def spectral_approximation(self) -> Correlated:
        if self._spectral is None:
            signal = self.signal_range.mean().expand(SAMPLES, SAMPLE_SIZE, SAMPLE_SIZE)
            noisy = self.sample(signal, torch.Generator(signal.device).manual_seed(0))
            found = Correlated.fit(noisy, signal)
            pixel = with_less_read_noise(self.pixel_noise, float(found.offset_variance()))
            self._spectral = Correlated(pixel, found.kernel, found.row_kernel, found.column_kernel, self.quantization)
            self._spectral.provenance = {"signal_range": self.signal_range.tolist()}
        return self._spectral

    @classmethod
    def fit(
        cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS, axis: Axis = "X", seed: int = 0,
        steps: int = STEPS,
    ) -> Self:  # fmt: skip
        """Fit the model to images (..., Y, X) and their signals, in this number of gradient steps.

        Errors: `UserError` for tensors that are not images.
        """
        refuse_single_pixels(noisy, "autoregressive", least=2)
        x, s = (part.reshape(-1, *part.shape[-2:]).double() for part in (noisy, signal))
        pixel_noise = fit_pixel_noise(x, s, quantization)
        low, high, std = float(s.min()), float(s.max()), float((x - s).std())
        signal_range = torch.tensor([low, max(high, low + std)])  # dark frames have almost a single signal
        with torch.random.fork_rng(devices=[]):  # for the initial weights
            torch.manual_seed(seed)
            self = cls(pixel_noise, torch.empty(0), axis, signal_range=signal_range, quantization=quantization)
        self.fit_network(x.float(), s.float(), torch.Generator().manual_seed(seed), steps)
        return self

    def fit_network(self, noisy: Tensor, signal: Tensor, generator: torch.Generator, steps: int) -> None:
        """Maximise the likelihood: a linear prediction in closed form, then all parameters by stochastic gradients."""
        self.fit_linear((noisy - signal) / self.std(signal))
        self.mixture.requires_grad_(True)
        optimiser = torch.optim.AdamW(self.mixture.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        height, width = (min(PATCH_SIZE, n) for n in noisy.shape[-2:])
        for _ in range(steps):
            corners = [
                torch.randint(n, (BATCH_SIZE,), generator=generator).tolist()
                for n in (len(noisy), noisy.shape[1] - height + 1, noisy.shape[2] - width + 1)
            ]
            x, s = (
                torch.stack([part[i, y : y + height, c : c + width] for i, y, c in zip(*corners, strict=True)])
                for part in (noisy, signal)
            )
            loss = -self.log_prob_image(x, s).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(self.mixture.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        self.mixture.requires_grad_(False)

    def fit_linear(self, z: Tensor) -> None:
        """Start from the best linear prediction of z (N, Y, X) from its causal context, and its residual std."""
        count = len(self.mixture.offsets)
        context = self.mixture.context_values(z)[..., :count].reshape(-1, count)
        target = z.reshape(-1)
        some = torch.arange(0, len(target), max(1, len(target) // 400_000))
        context, target = context[some].double(), target[some].double()
        gram = context.T @ context / len(context)
        slope = torch.linalg.solve(gram + RIDGE * torch.eye(count), context.T @ target / len(context))
        residual_std = float((target - context @ slope).std())
        with torch.no_grad():
            self.mixture.linear.weight[0] = slope.float()
            self.mixture.linear.bias.zero_()
            components = len(self.mixture.head.bias) // 3
            self.mixture.head.bias[2 * components :] = torch.log(torch.expm1(torch.tensor(max(residual_std, 0.03))))


def with_less_read_noise(pixel_noise: Noise, variance: float) -> Noise:
    """Noise model with the read noise reduced by a variance (ADU²)."""
    if isinstance(pixel_noise, PoissonGaussian):
        read_noise = (pixel_noise.read_noise**2 - variance).clamp(min=0).sqrt()
        return PoissonGaussian(pixel_noise.gain, pixel_noise.offset, read_noise)
    if isinstance(pixel_noise, Gaussian):
        return Gaussian((pixel_noise.std**2 - variance).clamp(min=1e-6 * variance).sqrt())
    return pixel_noise
