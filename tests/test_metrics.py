"""Metrics against scikit-image, torchmetrics, brute force and closed forms."""

import numpy as np
import pytest
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from noisewise import UserError
from noisewise.evaluate import microssim
from noisewise.evaluate.metrics import STRIP, ms_ssim, nrmse, psnr, psnr_affine, scale_invariant_psnr, ssim
from noisewise.evaluate.microssim import micro_ssim
from noisewise.evaluate.resolution import Frc, frc, resolution

SHAPES = [(40, 56), (11, 11), (13, 17, 15)]


def textured(shape, seed=3):
    """An image, noisy, scaled and shifted, and its truth with structure at all scales; float32."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 20, shape)
    for axis in range(len(shape)):
        truth = truth.cumsum(axis)
    truth += 100 - truth.min()
    image = 0.8 * truth + 12 + rng.normal(0, 0.1 * truth.std(), shape)
    return image.astype(np.float32), truth.astype(np.float32)


@pytest.fixture(params=SHAPES, ids=str)
def pair(request):
    return textured(request.param)


# -- mean square error -----------------------------------------------------------------------------


@pytest.mark.parametrize("data_range", [50.0, 4000.0])
def test_psnr(pair, data_range):
    image, truth = pair
    expected = peak_signal_noise_ratio(truth.astype(float), image.astype(float), data_range=data_range)
    assert psnr(image, truth, data_range) == pytest.approx(expected, rel=1e-6)
    assert psnr(truth, truth, data_range) == np.inf


def test_psnr_does_not_wrap_integers():
    assert psnr(np.zeros((8, 8), np.uint8), np.full((8, 8), 255, np.uint8), 255) == pytest.approx(0)


def test_affine_psnr_is_that_of_the_least_squares_fit(pair):
    image, truth = pair
    columns = np.stack([image.ravel(), np.ones(image.size)], 1).astype(float)
    (gain, offset), *_ = np.linalg.lstsq(columns, truth.ravel().astype(float))
    assert psnr_affine(image, truth, 300.0) == pytest.approx(psnr(gain * image.astype(float) + offset, truth, 300.0))
    assert psnr_affine(image, truth, 300.0) > psnr(image, truth, 300.0)
    assert psnr_affine(3 * truth.astype(float) - 7, truth, 300.0) > 200  # rounding alone
    assert psnr_affine(0 * image, truth, 300.0) == pytest.approx(psnr(0 * truth + truth.mean(), truth, 300.0))


def test_scale_invariant_psnr_is_the_published_formula(pair):
    image, truth = (array.astype(float) for array in pair)
    t = (truth - truth.mean()) / truth.std()
    p = image - image.mean()
    p = p * (t * p).sum() / (p * p).sum()
    span = (truth.max() - truth.min()) / truth.std()
    expected = 10 * np.log10(span**2 / ((t - p) ** 2).mean())
    assert scale_invariant_psnr(image, truth) == pytest.approx(expected)
    assert scale_invariant_psnr(5 * image - 40, truth) == pytest.approx(expected)


def test_nrmse(pair):
    image, truth = pair
    expected = normalized_root_mse(truth.astype(float), image.astype(float), normalization="min-max")
    assert nrmse(image, truth) == pytest.approx(expected)


# -- SSIM ------------------------------------------------------------------------------------------


def reference_ssim(image, truth, data_range):
    return structural_similarity(
        truth.astype(float), image.astype(float), data_range=data_range, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip


@pytest.mark.parametrize("data_range", [50.0, 4000.0])
def test_ssim(pair, data_range):
    image, truth = pair
    assert ssim(image, truth, data_range) == pytest.approx(reference_ssim(image, truth, data_range), rel=1e-6)
    assert ssim(truth, truth, data_range) == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(3 * STRIP // 200, 200), (30, 11, STRIP // 200)])
def test_ssim_in_strips(shape):
    rng = np.random.default_rng(0)
    truth = np.add.outer(np.linspace(0, 9, shape[0]), np.zeros(shape[1:])) + rng.normal(size=shape)
    image = truth + rng.normal(size=shape)
    assert ssim(image, truth, 10.0) == pytest.approx(reference_ssim(image, truth, 10.0), rel=1e-6)


def test_ssim_of_a_small_signal_on_a_large_offset():
    """In float64, the mean of squares of 10⁸ cannot resolve a variance of 1e-2."""
    image, truth = (array.astype(float) / 1e4 for array in textured((40, 56)))
    span = float(np.ptp(truth))
    c2 = (0.03 * span) ** 2
    windows = [np.lib.stride_tricks.sliding_window_view(array, (11, 11)) for array in (image, truth)]
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weight = np.outer(taps, taps) / taps.sum() ** 2
    means = [(weight * window).sum((-1, -2), keepdims=True) for window in windows]
    x, y = (window - mean for window, mean in zip(windows, means, strict=True))
    contrast = (2 * (weight * x * y).sum((-1, -2)) + c2) / ((weight * (x**2 + y**2)).sum((-1, -2)) + c2)
    # with this offset, the luminance is 1
    assert ssim(image + 1e8, truth + 1e8, span) == pytest.approx(contrast.mean(), rel=1e-4)


def test_ssim_of_a_stack_without_structure_along_z_is_that_of_a_plane():
    image, truth = textured((30, 40))
    stack = [np.repeat(array[None], 12, 0) for array in (image, truth)]
    assert ssim(*stack, 800.0) == pytest.approx(ssim(image, truth, 800.0))


# -- MS-SSIM ---------------------------------------------------------------------------------------


def reference_ms_ssim(image, truth, data_range, **options):
    """torchmetrics', in float64."""
    import torch
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as measure

    x, y = (torch.from_numpy(array.astype(np.float64))[None, None] for array in (image, truth))
    return float(measure(x, y, data_range=data_range, **options))


@pytest.mark.parametrize(("shape", "data_range"), [((176, 176), 100.0), ((181, 207), 30000.0)], ids=str)
def test_ms_ssim(shape, data_range):
    image, truth = textured(shape)
    expected = reference_ms_ssim(image, truth, data_range)
    assert ms_ssim(image, truth, data_range) == pytest.approx(expected, rel=1e-6)
    assert ms_ssim(truth, truth, data_range) == pytest.approx(1.0)


def test_ms_ssim_of_stacks():
    image, truth = textured((26, 30, 25))
    expected = reference_ms_ssim(image, truth, 2000.0, betas=(0.4, 0.6))
    assert ms_ssim(image, truth, 2000.0, weights=(0.4, 0.6)) == pytest.approx(expected, rel=1e-6)


def test_ms_ssim_of_an_inverted_image_is_zero():
    truth = textured((176, 180))[1]
    assert ms_ssim(-truth, truth, 100.0) == reference_ms_ssim(-truth, truth, 100.0) == 0


# -- MicroSSIM -------------------------------------------------------------------------------------


def microscopy(count=3, shape=(48, 56), spots=6):
    """Truths with an offset of 100 and few bright spots; images of another camera: gain 0.3, offset 500."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[: shape[0], : shape[1]]
    truths, images = [], []
    for number in range(count):
        light = np.full(shape, 2.0)
        for _ in range(spots):
            centre = rng.uniform(0, shape, 2)
            light += rng.uniform(20, 60) * (number + 1) * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 30)
        truths.append(100 + 10 * light)
        images.append(500 + 0.3 * 10 * (light + rng.normal(0, 3, shape)))
    return images, truths


def brute_force(images, truths, scalings):
    """Mean of scikit-image's SSIM of the set, for each scaling."""
    backgrounds = [np.percentile(np.concatenate([array.ravel() for array in arrays]), 3) for arrays in (images, truths)]
    return np.array([
        [
            structural_similarity(y - backgrounds[1], a * (x - backgrounds[0]), win_size=7, data_range=np.ptp(y))
            for x, y in zip(images, truths, strict=True)
        ]
        for a in scalings
    ])  # fmt: skip


def test_micro_ssim_agrees_with_a_brute_force_search():
    images, truths = microscopy()
    found = micro_ssim(images, truths)
    scalings = np.geomspace(0.5, 20, 400)
    scores = brute_force(images, truths, scalings)
    best = scores.mean(1).argmax()
    assert found.scaling == pytest.approx(scalings[best], rel=0.01)  # the grid's step
    assert found.mean >= scores.mean(1).max() - 1e-9
    np.testing.assert_allclose(found.scores, brute_force(images, truths, [found.scaling])[0], rtol=1e-6)
    assert found.mean == pytest.approx(np.mean(found.scores))


def test_micro_ssim_ignores_scale_and_offset_of_the_images():
    images, truths = microscopy()
    found = micro_ssim(images, truths)
    changed = micro_ssim([0.02 * image - 3 for image in images], truths)
    np.testing.assert_allclose(changed.scores, found.scores, rtol=1e-6)
    assert changed.scaling == pytest.approx(found.scaling / 0.02)
    perfect = micro_ssim([7 * truth + 30 for truth in truths], truths)
    assert perfect.scaling == pytest.approx(1 / 7) and perfect.mean == pytest.approx(1)


def test_micro_ssim_has_one_scaling_for_the_set():
    images, truths = microscopy()
    together = micro_ssim([images[0], 5 * images[1]], truths[:2]).scores
    assert np.mean(together) < np.mean(micro_ssim(images[:2], truths[:2]).scores) - 0.02


def test_micro_ssim_is_sensitive_to_noise_where_ssim_is_not():
    truth = microscopy(1)[1][0]
    noisy = truth + np.random.default_rng(0).normal(0, 30, truth.shape)
    found = micro_ssim([noisy], [truth]).mean
    assert micro_ssim([noisy + 20000], [truth + 20000]).mean == pytest.approx(found)
    assert found < 0.8 and ssim(noisy + 20000, truth + 20000, 65535.0) > 0.99


def test_micro_ssim_of_large_sets(monkeypatch):
    """Backgrounds and scaling come from a random tenth of the pixels, the scores from all."""
    images, truths = microscopy(3, (120, 140), spots=60)
    whole = micro_ssim(images, truths)
    monkeypatch.setattr(microssim, "WINDOWS", 5000)
    monkeypatch.setattr(microssim, "PIXELS", 5000)
    part = micro_ssim(images, truths)
    assert part.scaling != whole.scaling
    assert part.scaling == pytest.approx(whole.scaling, rel=0.03)
    np.testing.assert_allclose(part.scores, whole.scores, atol=0.01)


def test_micro_ssim_of_stacks_and_given_ranges():
    rng = np.random.default_rng(0)
    truth = textured((9, 20, 22))[1].astype(float)
    image = truth + rng.normal(0, 50, truth.shape)
    found = micro_ssim([image], [truth], [500.0])
    backgrounds = [np.percentile(array, 3) for array in (image, truth)]
    expected = structural_similarity(
        truth - backgrounds[1], found.scaling * (image - backgrounds[0]), win_size=7, data_range=500.0
    )
    assert found.scores == [pytest.approx(expected, rel=1e-6)]


# -- Fourier ring correlation ----------------------------------------------------------------------


def recordings(shape, pixel, noise=1.0, seed=0):
    """Two noisy images of one signal with the power spectrum S(f) = 9 exp(−(f/0.12)²), f in cycles a unit."""
    rng = np.random.default_rng(seed)
    square = sum(np.meshgrid(*(np.fft.fftfreq(n, p) ** 2 for n, p in zip(shape, pixel, strict=True)), indexing="ij"))
    signal = np.fft.ifftn(np.fft.fftn(rng.normal(size=shape)) * np.sqrt(9 * np.exp(-square / 0.12**2))).real
    return signal + rng.normal(0, noise, shape), signal + rng.normal(0, noise, shape)


def spectral_ratio(frequency, noise=1.0):
    """S / (S + N)."""
    signal = 9 * np.exp(-((frequency / 0.12) ** 2))
    return signal / (signal + noise**2)


@pytest.mark.parametrize(
    ("shape", "pixel"), [((256, 256), (1.0, 1.0)), ((200, 301), (1.0, 0.7)), ((40, 72, 64), (1.5, 1.0, 1.0))], ids=str
)
def test_frc_is_the_fraction_of_the_signal_in_the_power(shape, pixel):
    curves = [frc(*recordings(shape, pixel, seed=seed), pixel) for seed in range(6)]
    frequency = curves[0].frequency
    width = frequency[1] - frequency[0]
    assert frequency[0] == pytest.approx(1 / min(n * p for n, p in zip(shape, pixel, strict=True)))
    assert frequency[-1] + width > 0.5 / max(pixel) >= frequency[-1] - width / 2
    found, expected = np.mean([curve.correlation for curve in curves], 0), spectral_ratio(frequency)
    ring = frequency / width > 8  # where there are many coefficients
    assert abs(found - expected)[ring].max() < 0.1
    assert abs((found - expected)[ring].mean()) < 0.01


def test_resolution_is_where_the_curve_crosses_the_threshold():
    """S / (S + N) = 1/7 where 9 exp(−(f/0.12)²) = N/6."""
    noise = 0.5
    expected = 1 / (0.12 * np.sqrt(np.log(54 / noise**2)))
    curves = [frc(*recordings((300, 300), (1.0, 1.0), noise, seed)).correlation for seed in range(8)]
    frequency = frc(*recordings((300, 300), (1.0, 1.0), noise)).frequency
    found = resolution(Frc(frequency, np.mean(curves, 0)))
    assert found == pytest.approx(expected, rel=0.04)


def test_resolution_has_the_unit_of_the_pixel():
    pair = recordings((128, 128), (1.0, 1.0))
    in_pixels = resolution(frc(*pair))
    assert in_pixels is not None
    assert resolution(frc(*pair, pixel=0.065)) == pytest.approx(0.065 * in_pixels)


def test_resolution_of_given_curves():
    frequency = np.array([0.1, 0.2, 0.3, 0.4])
    assert resolution(Frc(frequency, np.array([1, 0.9, 0.1, 0.5])), 0.3) == pytest.approx(1 / 0.275)
    assert resolution(Frc(frequency, np.array([1, 0.9, 0.8, 0.5])), 0.3) is None
    assert resolution(Frc(frequency, np.array([0.1, 0.2, 0.1, 0.0])), 0.3) is None
    assert resolution(Frc(frequency, np.array([0.1, 0.3, 0.1, 0.9])), 0.3) == pytest.approx(1 / 0.2)


def test_frc_of_pure_noise_and_of_equal_images():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 128, 128))
    assert abs(frc(first, second).correlation.mean()) < 0.03
    np.testing.assert_allclose(frc(first, 3 * first + 100).correlation, 1)
    np.testing.assert_allclose(frc(first, -first).correlation, -1)


def test_borders_do_not_count_as_detail():
    """A ramp jumps at the periodic border; without a taper, this would correlate at all frequencies."""
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.linspace(0, 300, 128), np.linspace(0, 200, 128))
    correlation = frc(*(ramp + rng.normal(0, 1, (2, 128, 128)))).correlation
    assert abs(correlation[20:].mean()) < 0.05


# -- errors ---------------------------------------------------------------------------------------

METRICS = {
    "psnr": lambda x, y: psnr(x, y, 1.0),
    "psnr_affine": lambda x, y: psnr_affine(x, y, 1.0),
    "scale_invariant_psnr": scale_invariant_psnr,
    "nrmse": nrmse,
    "ssim": lambda x, y: ssim(x, y, 1.0),
    "ms_ssim": lambda x, y: ms_ssim(x, y, 1.0, (0.5, 0.5)),
    "micro_ssim": lambda x, y: micro_ssim([x], [y]),
    "frc": frc,
}


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_images_that_cannot_be_compared(metric):
    good = np.random.default_rng(0).normal(size=(24, 24))
    metric(good, good + 1)
    bad, infinite = good.copy(), good.copy()
    bad[3, 4], infinite[3, 4] = np.nan, np.inf
    for pair in ((bad, good), (good, bad), (infinite, good), (good, infinite)):
        with pytest.raises(UserError, match="NaN"):
            metric(*pair)
    with pytest.raises(UserError, match="shape"):
        metric(good, good[:, 1:])
    with pytest.raises(UserError, match="shape"):
        metric(good[0], good[0])
    with pytest.raises(UserError, match="shape"):
        metric(good[:0], good[:0])


@pytest.mark.parametrize("name", ["psnr_affine", "scale_invariant_psnr", "nrmse", "micro_ssim"])
def test_constant_truths(name):
    with pytest.raises(UserError, match="constant"):
        METRICS[name](np.random.default_rng(0).normal(size=(24, 24)), np.full((24, 24), 0.1))


def test_frc_without_contrast():
    noise, constant = np.random.default_rng(0).normal(size=(24, 24)), np.full((24, 24), 0.1)
    for pair in ((noise, constant), (constant, noise)):
        with pytest.raises(UserError, match="contrast"):
            frc(*pair)


@pytest.mark.parametrize("data_range", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("metric", [psnr, psnr_affine, ssim, lambda x, y, r: micro_ssim([x], [y], [r])])
def test_ranges_that_are_none(metric, data_range):
    image = np.random.default_rng(0).normal(size=(24, 24))
    with pytest.raises(UserError, match="range"):
        metric(image, image, data_range)


@pytest.mark.parametrize(
    ("metric", "least"),
    [(lambda x: ssim(x, x, 1.0), 11), (lambda x: ms_ssim(x, x, 1.0), 176), (lambda x: micro_ssim([x], [x]), 7),
     (lambda x: frc(x, x), 16)],
    ids=["ssim", "ms_ssim", "micro_ssim", "frc"],
)  # fmt: skip
def test_images_that_are_too_small(metric, least):
    image = np.random.default_rng(0).normal(size=(least, least + 3))
    metric(image)
    with pytest.raises(UserError, match=f"{least} pixels"):
        metric(image[1:])


def test_sets_and_pixels_that_do_not_fit():
    image = np.random.default_rng(0).normal(size=(24, 24))
    for sets in (([image], []), ([], []), ([image, image], [image])):
        with pytest.raises(UserError, match="one for each"):
            micro_ssim(*sets)
    for pixel in (0.0, np.nan, (1.0, 1.0, 1.0)):
        with pytest.raises(UserError, match="pixel"):
            frc(image, image, pixel)
