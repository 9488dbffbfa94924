"""Calibration recovers a planted camera, its intervals hold, and faults of a recording are reported."""

import hashlib
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from scipy import ndimage, stats

from noisewise import UserError
from noisewise.calibration.bootstrap import bootstrap
from noisewise.calibration.calibrate import KINDS, calibrate, calibrate_recording
from noisewise.calibration.detector import Unknown, student_quantile
from noisewise.calibration.frame_statistics import measure_frames
from noisewise.calibration.frames import open_frames
from noisewise.calibration.goodness_of_fit import assess
from noisewise.calibration.photon_transfer import photon_transfer, samples_of
from noisewise.cli import main
from noisewise.noise import models
from noisewise.noise.camera import Camera
from noisewise.noise.files import load_noise
from noisewise.noise.fit.pixel_values import PixelValueCounter
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.histogram import Histogram
from noisewise.noise.models.mixture import Mixture
from noisewise.noise.models.pixel_maps import PixelMaps
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import Quantization

CAMERA = Camera(gain=2.2, read_noise=1.6, offset=100)


def ramp(size=96, low=0.3, high=200.0):
    """Photons that vary smoothly from dark to bright, as in an image out of focus."""
    y, x = np.mgrid[:size, :size] / size
    return low + (high - low) * ((x + y) / 2) ** 2


def texture(size=96, high=200.0):
    """Photons with detail of a few pixels."""
    image = ndimage.gaussian_filter(np.random.default_rng(0).random((size, size)), 2, mode="wrap")
    return 2 + high * (image - image.min()) / np.ptp(image)


def fast(stack, **settings):
    """A calibration whose noise model takes no time; the detector does not depend on it."""
    return calibrate_recording(stack, kind="gaussian", **settings)


@pytest.fixture(scope="module")
def frames():
    return CAMERA.expose(ramp(), frames=60, seed=1)


@pytest.fixture(scope="module")
def dark():
    return CAMERA.expose(np.zeros((96, 96)), frames=40, seed=2)


@pytest.fixture(scope="module")
def recorded(frames, dark):
    return cache(lambda kind: calibrate_recording(frames, dark=dark, kind=kind))


# -- the detector ----------------------------------------------------------------------------------


def test_gain_offset_and_read_noise_with_dark_frames(frames, dark):
    found = calibrate_recording(frames, dark=dark, kind="poisson_gaussian")
    detector = found.detector
    for estimate, truth in (
        (detector.gain_adu_per_e, 2.2), (detector.offset_adu, 100), (detector.read_noise_e, 1.6),
        (detector.read_noise_adu, 3.52),
    ):  # fmt: skip
        assert abs(estimate.value - truth) < (estimate.high - estimate.low), estimate  # twice the 95 % half-width
        assert estimate.high - estimate.low < 0.03 * truth
    assert found.warnings == []


def test_offset_and_read_noise_without_dark_frames(frames):
    detector = fast(frames).detector
    assert detector.offset_from == "third cumulant"
    assert abs(detector.offset_adu.value - 100) < detector.offset_adu.high - detector.offset_adu.low < 6
    assert detector.read_noise_e.value == pytest.approx(1.6, rel=0.25)
    assert detector.read_noise_e.low < 1.6 < detector.read_noise_e.high
    given = fast(frames, offset=100).detector
    assert given.offset_adu.value == 100 and given.read_noise_e.value == pytest.approx(1.6, rel=0.05)


def test_bright_frames_do_not_determine_offset_and_read_noise():
    detector = fast(CAMERA.expose(ramp(low=60, high=600), frames=20, seed=1)).detector
    assert isinstance(detector.offset_adu, Unknown) and "lies between" in detector.offset_adu.reason
    low, high = (
        float(word) for word in detector.offset_adu.reason.split("between ")[1].split(" ADU")[0].split(" and ")
    )
    assert low < 100 < high < 100 + 2.2 * 70
    assert isinstance(detector.read_noise_e, Unknown)


@pytest.mark.parametrize(("count", "row_noise"), [(2, 0.0), (3, 0.0), (12, 0.0), (12, 1.5)])
def test_intervals_hold(count, row_noise):
    """At least 33 of 40 intervals cover the gain; for a coverage of 95 %, fewer have a probability of 0.001."""
    camera = Camera(gain=2.2, read_noise=1.6, offset=100, row_noise_e=row_noise)
    covered, errors = 0, []
    for seed in range(40):
        curve = photon_transfer(
            samples_of(measure_frames(open_frames(camera.expose(ramp(64), frames=count, seed=seed))))
        )
        half_width = student_quantile(curve.freedom) * curve.standard_error([1.0])
        covered += abs(curve.line.slope - 2.2) < half_width
        errors.append(curve.line.slope / 2.2 - 1)
    assert covered >= 33
    assert abs(np.mean(errors)) < 4 * np.std(errors) / 40**0.5 + 0.005  # no bias, even with few frames


def test_a_narrow_range_does_not_bias_the_gain():
    """The signals vary as little as the noise of their means: ordinary regression loses a third of the gain."""
    photons = 50 + 4 * np.random.default_rng(0).standard_normal((256, 256))
    camera, slopes = Camera(gain=2.2, read_noise=8, offset=100), []
    for seed in range(10):
        frames = camera.expose(photons, frames=6, seed=seed)
        slopes.append(photon_transfer(samples_of(measure_frames(open_frames(frames)))).line.slope)
        mean, variance = frames.mean(0).ravel(), frames.var(0, ddof=1).ravel()
    plain = np.polyfit(mean, variance, 1)[0]
    error = np.std(slopes) / len(slopes) ** 0.5
    assert abs(np.mean(slopes) - 2.2) < 4 * error < 0.6
    assert plain < 2.2 - 0.6


def test_an_em_register_is_seen():
    camera = Camera(em_gain=200, gain=0.1, read_noise=50, offset=200)
    found = fast(camera.expose(ramp(high=60), frames=60, seed=1))
    factor = found.detector.excess_factor
    assert factor.low < 2 < factor.high < 2.6
    assert found.detector.gain_adu_per_e.value == pytest.approx(40, rel=0.03)  # F² · g · G
    assert any("amplifier" in warning for warning in found.warnings)


def test_counted_photons():
    found = fast(Camera.photon_counter().expose(ramp(high=15), frames=40, seed=0))
    assert found.detector.gain_adu_per_e.value == pytest.approx(1, rel=0.03)
    assert found.detector.offset_adu.low < 0.05 and abs(found.detector.offset_adu.value) < 0.2


@pytest.mark.parametrize(
    ("change", "factor"),
    [(lambda x: x / 7.0, 1 / 7), (lambda x: x.astype(np.int16) - 300, 1), (lambda x: x.astype(np.float32), 1)],
)
def test_other_pixel_types(frames, change, factor):
    changed = fast(change(frames[:20]))
    assert changed.noise.quantization.step == pytest.approx(factor)
    assert changed.detector.gain_adu_per_e.value == pytest.approx(2.2 * factor, rel=0.03)


def test_sums_are_those_of_numpy(frames):
    few = frames[:24]
    statistics = measure_frames(open_frames(few))
    np.testing.assert_allclose(statistics.mean, few.mean(0))
    folds = [np.isin(np.arange(24) // 2 % 2, fold) for fold in (0, 1)]
    for fold, chosen in enumerate(folds):
        part = few[chosen].astype(float)
        np.testing.assert_allclose(statistics.fold_mean[fold], part.mean(0))
        np.testing.assert_allclose(statistics.variance[fold], ((part[1::2] - part[::2]) ** 2).mean(0) / 2)
        np.testing.assert_allclose(statistics.third_cumulant[fold], stats.kstat(part, 3, axis=0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(statistics.total_variance, few.var(0, ddof=1))
    np.testing.assert_array_equal(statistics.brightness, np.tile([0.0, 1.0], (24, 1)))  # no significant change


def test_frames_are_read_one_at_a_time(tmp_path, frames, monkeypatch):
    from noisewise.axes import region_shape
    from noisewise.io.tiff_read import TiffSource

    tifffile.imwrite(tmp_path / "stack.tif", frames, photometric="minisblack")
    read, largest = TiffSource.read, 0

    def watch(self, region=None):
        nonlocal largest
        largest = max(largest, int(np.prod(region_shape(region or self.everything))))
        return read(self, region)

    monkeypatch.setattr(TiffSource, "read", watch)
    fast(tmp_path / "stack.tif")
    assert largest == 96 * 96


# -- noise models ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_calibrated_and_saved(kind, recorded, tmp_path):
    found = recorded(kind)
    assert type(found.noise) is models.get(kind)
    record = json.loads(json.dumps(found.record()))
    assert record["kind"] == kind and record["frames"] == 60 and record["gain_adu_per_e"]["value"] > 0
    found.noise.save(tmp_path / "noise.safetensors")
    assert load_noise(tmp_path / "noise.safetensors").provenance == record
    if kind != "gaussian":
        assert found.goodness.distance < 2 * found.goodness.critical_distance and found.goodness.held_out_frames == 12
    else:  # one standard deviation for all signals does not fit
        assert found.goodness.distance > 0.02 and any("distribution function" in one for one in found.warnings)


def test_a_calibrated_mixture_predicts_like_the_true_noise_model(recorded):
    noise_model = recorded("mixture").noise
    assert isinstance(noise_model, Mixture)
    truth = PoissonGaussian(2.2, 100, 3.52, Quantization.of_bits(16))
    fresh = torch.from_numpy(CAMERA.expose(ramp(), seed=77).astype(float))
    signal = torch.from_numpy(CAMERA.signal(ramp()))
    lost = truth.log_prob(fresh, signal).mean() - noise_model.log_prob(fresh, signal).mean()
    assert -0.002 < lost < 0.004


def test_maps_of_pixels():
    """Read noise with a long tail and offsets of single pixels are found; gains are drawn to the typical one."""
    camera = Camera.scmos((96, 96), seed=3)
    black, bright = np.zeros((96, 96)), ramp(high=600)
    noise_model = calibrate(
        camera.expose(bright, frames=80, seed=1), dark=camera.expose(black, frames=100, seed=2), kind="pixel_maps"
    )
    assert isinstance(noise_model, PixelMaps)
    assert np.abs(noise_model.offset.numpy() - camera.offset_adu - 0.01 * camera.gain_adu_per_e).mean() < 0.5
    truth = np.hypot(camera.gain_adu_per_e * camera.read_noise_e, 2.2 * 0.3)
    assert np.corrcoef(np.log(noise_model.read_noise.numpy().ravel()), np.log(truth.ravel()))[0, 1] > 0.9
    assert (noise_model.gain.numpy() / 2.2).std() < 0.03  # the variance of one pixel alone is off by 16 %
    assert float(noise_model.typical_gain) == pytest.approx(2.2, rel=0.02)


def test_goodness_of_fit_detects_a_wrong_noise_model(frames):
    signal = torch.from_numpy(np.broadcast_to(CAMERA.signal(ramp()), frames.shape).copy())[:4]
    noisy = torch.from_numpy(frames[:4].astype(float))
    quantization = Quantization.of_bits(16)
    right = assess(PoissonGaussian(2.2, 100, 3.52, quantization), noisy, signal, 4)
    wide = assess(PoissonGaussian(2.6, 100, 3.52, quantization), noisy, signal, 4)
    assert right.distance < 1.5 * right.critical_distance < wide.distance
    assert right.log_likelihood > wide.log_likelihood and sum(right.histogram) == pytest.approx(1)


# -- quantization ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.random.default_rng(0).normal(1000, 50, (64, 64)).astype(np.uint16), Quantization(1.0, 0, 65535)),
        (np.random.default_rng(0).normal(1000, 50, (64, 64)).astype(np.uint16) * 16, Quantization(16.0, 0, 65535)),
        (
            np.random.default_rng(0).normal(4000, 100, (64, 64)).clip(0, 4095).astype(np.uint16),
            Quantization(1.0, 0, 4095),
        ),
        (np.random.default_rng(0).normal(100, 50, (64, 64)).clip(50, 255).astype(np.uint8), Quantization(1.0, 50, 255)),
        (np.random.default_rng(0).normal(0, 50, (64, 64)).astype(np.int16), Quantization(1.0, -32768, 32767)),
        (np.random.default_rng(0).normal(0, 50, (64, 64)), Quantization()),
        (np.random.default_rng(0).normal(0, 50, (64, 64)).round().astype(np.float32), Quantization(1.0)),
    ],
)  # fmt: skip
def test_quantization_steps_and_limits(pixels, expected):
    values = PixelValueCounter(pixels.dtype)
    values.add(pixels.astype(float))
    assert values.quantization == expected


# -- faults of a recording -------------------------------------------------------------------------


def shifted(amount):
    return ndimage.shift(texture(), amount, mode="wrap").clip(0)


def exposures(scenes, camera=CAMERA):
    return np.stack([camera.expose(scene, seed=seed) for seed, scene in enumerate(scenes)])


RNG = np.random.default_rng(5)
FAULTS = {
    "fall in brightness by .* bleaching": lambda: exposures([texture() * (1 - 0.2 * k / 40) for k in range(40)]),
    "flickers": lambda: exposures([texture() * (1 + 0.03 * RNG.standard_normal()) for _ in range(40)]),
    "shifts by (1|2)\\..* pixels": lambda: exposures([shifted((2 * k / 40, 0)) for k in range(40)]),
    "vibrates by about 0\\.(1|2).* pixels": lambda: exposures([shifted(RNG.normal(0, 0.2, 2)) for _ in range(40)]),
    "of the pixels saturate": lambda: Camera(gain=2.2, read_noise=1.6, offset=30, bits=8).expose(ramp(high=120), 40),
    "hot pixels: ": lambda: add_hot(CAMERA.expose(ramp(), frames=40, seed=1)),
    "neighbours along a row is correlated": lambda: ndimage.uniform_filter1d(
        CAMERA.expose(ramp(), frames=20, seed=1).astype(np.float32), 2, axis=2
    ),
    "pixels of a row share noise of (1|2|3)": lambda: Camera(
        gain=2.2, read_noise=1.6, offset=100, row_noise_e=1
    ).expose(ramp(high=20), 40),
    "leave the gain uncertain": lambda: CAMERA.expose(ramp(48, low=90, high=200), frames=4, seed=0),
    "6 frames determine": lambda: CAMERA.expose(ramp(), frames=6, seed=0),
    "not linear in the signal": lambda: Camera(gain=2.2, read_noise=1.6, offset=100, full_well_e=150).expose(
        ramp(), 40
    ),
    "reach the lowest value": lambda: Camera(gain=2.2, read_noise=3, offset=2).expose(ramp(), 40),
}


@cache
def faulty(words):
    return fast(FAULTS[words]())


def add_hot(frames):
    rng = np.random.default_rng(0)
    hot = rng.random(frames.shape[1:]) < 0.002
    return frames + (hot * rng.exponential(200, frames.shape)).astype(np.uint16)


@pytest.mark.parametrize("words", FAULTS)
def test_faults_are_reported(words):
    found = faulty(words)
    assert any(re.search(words, warning) for warning in found.warnings), found.warnings


@pytest.mark.parametrize(
    "words", ["fall in brightness by .* bleaching", "flickers", "shifts by (1|2)\\..* pixels", "hot pixels: "]
)
def test_the_gain_is_robust(words):
    gain = faulty(words).detector.gain_adu_per_e
    assert gain.value == pytest.approx(2.2, rel=0.04)


def test_dark_frames_of_another_setting(frames):
    other = Camera(gain=6, read_noise=1.6, offset=100).expose(np.zeros((96, 96)), frames=20, seed=1)
    found = fast(frames, dark=other)
    assert any("same settings" in warning for warning in found.warnings)
    assert found.detector.gain_adu_per_e.value == pytest.approx(2.2, rel=0.03)


@pytest.mark.parametrize(
    ("stack", "words"),
    [
        (lambda: CAMERA.expose(ramp()), "one frame"),
        (lambda: CAMERA.expose(ramp())[None], "one frame"),
        (lambda: np.full((9, 20, 20), 7, np.uint16), "all alike"),
        (lambda: np.repeat(CAMERA.expose(ramp(), 2, seed=1), 2, axis=0), "frame 1 is identical to frame 0"),
        (lambda: CAMERA.expose(np.zeros((64, 64)), 20), "dark recording, use it as: noisewise calibrate FRAMES --dark"),
        (lambda: Camera(gain=2.2, offset=30, bits=8).expose(ramp(low=90), 20), "saturate"),
        (lambda: np.where(np.arange(96) == 5, np.nan, CAMERA.expose(ramp(), 4)), "NaN"),
        (lambda: CAMERA.expose(ramp(), 6).reshape(3, 2, 96, 96).astype(np.float32), None),
        (lambda: exposures([shifted((3 * k, 2 * k)) for k in range(20)]), "moves or changes"),
        (lambda: [CAMERA.expose(ramp()), CAMERA.expose(ramp(64))], "frames of one size"),
        (lambda: np.zeros((4, 3), np.uint8), "one frame|alike"),
        (lambda: "nowhere.tif", "no such file"),
    ],
)  # fmt: skip
def test_recordings_that_cannot_be_used(stack, words):
    if words is None:  # SZYX: planes of a volume, along Y
        assert fast(stack()).record()["frames"] == 3
        return
    with pytest.raises(UserError, match=words):
        calibrate_recording(stack(), kind="poisson_gaussian")


def test_several_channels_are_refused(frames):
    with pytest.raises(UserError, match="2 channels"):
        fast(frames[:20].reshape(10, 2, 96, 96), axes="TCYX")
    assert fast(frames[:20, None], axes="TCYX").record()["frames"] == 20


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "gauss"}, "unknown kind"), ({"kind": "pixel_maps"}, "in dark frames only; give them"),
        ({"offset": np.nan}, "not a pixel value"),
        ({"offset": 100.0, "dark": "dark.tif"}, "either"), ({"dark": np.zeros((3, 8, 8))}, "alike"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(settings, words, frames):
    with pytest.raises(UserError, match=words):
        calibrate_recording(frames[:4], **settings)
    with pytest.raises(UserError, match="do not fit"):
        calibrate(frames[:10], dark=CAMERA.expose(np.zeros((64, 64)), 10), kind="pixel_maps")


# -- without a recording ---------------------------------------------------------------------------


@cache
def best(quantization):
    """Another exposure of the texture, its signal, and its mean log-likelihood under the true noise model."""
    photons = texture(256)
    fresh = torch.from_numpy(CAMERA.expose(photons, seed=4).astype(float))
    signal = torch.from_numpy(CAMERA.signal(photons))
    truth = PoissonGaussian(2.2, 100, 3.52, quantization)
    return fresh, signal, truth.log_prob(fresh, signal).mean()


@pytest.mark.parametrize("denoiser", ["smooth", "smoother", "median", "donut"])
def test_a_bootstrapped_noise_model_is_better_than_the_residual(denoiser):
    """After too much denoising the residual contains signal, after too little it lacks noise."""
    donut = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12
    noisy = CAMERA.expose(texture(256), seed=3)
    denoised = {
        "smooth": lambda x: ndimage.gaussian_filter(x, 0.8),
        "smoother": lambda x: ndimage.gaussian_filter(x, 2),
        "median": lambda x: ndimage.median_filter(x, 5),
        "donut": lambda x: ndimage.convolve(x, donut),
    }[denoiser](noisy.astype(float))
    noise_model = bootstrap(noisy, denoised, kind="histogram")
    naive = Histogram.fit(
        torch.from_numpy(noisy.astype(float)), torch.from_numpy(denoised), quantization=noise_model.quantization
    )
    fresh, signal, log_likelihood = best(noise_model.quantization)
    lost, naively_lost = (float(log_likelihood - one.log_prob(fresh, signal).mean()) for one in (noise_model, naive))
    assert lost < 0.025 and lost < 0.6 * naively_lost
    truth = PoissonGaussian(2.2, 100, 3.52, noise_model.quantization)
    low, high = np.percentile(signal, [10, 90])
    at = torch.linspace(low, high, 20, dtype=torch.float64)
    torch.testing.assert_close(noise_model.mean_var(at)[1], truth.mean_var(at)[1], rtol=0.15, atol=0)


@pytest.mark.parametrize("kind", ["gaussian", "mixture", "poisson_gaussian"])
def test_other_bootstrapped_kinds(kind):
    noisy = CAMERA.expose(ramp(), seed=3)
    noise_model = bootstrap(noisy, ndimage.gaussian_filter(noisy.astype(float), 2), kind=kind)
    assert type(noise_model) is models.get(kind)
    signal = torch.tensor([200.0], dtype=torch.float64)
    if kind != "gaussian":
        assert float(noise_model.mean_var(signal)[1]) == pytest.approx(2.2 * 100 + 3.52**2, rel=0.08)


def test_integer_outputs_make_no_comb():
    """The residuals of integer outputs are integers: a mixture would fit that comb and be wrong between the steps."""
    noisy = CAMERA.expose(ramp(192, high=12), seed=3)
    noise_model = bootstrap(noisy, ndimage.median_filter(noisy, 7))
    at = torch.linspace(100.5, 123.5, 200, dtype=torch.float64)
    truth = PoissonGaussian(2.2, 100, 3.52, noise_model.quantization)
    torch.testing.assert_close(noise_model.mean_var(at)[1], truth.mean_var(at)[1], rtol=0.15, atol=0)


def test_bootstraps_that_are_not_possible():
    noisy = CAMERA.expose(ramp(), seed=3)
    for denoised, kind, words in (
        (noisy[:50], "mixture", "shape"), (noisy, "pixel_maps", "cannot be made"),
        (np.ones((96, 96)), "mixture", "too few"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            bootstrap(noisy, denoised, kind=kind)
    smooth = ndimage.gaussian_filter(CAMERA.expose(np.full((96, 96), 50.0)).astype(float), 1) * 3
    assert any("correlated" in one for one in bootstrap(smooth, ramp() + 300).provenance["warnings"])
    assert isinstance(bootstrap(noisy, CAMERA.signal(ramp()), kind="gaussian"), Gaussian)


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch, frames, dark):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("frames.tif", frames, imagej=True, metadata={"axes": "TYX"})
    tifffile.imwrite("dark.tif", dark, imagej=True, metadata={"axes": "TYX"})
    Path("single").mkdir()
    for number, frame in enumerate(frames[:6]):
        tifffile.imwrite(f"single/{number}.tif", frame)
    return tmp_path


@pytest.fixture
def run(capsys):
    def call(*args):
        capsys.readouterr()
        code = main(["calibrate", *map(str, args)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.mark.usefixtures("folder")
def test_the_command_writes_noise_model_and_figure(run):
    code, out, err = run(
        "frames.tif", "--dark", "dark.tif", "-o", "camera.safetensors", "--figure", "camera.png", "--kind", "histogram"
    )
    assert code == 0 and out == "camera.safetensors\ncamera.png\n"
    assert "ADU per electron" in err and "electrons" in err and "held-out" in err
    noise_model = load_noise("camera.safetensors")
    assert isinstance(noise_model, Histogram) and noise_model.provenance["recording"] == "frames.tif"
    assert noise_model.provenance["sha256"] == [hashlib.sha256(Path("frames.tif").read_bytes()).hexdigest()]
    assert Path("camera.png").read_bytes()[:4] == b"\x89PNG"
    code, _, err = run("frames.tif", "-o", "camera.safetensors")
    assert code == 2 and "--overwrite" in err
    assert run("single", "-o", "camera.safetensors", "--overwrite", "--quiet", "--kind", "gaussian")[2] == ""
    assert load_noise("camera.safetensors").provenance["frames"] == 6


@pytest.mark.usefixtures("folder")
def test_json(run):
    code, out, _ = run("frames.tif", "-o", "a.safetensors", "--kind", "poisson_gaussian", "--offset", "100", "--json")
    record = json.loads(out)
    assert code == 0 and out.count("\n") == 1
    assert record["output"] == "a.safetensors" and record["input"] == ["frames.tif"]
    assert record["gain_adu_per_e"]["low"] < 2.2 < record["gain_adu_per_e"]["high"] + 0.02
    assert record["offset_adu"]["value"] == 100 and record["warnings"] == []


@pytest.mark.usefixtures("folder")
def test_a_noise_model_from_denoised_images(run):
    frame = tifffile.imread("single/0.tif").astype(np.float32)
    tifffile.imwrite("clean.tif", ndimage.gaussian_filter(frame, 2))
    code, out, err = run("single/0.tif", "--denoised", "clean.tif", "--kind", "histogram", "-o", "b.safetensors")
    assert code == 0 and out == "b.safetensors\n" and "residual" in err
    assert load_noise("b.safetensors").provenance["bootstrapped_from"] == "0.tif"
    code, _, err = run("single/0.tif", "--denoised", "clean.tif", "--dark", "dark.tif", "-o", "c.safetensors")
    assert code == 2 and "--denoised needs no --dark" in err


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("frames.tif", "-o", "camera.npz"), "camera.safetensors"), ((), "--output"),
        (("-o", "a.safetensors"), "no input"),
        (("single/0.tif", "-o", "a.safetensors"), "one frame"), (("dark.tif", "-o", "a.safetensors"), "--dark"),
        (("nowhere.tif", "-o", "a.safetensors"), "no such file"),
        (("frames.tif", "-o", "a.safetensors", "--figure", "frames.tif", "--overwrite"), "the input itself"),
        (("frames.tif", "-o", "a.safetensors", "--kind", "gauss"), "gauss"),
        (("frames.tif", "-o", "a.safetensors", "--dark", "nowhere.tif"), "nowhere.tif"),
    ],
)  # fmt: skip
def test_commands_that_are_refused(run, args, words):
    before = sorted(Path().rglob("*"))
    code, out, err = run(*args)
    assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1 and words in err
    assert sorted(Path().rglob("*")) == before
