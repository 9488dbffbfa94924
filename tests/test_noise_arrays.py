"""Noise models take NumPy wherever they take tensors, and answer in kind; every registered kind."""

import numpy as np
import pytest
import torch

from noisewise import UserError
from noisewise.noise import models
from noisewise.noise.base import WITH_ARRAYS, GaussianSum, Noise
from noisewise.noise.quantization import Quantization

from .noise_models import KINDS, example, planted, rng

EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
NOISE = Quantization.of_bits(16)


def images(dtype=np.float64):
    """(noisy, signal) of 12 x 20 pixels, whole numbers."""
    signal = np.rint(np.linspace(150, 700, 240)).reshape(12, 20)
    return (signal + np.random.default_rng(0).integers(-30, 30, signal.shape)).astype(dtype), signal.astype(dtype)


@EVERY_KIND
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint16, ">f4", np.int64])
def test_arrays_give_what_tensors_give(kind, dtype):
    noise_model, (noisy, signal) = example(kind, NOISE), images(dtype)
    kept = np.float32 if np.dtype(dtype).kind == "f" and np.dtype(dtype).itemsize == 4 else np.float64
    x, s = (torch.from_numpy(one.astype(kept)) for one in (noisy, signal))
    calls = [
        (noise_model.log_prob(noisy, signal), noise_model.log_prob(x, s)),
        (noise_model.log_prob_image(noisy, signal), noise_model.log_prob_image(x, s)),
        (noise_model.cdf(noisy=noisy, signal=signal), noise_model.cdf(x, s)),
        (noise_model.sample(signal, generator=3), noise_model.sample(s, rng(3))),
        *zip(noise_model.mean_var(signal), noise_model.mean_var(s), strict=True),
        *zip(noise_model.span(signal), noise_model.span(s), strict=True),
    ]
    for found, wanted in calls:
        assert isinstance(found, np.ndarray) and isinstance(wanted, torch.Tensor)
        assert found.dtype == kept and found.shape == signal.shape
        np.testing.assert_array_equal(found, wanted.numpy())


@EVERY_KIND
def test_samples_of_arrays_have_the_moments(kind):
    noise_model, signal = example(kind), np.full((40, 256, 256), 300.0)
    noisy = noise_model.sample(signal, np.random.default_rng(1))
    mean, variance = noise_model.mean_var(300.0)
    assert noisy.mean() == pytest.approx(float(mean), abs=0.1)
    assert noisy.var() == pytest.approx(float(variance), rel=0.05)


@EVERY_KIND
def test_seeds_and_generators_repeat(kind):
    noise_model, (_, signal) = example(kind), images()
    first = noise_model.sample(signal, 7)
    np.testing.assert_array_equal(first, noise_model.sample(signal, np.int64(7)))
    np.testing.assert_array_equal(first, noise_model.sample(torch.from_numpy(signal), 7).numpy())
    again = [noise_model.sample(signal, np.random.default_rng(7)) for _ in range(2)]
    np.testing.assert_array_equal(*again)
    assert not np.array_equal(first, noise_model.sample(signal, 8))
    assert noise_model.sample(signal).shape == signal.shape


@EVERY_KIND
def test_numbers_give_numbers_and_a_tensor_gives_tensors(kind):
    noise_model = example(kind)
    found = noise_model.log_prob(310, 300.0)
    assert np.ndim(found) == 0 and float(found) < 0
    x, s = torch.tensor([[310.0], [300.0]], dtype=torch.float64)
    assert found == pytest.approx(float(noise_model.log_prob(x, s)[0]))
    noisy, signal = images(np.uint16)
    mixed = noise_model.log_prob(noisy, torch.from_numpy(signal.astype(np.float64)).requires_grad_())
    assert isinstance(mixed, torch.Tensor) and mixed.requires_grad
    assert isinstance(noise_model.log_prob(torch.from_numpy(noisy.astype(np.int32)), 300.0), torch.Tensor)


@pytest.mark.parametrize("kind", ["gaussian", "poisson_gaussian", "mixture", "histogram"])
def test_fits_take_arrays(kind):
    noisy, signal = planted(count=20_000)
    found = models.get(kind).fit(noisy.numpy(), signal.numpy())
    wanted = models.get(kind).fit(noisy, signal)
    assert isinstance(found, models.get(kind))
    for name, value in wanted.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value)


@EVERY_KIND
def test_every_method_of_every_kind_is_converted(kind):
    """New noise models need no line of their own for it."""
    for cls in models.get(kind).__mro__:
        if issubclass(cls, Noise) and cls is not Noise:
            for name in set(WITH_ARRAYS) & set(vars(cls)):
                method = getattr(vars(cls)[name], "__func__", vars(cls)[name])
                assert hasattr(method, "__wrapped__"), f"{cls.__name__}.{name}"
    assert Noise.__abstractmethods__ and GaussianSum.__abstractmethods__  # also after the conversion


@pytest.mark.parametrize(
    ("noisy", "signal", "message"),
    [
        (np.zeros((3, 4)), np.zeros((5, 4)), r"noisy of shape \(3, 4\) and signal of shape \(5, 4\) do not fit"),
        (np.array(["a"]), 1.0, "noisy: values of type <U1 are no pixel values"),
        (np.zeros(3, complex), 1.0, "noisy: values of type complex128"),
        ([[1.0], [1.0, 2.0]], 1.0, "noisy: list is no array of numbers"),
        (1.0, object(), "signal: values of type object"),
    ],
)
def test_what_is_no_image_is_refused(noisy, signal, message):
    with pytest.raises(UserError, match=message):
        example("gaussian").log_prob(noisy, signal)


@pytest.mark.parametrize("kind", ["correlated", "autoregressive"])
def test_correlated_noise_needs_images(kind):
    with pytest.raises(UserError, match=f"{kind} noise needs images"):
        example(kind).sample(np.float64(300.0))


@pytest.mark.parametrize("generator", ["seed", -1, True, 0.5])
def test_what_gives_no_random_numbers_is_refused(generator):
    with pytest.raises(UserError, match="gives no random numbers"):
        example("gaussian").sample(np.zeros((4, 4)), generator)
