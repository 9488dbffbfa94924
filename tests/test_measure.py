"""The check-up of planted noise: variance line, correlation, rows, limits, quantization; errors and command line."""

import io
import json
from functools import cache

import numpy as np
import pytest
import tifffile
import torch
from scipy.ndimage import gaussian_filter

import noisewise as nw
from noisewise.cli import main
from noisewise.estimate.artifacts import is_jpeg
from noisewise.estimate.autocorrelation import estimate_autocorrelation
from noisewise.estimate.dct_blocks import BlockSource, dct, extract_blocks, homogeneous_spectra, surround_mean
from noisewise.estimate.variance import before_clipping
from noisewise.noise.base import pack
from noisewise.noise.fit.pixel_values import PixelValueCounter
from noisewise.noise.models import unpack
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.ops.linear_variance import linear_variance
from noisewise.noise.ops.stabilize import Stabilizer
from noisewise.noise.quantization import Quantization
from tests.conftest import blobs

GAIN, OFFSET = 2.0, 100.0


@cache
def scene(size=256, seed=0):
    """Photons a pixel, 4 to 60: smooth waves and sharp discs."""
    rng = np.random.default_rng(seed)
    image = (blobs((size, size), seed) - 20.0) / 80 * 20 + 4
    y, x = np.mgrid[:size, :size]
    for _ in range(25):
        centre, radius = rng.uniform(0, size, 2), rng.uniform(3, 15)
        image[np.hypot(y - centre[0], x - centre[1]) < radius] += rng.uniform(5, 40)
    return image.astype(np.float64)


def one_frame(image):
    return BlockSource(image, image, image, np.ones(image.shape, bool), np.zeros(image.shape, bool))


def expose(photons, seed=0, **settings):
    return nw.Camera(gain=GAIN, offset=OFFSET, **({"read_noise": 2.0} | settings)).expose(photons, seed=seed)


def true_std(signal, read_noise=2.0):
    return np.sqrt(GAIN * (signal - OFFSET) + (GAIN * read_noise) ** 2 + 1 / 12)


@pytest.mark.parametrize("light", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("read_noise", [0.0, 2.0])
def test_the_variance_line_is_estimated_from_one_image(light, read_noise):
    found = nw.measure(expose(light * scene(), read_noise=read_noise))
    assert found.kind == "white"
    assert found.line.slope == pytest.approx(GAIN, rel=0.12)
    for signal in np.linspace(OFFSET + GAIN * light * 8, OFFSET + GAIN * light * 50, 5):
        assert found.std(signal) == pytest.approx(true_std(signal, read_noise), rel=0.08)
    low, high = found.offset_adu
    assert low - 4 <= OFFSET <= high
    assert found.read_noise_adu[0] <= GAIN * read_noise <= found.read_noise_adu[1] + 0.5
    assert found.gain_adu_per_e.low < GAIN * 1.05 and found.gain_adu_per_e.high > GAIN * 0.95


def test_differences_of_frames_separate_noise_from_texture():
    texture = 30 + 25 * np.random.default_rng(0).random((128, 128))  # as strong and as fine as noise
    stack = np.stack([expose(texture, seed) for seed in range(4)])
    frames, single = nw.measure(stack, axes="TYX"), nw.measure(stack[0])
    signal = OFFSET + GAIN * 42.5
    assert frames.from_frames and not single.from_frames
    assert frames.std(signal) == pytest.approx(true_std(signal), rel=0.03)
    assert single.std(signal) > 1.3 * true_std(signal)  # not possible in a single image


@pytest.mark.parametrize("axis", ["X", "Y"])
def test_row_noise_is_found_along_its_axis(axis):
    """Offsets with half the standard deviation of the read noise, in an image with little light."""
    setting = {"X": "row_noise_e", "Y": "column_noise_e"}[axis]
    found = nw.measure(expose(0.3 * scene(), **{setting: 1.0}))
    assert found.kind == {"X": "rows", "Y": "columns"}[axis]
    assert f"correlated along {axis}" in found.verdict
    std = found.row_std_adu if axis == "X" else found.column_std_adu
    assert std == pytest.approx(GAIN, rel=0.35)
    assert (found.column_std_adu if axis == "X" else found.row_std_adu) == 0


def correlated(shape, kernel, seed=0):
    """Gaussian noise of unit variance, convolved with a kernel."""
    white = np.random.default_rng(seed).normal(size=shape)
    spectrum = np.fft.rfft2(kernel, s=shape)
    return np.fft.irfft2(np.fft.rfft2(white) * spectrum, s=shape) / np.sqrt((kernel**2).sum())


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        (np.array([[1.0]]), "white"),
        (np.outer([1, 2, 1], [1, 2, 1.0]), "correlated"),
        (np.array([[1.0, 0.7]]), "rows"),
        (np.array([[1.0], [0.7]]), "columns"),
    ],
)
def test_the_autocorrelation_is_that_of_the_kernel(kernel, kind):
    noise = correlated((256, 256), kernel)
    found = nw.measure((scene() + 6 * noise).astype(np.float32))
    expected = {
        "X": (kernel[:, 1:] * kernel[:, :-1]).sum() / (kernel**2).sum(),
        "Y": (kernel[1:] * kernel[:-1]).sum() / (kernel**2).sum(),
    }
    for axis in "XY":
        assert found.rho[axis][0] == pytest.approx(expected[axis], abs=0.06)
    assert found.kind == kind


@pytest.mark.parametrize("kernel", [[[1.0]], [[0.3, 1.0, 0.3]], [[0.2, 0.4, 0.2], [0.4, 1.0, 0.4], [0.2, 0.4, 0.2]]])
def test_the_independent_share_is_what_four_neighbours_do_not_predict(kernel):
    kernel = torch.tensor(kernel, dtype=torch.float64)
    kernel = kernel / (kernel**2).sum().sqrt()
    noise = Correlated(Gaussian(1.0), kernel).sample(torch.zeros(400, 400, dtype=torch.float64)).numpy()
    residual = noise[1:-1, 1:-1] - (noise[:-2, 1:-1] + noise[2:, 1:-1] + noise[1:-1, :-2] + noise[1:-1, 2:]) / 4
    found = estimate_autocorrelation(extract_blocks([one_frame(noise)], 16)).independent_fraction
    assert found == pytest.approx(min(residual.var() / 1.25, 1), abs=0.04)


def test_texture_does_not_count_as_correlated_noise():
    """Two images with the same spectrum: noise in the whole image, and texture in a part of it."""
    rough = correlated((384, 384), np.outer([1, 3, 4, 3, 1], [1, 3, 4, 3, 1]).astype(float), seed=3)
    patches = correlated((384, 384), np.outer(np.hanning(101), np.hanning(101)), seed=4)
    textured = expose(np.clip(30 + 30 * rough * np.clip(patches, 0, None), 0.5, None))
    found = nw.measure(textured)
    assert found.kind == "white" and max(found.rho[axis][0] for axis in "XY") < 0.1
    noisy = 200 + 10 * rough + expose(scene(384)) * 0.01
    assert nw.measure(noisy.astype(np.float32)).kind == "correlated"


def test_the_measured_noise_model_samples_like_the_camera():
    """Variance, row offsets and quantiles are those of the noise that was measured."""
    camera = {"row_noise_e": 1.5}
    noise_model = nw.measure(expose(scene(), seed=1, **camera)).noise
    assert isinstance(noise_model, Correlated)
    signal = OFFSET + GAIN * np.full((256, 256), 20.0)
    real = expose(np.full((256, 256), 20.0), seed=2, **camera) - signal
    drawn = noise_model.sample(torch.as_tensor(signal), torch.Generator().manual_seed(0)).numpy() - signal
    assert drawn.std() == pytest.approx(real.std(), rel=0.06)
    assert drawn.mean(1).var() == pytest.approx(real.mean(1).var(), rel=0.5)
    assert drawn.mean(0).var() == pytest.approx(real.mean(0).var(), rel=0.5)
    quantiles = np.linspace(0.02, 0.98, 25)
    assert np.allclose(np.quantile(drawn, quantiles), np.quantile(real, quantiles), atol=0.12 * real.std())


def test_skewed_noise_is_measured_as_skewed():
    """With one photon and little read noise, the skewness determines the offset."""
    dark = np.full((256, 256), 1.0)
    dark[:, 128:] = 3.0
    noise_model = nw.measure(expose(dark, read_noise=0.3, seed=5)).noise
    drawn = noise_model.sample(torch.full((256, 256), OFFSET + GAIN, dtype=torch.float64)).numpy() - OFFSET - GAIN
    assert (drawn**3).mean() / drawn.std() ** 3 == pytest.approx(1.0, abs=0.35)  # Poisson of mean 1


@pytest.mark.parametrize(("most", "nonlinear"), [(1000, True), (1e9, False)])
def test_a_variance_that_saturates_is_not_a_line(most, nonlinear):
    y, x = np.mgrid[:512, :512]
    signal = 500 + 750 * (1 + np.sin(y / 40) * np.cos(x / 50))
    noise = np.sqrt(np.minimum(signal, most)) * np.random.default_rng(0).standard_normal(signal.shape)
    found = nw.measure(np.round(signal + noise).astype(np.uint16))
    assert found.levels.is_nonlinear(found.line) == nonlinear
    levels = torch.linspace(600, 2000, 8, dtype=torch.float64)
    assert found.noise.mean_var(levels)[1].numpy() == pytest.approx(levels.clamp(max=most).numpy(), rel=0.12)


def multiplied(photons, seed=0):
    """A multiplying detector without read noise, whose single-photon responses are exponential."""
    rng = np.random.default_rng(seed)
    return np.round(OFFSET + GAIN * rng.gamma(np.maximum(rng.poisson(photons), 1e-9))).astype(np.uint16)


def test_noise_does_not_vanish_below_the_darkest_signal():
    found = nw.measure(multiplied(0.3 + scene(), seed=4))
    darkest = torch.tensor([found.signal_range[0]], dtype=torch.float64)
    at, below = (found.noise.mean_var(signal)[1].item() for signal in (darkest, darkest - 30))
    assert below == pytest.approx(at, rel=0.1)
    assert at == pytest.approx(2 * GAIN * (darkest.item() - OFFSET), rel=0.25)


def test_texture_does_not_change_the_shape_of_bright_noise():
    """Bright specks everywhere dominate the tail of the histogram; the noise of many photons has no long tail."""
    rng = np.random.default_rng(0)
    photons = 1 + 40 * (blobs((256, 256)) - 20) / 80 + 60 * (rng.random((256, 256)) < 0.02)
    noise_model = nw.measure(multiplied(photons, seed=4)).noise
    signal = OFFSET + GAIN * 35.0
    level = torch.full((256, 256), signal, dtype=torch.float64)
    drawn = noise_model.sample(level, torch.Generator().manual_seed(0)).numpy() - signal
    assert drawn.var() == pytest.approx(2 * GAIN**2 * 35, rel=0.35)
    assert (drawn**3).mean() / drawn.std() ** 3 == pytest.approx(3 / np.sqrt(2 * 35), abs=0.3)
    assert (drawn**4).mean() / drawn.std() ** 4 - 3 < 0.5


def measure_pixel_values(image):
    counter = PixelValueCounter(image.dtype)
    counter.add(image.astype(float))
    return counter.measure()


def test_limits_steps_and_stretching_are_found():
    rng = np.random.default_rng(0)
    camera = rng.normal(60, 12, (256, 256))
    clipped = np.clip(np.rint(camera), 50, 255).astype(np.uint8)
    pixel_values = measure_pixel_values(clipped)
    assert pixel_values.low.value == 50 and pixel_values.low.fraction == pytest.approx((clipped == 50).mean())
    assert pixel_values.high is None and pixel_values.step == 1 and not pixel_values.stretched
    stretched = np.rint(np.rint(camera) * 3.3).clip(0, 255).astype(np.uint8)
    assert measure_pixel_values(stretched).stretched
    assert measure_pixel_values(np.rint(camera).astype(np.uint16) * 16).step == 16
    assert measure_pixel_values(camera).step == 0
    assert measure_pixel_values(np.rint(camera).astype(np.float32) / 255).step == pytest.approx(1 / 255)


def test_saturation_at_12_of_16_bits_is_found():
    found = nw.measure(np.minimum(expose(35 * scene()), 4095))
    assert found.pixel_values.high.value == 4095
    assert any("clipped at 4095 ADU" in warning for warning in found.warnings)


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_jpeg_compression_is_found(quality):
    from PIL import Image

    noisy = np.clip(expose(scene()), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=quality)
    assert is_jpeg(np.asarray(Image.open(buffer), np.float64), 1.0)
    assert not is_jpeg(noisy.astype(np.float64), 1.0)
    assert any("JPEG" in warning for warning in nw.measure(np.asarray(Image.open(buffer))).warnings)


def test_an_average_of_many_exposures_has_no_noise_worth_removing():
    assert nw.measure(np.mean([expose(20 * scene(), seed) for seed in range(30)], 0)).kind == "none"


def test_a_smoothed_image_is_recognised():
    blurred = correlated((256, 256), np.outer(np.hanning(15), np.hanning(15)))
    found = nw.measure((200 + 20 * blurred).astype(np.float32))
    assert found.kind in ("smoothed", "none")


def test_neighbouring_planes_of_a_stack_are_compared():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(1, 128, 128))
    for fraction, expected in ((0.0, 0.0), (0.6, 0.6)):
        stack = 100 + 10 * (np.sqrt(fraction) * shared + np.sqrt(1 - fraction) * rng.normal(size=(6, 128, 128)))
        assert nw.measure(stack, axes="ZYX").rho["Z"][0] == pytest.approx(expected, abs=0.08)


def test_channels_are_measured_one_by_one():
    both = np.stack([expose(scene(), read_noise=0.0), expose(scene(), read_noise=8.0)])
    weak, strong = (nw.measure(both, axes="CYX", channel=channel) for channel in (0, 1))
    assert strong.std(120) > 2 * weak.std(120)
    with pytest.raises(nw.UserError, match="no channel 2"):
        nw.measure(both, axes="CYX", channel=2)


# -- the parts -------------------------------------------------------------------------------------


def test_homogeneous_blocks_are_chosen_without_bias():
    """In pure noise the most homogeneous twentieth has the variance of all; choosing by the same numbers does not."""
    noise = np.random.default_rng(0).normal(0, 3, (512, 512))
    blocks = extract_blocks([one_frame(noise)], 8)
    chosen = homogeneous_spectra(blocks, np.arange(len(blocks.mean)), [(0.0, 0.05)])[0]
    assert chosen.power.sum() / 63 == pytest.approx(9, rel=0.02)
    naive = blocks.power.sum((1, 2)) / 63
    assert np.sort(naive)[: len(naive) // 20].mean() < 7.5


def test_blocks_are_transformed_orthonormally():
    from scipy.fft import dctn

    blocks = np.random.default_rng(0).normal(size=(5, 8, 8))
    assert np.allclose(dct(blocks), dctn(blocks, axes=(1, 2), norm="ortho"))


def test_the_surround_mean_excludes_the_block():
    image = np.random.default_rng(0).normal(size=(20, 24))
    found = surround_mean(image, 8)
    window = np.zeros(image.shape, bool)
    window[1:17, 4:20] = True
    window[5:13, 8:16] = False
    assert found[5, 8] == pytest.approx(image[window].mean())
    corner = np.zeros(image.shape, bool)
    corner[:12, :12] = True
    corner[:8, :8] = False
    assert found[0, 0] == pytest.approx(image[corner].mean())


def test_the_autocorrelation_of_white_noise_is_zero():
    noise = np.random.default_rng(1).normal(size=(512, 512))
    found = estimate_autocorrelation(extract_blocks([one_frame(noise)], 16))
    assert np.abs(found.rho.ravel()[1:]).max() < 0.03
    assert found.row_variance_ratio < 0.01 and found.column_variance_ratio < 0.01


# -- errors and the command line -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((64, 64), 7, np.uint16), "all pixels have the value 7"),
        (np.zeros((64, 64), np.uint8), "all pixels have the value 0"),
        (np.full((64, 64), np.nan, np.float32), "no finite pixel"),
        (np.random.default_rng(0).normal(size=(20, 64)), "too few"),
        (np.where(np.random.default_rng(0).random((128, 128)) < 0.3, 255, 200).astype(np.uint8), "saturated"),
    ],
)
def test_what_cannot_be_measured_is_refused(image, words):
    with pytest.raises(nw.UserError, match=words):
        nw.measure(image)


def test_missing_pixels_do_not_change_the_result():
    noisy = expose(scene()).astype(np.float32)
    clean = nw.measure(noisy)
    noisy[40:60, 40:60] = np.nan
    noisy[100, :50] = np.inf
    found = nw.measure(noisy)
    assert found.std(140) == pytest.approx(clean.std(140), rel=0.05)


def test_negative_pixel_values():
    noisy = expose(scene()).astype(np.float32)
    shifted = nw.measure(noisy - 500)
    assert shifted.std(140 - 500) == pytest.approx(nw.measure(noisy).std(140), rel=1e-3)


def test_the_command_writes_text_json_figure_and_noise_model(tmp_path, capsys):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, expose(scene()))
    assert main(["measure", str(path)]) == 0
    text = capsys.readouterr().out
    assert "independent from pixel to pixel" in text and "ADU per electron" in text
    figure, noise = tmp_path / "noise.png", tmp_path / "noise.safetensors"
    assert main(["measure", str(path), "--json", "--figure", str(figure), "--noise", str(noise)]) == 0
    record = json.loads(capsys.readouterr().out)["checkups"][0]
    assert record["kind"] == "white" and record["gain_adu_per_e"]["value"] == pytest.approx(GAIN, rel=0.12)
    assert figure.read_bytes().startswith(b"\x89PNG")
    noise_model = nw.load_noise(noise)
    assert noise_model.provenance["measured"]["verdict"] == record["verdict"]
    assert main(["info", str(noise), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "noisewise noise model"
    assert main(["measure", str(path), "--figure", str(figure)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_command_refuses_in_one_line(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "constant.tif", np.full((64, 64), 7, np.uint16))
    assert main(["measure", str(tmp_path / "constant.tif")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: constant.tif: all pixels have the value 7") and error.count("\n") == 1
    assert main(["measure", str(tmp_path / "missing.tif")]) == 2


SMALL = {"network": "classic", "features": 4, "depth": 1, "patch_size": 32, "batch_size": 1}


def test_train_warns_before_it_begins_if_the_method_does_not_suit(tmp_path, capsys):
    noise = 10 * np.random.default_rng(0).normal(size=(96, 1)) + 5 * np.random.default_rng(1).normal(size=(96, 96))
    image = (100 + scene(96) + noise).astype(np.float32)
    stages = []
    nw.train("n2v", image, steps=2, report=stages.append, **SMALL)
    warning = stages[0].notes[-1]
    assert "n2v may not suit this image" in warning and "correlated along X" in warning
    others, _, command = warning.partition("Methods that remove it: ")[2].partition("; for example: ")
    assert "cosdd" in others and command == "noisewise denoise IMAGE --method simulated"
    assert [stage.name for stage in stages] == ["notes", "train", "train"]
    for settings in ({"blind_shape": "auto"}, {"blind_shape": "1x11"}):
        stages.clear()
        nw.train("n2v", image, steps=1, report=stages.append, **SMALL, **settings)
        assert not any("may not suit" in note for stage in stages for note in stage.notes)
    tifffile.imwrite(tmp_path / "rows.tif", image)
    settings = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    output = ["--steps", "2", "-o", str(tmp_path / "a.safetensors")]
    assert main(["train", "n2v", str(tmp_path / "rows.tif"), *output, *settings]) == 0
    error = capsys.readouterr().err
    assert error.count("may not suit") == 1 and error.index("may not suit") < error.index("training")


def test_noise_that_slices_share_is_measured_and_reported(tmp_path):
    rho = 0.5
    noise = np.random.default_rng(0).normal(size=(8, 96, 96))
    for z in range(1, 8):
        noise[z] = rho * noise[z - 1] + (1 - rho**2) ** 0.5 * noise[z]
    stack = (100 + scene(96) + 10 * noise).astype(np.float32)
    found = nw.measure(stack, axes="ZYX")
    assert found.kind == "white" and found.slice_correlation == pytest.approx(rho, abs=0.06)
    assert float(found.noise.slice_correlation) == found.slice_correlation
    assert nw.measure(stack, axes="TYX").slice_correlation == 0  # not defined between frames
    path = tmp_path / "noise.safetensors"
    found.noise.save(path)
    assert float(nw.load_noise(path).slice_correlation) == found.slice_correlation
    content, tensors = pack(found.noise)
    del content["arguments"]["slice_correlation"], tensors["slice_correlation"]  # as in files of earlier versions
    assert float(unpack(content, tensors).slice_correlation) == 0
    words = f"share their noise (correlation {found.slice_correlation:.2f})"
    for settings, count in (({}, 1), ({"spatial": "YX"}, 0), ({"blind_shape": "auto"}, 0)):
        model = nw.train("n2v", stack, axes="ZYX", steps=1, **SMALL, **settings)
        assert sum(words in note for note in model.notes) == count


def test_denoise_warns_if_the_method_does_not_suit():
    noise = correlated((96, 96), np.outer([1, 2, 1], [1, 2, 1]))
    image = (100 + scene(96) + 10 * noise).astype(np.float32)
    result = nw.denoise(image, method="n2v", steps=2, **SMALL)
    assert result.checkup.kind == "correlated"
    assert any("may not suit" in note for note in result.notes)
    assert not any("may not suit" in note for note in nw.denoise(image, steps=0).notes)  # auto chooses one that does
    white = np.full((96, 96), 5.0) + np.random.default_rng(0).normal(size=(96, 96))
    result = nw.denoise(white, method="n2v", steps=2, **SMALL)
    assert result.checkup.kind == "white" and not any("may not suit" in note for note in result.notes)


def test_noise_that_depends_on_the_place_is_told():
    """After a flat-field correction the noise is stronger at the edge of the field, at equal pixel values."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    light, signal = 1 / (1 + 3 * (y**2 + x**2) / 2), 20 + 0.4 * blobs((256, 256))
    rng = np.random.default_rng(0)
    even, corrected = nw.measure(rng.poisson(signal)), nw.measure(rng.poisson(signal * light) / light)
    assert even.field_ratio < 1.4 and not any("flat-field" in warning for warning in even.warnings)
    assert corrected.field_ratio > 1.8 and any("flat-field" in warning for warning in corrected.warnings)
    notes = nw.denoise((rng.poisson(signal * light) / light).astype(np.float32), steps=0).notes
    assert any("flat-field" in note for note in notes)


def spots(photons, size=128, count=40, background=10.0, seed=0):
    """Photons a pixel: point sources of some photons each, the width of an optical image, on an even background."""
    rng, image = np.random.default_rng(seed), np.full((size, size), background)
    y, x = np.mgrid[:size, :size]
    for _ in range(count):
        cy, cx = rng.uniform(6, size - 6, 2)
        image += rng.uniform(*photons) / (2 * np.pi * 1.3**2) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 1.3**2))
    return image


@pytest.mark.parametrize("frames", [1, 4])
def test_slope_of_sparse_spots_comes_from_the_shape_of_the_noise(frames):
    """The homogeneous parts have one signal: their variance alone does not tell how noisy the spots are."""
    scenes = np.stack([spots((150, 400), seed=seed) for seed in range(frames)])
    found = nw.measure(np.random.default_rng(1).poisson(scenes) + 100.0, axes="TYX")
    assert 0.6 < found.line.slope < 1.4
    assert found.line(110.0) == pytest.approx(10, rel=0.05)
    assert found.gain_adu_per_e is None  # a lower limit: the read noise is unknown


def test_gaussian_noise_on_sparse_spots_has_no_slope():
    rng = np.random.default_rng(2)
    found = nw.measure(spots((150, 400)) + rng.normal(0, 3, (128, 128)), axes="YX")
    assert found.line(140.0) == pytest.approx(9, rel=0.2)


@pytest.mark.parametrize("level", [-5.0, 0.0, 8.0, 20.0])
def test_variance_before_clipping(level):
    """Closed form: normal noise near the limit, of which the pixels below zero became zero; rounded, and not."""
    for step, std in ((0.0, 10.0), (1.0, 5.0), (4.0, 10.0)):
        noisy = np.random.default_rng(0).normal(level * std / 10, std, 10**6)
        noisy = np.maximum(step * np.round(noisy / step) if step else noisy, 0)
        by = Quantization(step, 0.0, None)
        signal, variance = before_clipping(float(noisy.var()), float((noisy == 0).mean()), by)
        assert signal == pytest.approx(level * std / 10, abs=0.02 * std)
        assert variance == pytest.approx(std**2 + step**2 / 12, rel=0.02)


def test_background_that_was_subtracted_and_clipped_at_zero():
    """Half of the dark noise is cut off; measured is the noise before that, from all parts of the image."""
    photons, background = 4 * scene() - 16, 60.0
    noisy = np.random.default_rng(3).poisson(photons + background) - background
    free, clipped = nw.measure(noisy.astype("float32")), nw.measure(np.clip(noisy, 0, None).astype("uint16"))
    assert clipped.kind == "white" and any("clipped at 0 ADU" in warning for warning in clipped.warnings)
    for signal in (0.0, 20.0, 100.0):
        assert clipped.line(signal) == pytest.approx(free.line(signal), rel=0.2)


def test_an_image_of_almost_only_clipped_pixels_is_measured():
    noisy = np.clip(np.random.default_rng(4).normal(-20, 10, (128, 128)), 0, None).round().astype("uint16")
    assert (noisy == 0).mean() > 0.95
    assert np.isfinite(nw.measure(noisy).line(0.0))


def pulses(photons, gain, seed=0):
    """8-bit values of a photomultiplier: no photon is exactly zero."""
    rng = np.random.default_rng(seed)
    count = rng.poisson(photons)
    return np.clip(rng.gamma(2.0 * np.maximum(count, 1e-9), gain / 2) * (count > 0), 0, 255).round().astype("uint8")


@pytest.mark.parametrize("axes", ["TYX", "ZYX"])
@pytest.mark.parametrize("background", [0.3, 1.0])
def test_zeros_of_few_photons_in_frames_and_slices_are_not_clipped(axes, background):
    photons = np.stack([background + 0.12 * (scene(160) - 4)] * 4)
    found = nw.measure(pulses(photons, 8.0), axes=axes)
    assert not found.levels.corrected
    assert found.line(8 * background) == pytest.approx(12 * 8 * background, rel=0.3)  # 1.5 g s, by extrapolation
    assert found.line.slope == pytest.approx(12, rel=0.15)


@pytest.mark.parametrize("axes", ["TYX", "ZYX"])
def test_clipped_frames_and_slices(axes):
    photons = np.stack([scene() - 4] * 4) + 30
    noisy = np.clip(np.random.default_rng(0).poisson(photons) - 30, 0, None)
    found = nw.measure(noisy.astype("uint16"), axes=axes)
    assert found.levels.corrected and found.line(0.0) == pytest.approx(30, rel=0.35)


@pytest.mark.parametrize("mean", [3, 5])
def test_textured_images_of_few_photons_are_not_clipped(mean):
    """Within a block the signals differ, and the dark ones leave more zeros than the mean of the block does."""
    for seed in range(3):
        texture = gaussian_filter(np.random.default_rng(seed).normal(size=(256, 256)), 2.5)
        photons = mean * np.exp(0.7 * texture / texture.std())
        found = nw.measure(np.random.default_rng(seed + 5).poisson(photons).astype("uint8"))
        assert not found.levels.corrected


def test_mostly_clipped_noise_gives_finite_results():
    """Its variance seems to rise steeply in a part of the signals, and the line through it vanishes at the mean."""
    photons = 30 + 40 * np.clip(scene() - 8, 0, None) / 50
    noisy = np.clip(2 * np.random.default_rng(11).poisson(photons) - 70, 0, None).astype("uint16")
    assert 0.4 < (noisy == 0).mean() < 0.9
    assert np.isfinite(nw.denoise(noisy, steps=0).mean).all()


class SteepFarAway(Gaussian):
    """Variance of 120 up to a signal of 22, from where it rises steeply."""

    def mean_var(self, signal):
        return signal, 120 + 10 * (signal - 22).clamp(min=0)


def test_line_of_a_noise_model_that_is_steep_far_from_the_mean():
    assert linear_variance(SteepFarAway(11.0), 5.0, 11.0) == (0.0, 120.0)
    zero = torch.zeros(())
    assert Stabilizer.from_variance(zero + 9, zero - 90, zero, zero + 5).floor > 0
