"""Models of images whose posterior is known exactly: the best result that any method can reach.

A world draws signals s and noisy images x, and computes for each pixel i p(s_i | x), and p(s_i | x without x_i), the
best result of a method with a blind spot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from noisewise.noise.base import Noise
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gaussian import Gaussian


@dataclass(frozen=True)
class PixelPosterior:
    """Mean and standard deviation of each pixel, tensors (N, Y, X)."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class GaussianWorld:
    """Stationary Gaussian fields with periodic borders and white or correlated Gaussian noise; (N, side, side), ADU.

    The power at spatial frequency f (radians per pixel) is proportional to (1 + (f · length)²)^−roughness; s has this
    mean and standard deviation, the noise `sigma`, and the power N of `kernel`. p(s|x) is Gaussian: its mean is the
    Wiener filter ŝ(f) = G(f) x(f), G = P / (P + N), its variance the mean over f of P N / (P + N). With
    Q = 1 / (P + N), the precision of x, E[x_i | x without x_i] = x_i − (Q x)_i / Q_ii, with the variance 1 / Q_ii.
    With this in place of x_i, ŝ_i becomes E[s_i | x without x_i], and its variance increases by G_ii² / Q_ii.

    side: pixels along Y and X. mean, std, sigma: ADU. length: pixels.

    Source: Rue and Held 2005, doi:10.1201/9780203492024, section 2 (conditionals from a precision matrix).
    """

    side: int = 192
    mean: float = 100.0
    std: float = 20.0
    length: float = 4.0
    roughness: float = 1.5
    sigma: float = 15.0
    kernel: tuple[tuple[float, ...], ...] = ((1.0,),)
    """(Y, X), odd sides: kernel with which white noise is convolved"""
    border: int = 32
    """pixels along the border that are not scored, as a network does not use the periodic borders"""

    @property
    def noise(self) -> Noise:
        """Noise model p(x|s)."""
        white = Gaussian(self.sigma)
        if len(self.kernel) == len(self.kernel[0]) == 1:
            return white
        return Correlated(white, torch.tensor(self.kernel))

    @cached_property
    def noise_power(self) -> Tensor:
        """Power spectrum N of the noise, (side, side), ADU²."""
        kernel = torch.tensor(self.kernel, dtype=torch.float64)
        power: Tensor = torch.fft.fft2(kernel, s=(self.side, self.side)).abs() ** 2
        return self.sigma**2 * power / power.mean()

    @cached_property
    def power(self) -> Tensor:
        """Power spectrum P of the signal, (side, side), ADU²."""
        f = 2 * math.pi * torch.fft.fftfreq(self.side, dtype=torch.float64)
        shape: Tensor = (1 + self.length**2 * (f[:, None] ** 2 + f**2)) ** -self.roughness
        return self.std**2 / shape.mean() * shape

    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw signals and noisy images: two tensors (count, side, side), float32, ADU. seed: of the random numbers."""
        generator = torch.Generator().manual_seed(seed)
        white, noise = torch.randn((2, count, self.side, self.side), generator=generator, dtype=torch.float64)
        signal = self.mean + self.filtered(white, self.power.sqrt())
        return signal.float(), (signal + self.filtered(noise, self.noise_power.sqrt())).float()

    def posterior(self, noisy: Tensor) -> PixelPosterior:
        """p(s_i | x) for noisy images (N, side, side), ADU."""
        mean = self.mean + self.filtered(noisy.double() - self.mean, self.gain)
        return PixelPosterior(mean, self.residual_power.mean().sqrt().expand(mean.shape))

    @property
    def gain(self) -> Tensor:
        """Transfer function G of the Wiener filter, (side, side)."""
        return self.power / (self.power + self.noise_power)

    @property
    def residual_power(self) -> Tensor:
        """Power spectrum of s − ŝ, (side, side), ADU²."""
        return self.gain * self.noise_power

    def sample(self, noisy: Tensor, count: int, seed: int) -> Tensor:
        """Draw from p(s | x): (N, count, side, side); differences from the mean have the power P N / (P + N).

        noisy: (N, side, side), ADU. count: samples per image. seed: of the random numbers.
        """
        generator = torch.Generator().manual_seed(seed)
        white = torch.randn((len(noisy), count, self.side, self.side), generator=generator, dtype=torch.float64)
        return (self.posterior(noisy).mean[:, None] + self.filtered(white, self.residual_power.sqrt())).float()

    def blind_spot_posterior(self, noisy: Tensor) -> PixelPosterior:
        """p(s_i | x without x_i) for noisy images (N, side, side), ADU."""
        precision = 1 / (self.power + self.noise_power)
        q, g = precision.mean(), self.gain.mean()  # the diagonals Q_ii and G_ii
        innovation = self.filtered(noisy.double() - self.mean, precision) / q
        mean = self.posterior(noisy).mean - g * innovation
        return PixelPosterior(mean, (self.residual_power.mean() + g**2 / q).sqrt().expand(mean.shape))

    @staticmethod
    def filtered(image: Tensor, transfer: Tensor) -> Tensor:
        """Periodic convolution, by its transfer function."""
        result: Tensor = torch.fft.ifft2(torch.fft.fft2(image) * transfer).real
        return result


@dataclass(frozen=True)
class FiniteWorld:
    """One of a few figures at any position, with one of a few brightnesses, uniform background, independent noise.

    All figures, positions and brightnesses h are equally likely, so the posterior is p(h|x) ∝ Π_i p(x_i | s_i(h)). The
    marginal posterior of a pixel consists of the probabilities of the few values that it can have; dividing them by the
    likelihood of the pixel gives the posterior without it.

    noise: p(x|s). side: pixels along Y and X. background: electrons. brightnesses: electrons above it.
    gain, offset: from electrons to ADU. border: pixels along the border that are not scored.
    """

    noise: Noise
    side: int = 12
    background: float = 2.0
    brightnesses: tuple[float, ...] = (1.0, 2.0, 4.0)
    gain: float = 1.0
    offset: float = 0.0
    border: int = 0

    @cached_property
    def figures(self) -> Tensor:
        """(F, 5, 5): a disc, a ring, a cross, a bar and its mirror image, with values 0, 1/2 and 1.

        The set does not change under the flips and rotations that are used in training.
        """
        rows = (
            ("01110", "12221", "12221", "12221", "01110"),
            ("02220", "20002", "20002", "20002", "02220"),
            ("00200", "00200", "22222", "00200", "00200"),
            ("21000", "12100", "01210", "00121", "00012"),
            ("00012", "00121", "01210", "12100", "21000"),
        )
        return torch.tensor([[[int(digit) / 2 for digit in row] for row in figure] for figure in rows])

    @cached_property
    def levels(self) -> Tensor:
        """Values (L,) that a pixel can have, ADU; the background is the first."""
        electrons = [self.background, *(self.background + b * part for b in self.brightnesses for part in (0.5, 1.0))]
        return self.offset + self.gain * torch.tensor(electrons, dtype=torch.float64)

    @cached_property
    def kernels(self) -> Tensor:
        """(F · B, L − 1, 5, 5): 1 where a figure with a brightness has a level above the background."""
        part = torch.stack([self.figures == 0.5, self.figures == 1.0], 1)
        kernels = torch.zeros(len(part), len(self.brightnesses), len(self.brightnesses), 2, 5, 5, dtype=torch.float64)
        for b in range(len(self.brightnesses)):
            kernels[:, b, b] = part.double()
        return kernels.reshape(-1, len(self.levels) - 1, 5, 5)

    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw signals and noisy images: two tensors (count, side, side), float32, ADU. seed: of the random numbers."""
        generator = torch.Generator().manual_seed(seed)
        which = torch.randint(len(self.kernels), (count,), generator=generator)
        corner = torch.randint(self.side - 4, (count, 2), generator=generator)
        signal = torch.full((count, self.side, self.side), float(self.levels[0]), dtype=torch.float64)
        above = torch.einsum("klyx,l->kyx", self.kernels, self.levels[1:] - self.levels[0])
        for image, k, (y, x) in zip(signal, which.tolist(), corner.tolist(), strict=True):
            image[y : y + 5, x : x + 5] += above[k]
        return signal.float(), self.noise.sample(signal, generator).float()

    def posterior(self, noisy: Tensor) -> PixelPosterior:
        """p(s_i | x) for noisy images (N, side, side), ADU."""
        return self.moments(self.marginals(noisy)[0])

    def blind_spot_posterior(self, noisy: Tensor) -> PixelPosterior:
        """p(s_i | x without x_i) for noisy images (N, side, side), ADU."""
        probability, relative_log_likelihood = self.marginals(noisy)
        without = (probability.log() - relative_log_likelihood).softmax(1)
        return self.moments(without)

    def sample(self, noisy: Tensor, count: int, seed: int) -> Tensor:
        """Draw from p(s | x): (N, count, side, side).

        noisy: (N, side, side), ADU. count: samples per image. seed: of the random numbers.
        """
        relative_log_likelihood = self.relative_log_likelihood(noisy)
        scores = F.conv2d(relative_log_likelihood[:, 1:], self.kernels)
        generator = torch.Generator().manual_seed(seed)
        picked = torch.multinomial(scores.flatten(1).softmax(1), count, replacement=True, generator=generator)
        chosen = torch.zeros(len(noisy), count, scores[0].numel(), dtype=torch.float64)
        chosen.scatter_(2, picked[..., None], 1.0)
        above = F.conv_transpose2d(chosen.reshape(-1, *scores.shape[1:]), self.kernels)
        signal = self.levels[0] + torch.einsum("nlyx,l->nyx", above, self.levels[1:] - self.levels[0])
        return signal.reshape(len(noisy), count, *signal.shape[1:]).float()

    def marginals(self, noisy: Tensor) -> tuple[Tensor, Tensor]:
        """p(s_i = level | x), and log p(x_i | level) − log p(x_i | background), of each pixel; (N, L, Y, X)."""
        relative_log_likelihood = self.relative_log_likelihood(noisy)
        scores = F.conv2d(relative_log_likelihood[:, 1:], self.kernels)
        weight = scores.flatten(1).softmax(1).reshape(scores.shape)
        above = F.conv_transpose2d(weight, self.kernels)
        background = (1 - above.sum(1, keepdim=True)).clamp(min=0)
        return torch.cat([background, above], 1).clamp(min=1e-300), relative_log_likelihood

    def relative_log_likelihood(self, noisy: Tensor) -> Tensor:
        """log p(x_i | level) − log p(x_i | background) of each pixel; (N, L, Y, X)."""
        x = noisy.double()[:, None]
        levels = self.levels[:, None, None]
        shape = (len(x), len(self.levels), *x.shape[2:])
        log_prob = self.noise.log_prob(x.expand(shape), levels.expand(shape))
        return log_prob - log_prob[:, :1]

    def moments(self, probability: Tensor) -> PixelPosterior:
        """Mean and standard deviation of levels with these probabilities."""
        levels = self.levels[:, None, None]
        mean = (probability * levels).sum(1)
        variance = (probability * (levels - mean[:, None]) ** 2).sum(1)
        return PixelPosterior(mean, variance.sqrt())


World = GaussianWorld | FiniteWorld


def decibel_gap(error: Tensor, limit: Tensor) -> float:
    """Mean squared error relative to that of a limit, dB: 10 log₁₀(Σ error² / Σ limit²); tensors of any shape."""
    return float(10 * torch.log10((error.double() ** 2).mean() / (limit.double() ** 2).mean()))
