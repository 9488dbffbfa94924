"""Every step of the camera from photons to counts, against closed forms."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import stats

from noisewise import UserError
from noisewise.noise.camera import Camera, check_photons, thin

PRESETS = {
    "photon_counter": (Camera.photon_counter(), 5.0),
    "scmos": (Camera.scmos(), 10.0),
    "scmos with maps": (Camera.scmos((200, 250)), 10.0),
    "emccd": (Camera.emccd(), 5.0),
    "pmt": (Camera.pmt(), 6.0),
    "short": (Camera(gain=2.2, read_noise=1.6, offset=100, bits=16), 20.0),
}


def uniform(photons, shape=(200, 250)):
    return np.full(shape, float(photons))


def poisson_p_value(counts, mean):
    """P-value of a chi-square test against the Poisson distribution; bins with an expectation below 10 are pooled."""
    distribution = stats.poisson(mean)
    low, high = int(distribution.ppf(20 / counts.size)), int(distribution.ppf(1 - 20 / counts.size))
    inside = np.bincount(np.clip(counts.ravel(), low, high) - low, minlength=high - low + 1)
    expected = distribution.pmf(np.arange(low, high + 1))
    expected[0], expected[-1] = distribution.cdf(low), distribution.sf(high - 1)
    return stats.chisquare(inside, expected * counts.size).pvalue


# -- light -----------------------------------------------------------------------------------------


def test_the_photon_counter_is_poisson():
    counts = Camera.photon_counter().expose(uniform(4.3), frames=4)
    assert counts.dtype == np.uint16
    assert poisson_p_value(counts, 4.3) > 1e-3
    assert poisson_p_value(counts, 4.35) < 1e-6  # the test detects one percent


def test_two_exposures_at_half_light_add_up_to_one_at_full_light():
    counter = Camera.photon_counter()
    halves = counter.expose(uniform(3.0), frames=8)
    sums = halves[::2] + halves[1::2]
    assert poisson_p_value(sums, 6.0) > 1e-3
    full = counter.expose(uniform(6.0), frames=4, seed=1)
    top = 18
    table = [np.bincount(np.minimum(x, top).ravel(), minlength=top + 1) for x in (sums, full)]
    assert stats.chi2_contingency(table).pvalue > 1e-3
    assert stats.chi2_contingency([table[0], np.bincount(halves[:4].ravel(), minlength=top + 1)]).pvalue < 1e-6


def test_every_exposure_adds_read_noise():
    camera = Camera(read_noise=3.0, bits=0)
    halves = camera.expose(uniform(5.0), frames=40)
    sums = halves[::2] + halves[1::2]
    assert sums.var(ddof=1) == pytest.approx(10 + 2 * 9, rel=0.01)
    assert camera.variance(uniform(10)).mean() == pytest.approx(10 + 9)


@pytest.mark.parametrize("fraction", [0.5, 0.2])
def test_thinned_counts_are_two_independent_poisson_images(fraction):
    counts = Camera.photon_counter().expose(uniform(8.0), frames=4)
    kept, rest = thin(counts, fraction, seed=1)
    assert kept.dtype == counts.dtype
    np.testing.assert_array_equal(kept + rest, counts)
    assert poisson_p_value(kept, 8 * fraction) > 1e-3
    assert poisson_p_value(rest, 8 * (1 - fraction)) > 1e-3
    table, _, _ = np.histogram2d(kept.ravel(), rest.ravel(), bins=(np.arange(0, 8), np.arange(0, 8)))
    assert stats.chi2_contingency(table).pvalue > 1e-3
    assert abs(np.corrcoef(kept.ravel(), rest.ravel())[0, 1]) < 4 / np.sqrt(counts.size)


def test_thinning_with_fractions_zero_and_one():
    counts = np.array([[3, 0], [7, 2]], np.uint8)
    for fraction, part in ((1.0, 0), (0.0, 1)):
        np.testing.assert_array_equal(thin(counts, fraction)[part], counts)
        assert not thin(counts, fraction)[1 - part].any()


# -- moments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_mean_and_variance_are_those_of_the_closed_form(name):
    camera, level = PRESETS[name]
    photons = uniform(level)
    images = camera.expose(photons, frames=50).astype(np.float64)
    offset = np.median(camera.offset_adu)
    measured, expected = images.mean(0).mean() - offset, camera.signal(photons).mean() - offset
    assert measured == pytest.approx(expected, rel=0.005)
    ratio = images.var(0, ddof=1).mean() / measured
    assert ratio == pytest.approx(camera.variance(photons).mean() / expected, rel=0.01)


def test_the_closed_form_is_that_of_the_textbook():
    """E = g·(QE·p + d) + o and Var = g²·(F²·λ + σ²) + 1/12, by hand."""
    camera = Camera(
        quantum_efficiency=0.5, dark_e=1, clock_induced_e=2, gain=3, read_noise=4, row_noise_e=1, column_noise_e=2,
        offset=100,
    )  # fmt: skip
    assert camera.signal([[20.0]]).item() == pytest.approx(100 + 3 * 13)
    assert camera.variance([[20.0]]).item() == pytest.approx(9 * (13 + 16 + 1 + 4) + 1 / 12)
    em = replace(camera, em_gain=10)
    assert em.signal([[20.0]]).item() == pytest.approx(100 + 3 * 10 * 13)
    assert em.variance([[20.0]]).item() == pytest.approx(9 * (2 * 100 * 13 + 16 + 1 + 4) + 1 / 12)


@pytest.mark.parametrize(("em_gain", "factor", "excess"), [(50, None, 2.0), (50, 1.0, 1.0), (1, 1.25, 1.25)])
def test_excess_noise_factor(em_gain, factor, excess):
    camera = Camera(em_gain=em_gain, excess_noise_factor=factor, bits=0)
    electrons = 4.0
    signal = camera.expose(uniform(electrons), frames=40).astype(np.float64) / em_gain
    assert signal.mean() == pytest.approx(electrons, rel=0.005)
    assert signal.var() / electrons == pytest.approx(excess, rel=0.01)
    # Third cumulant of a Poisson number of gamma variables: λ·E[g³].
    third = (2 * excess - 1) * excess
    assert stats.moment(signal, 3, axis=None) / electrons == pytest.approx(third, rel=0.03)
    assert (signal == 0).mean() == pytest.approx(np.exp(-electrons), rel=0.02)  # no electron, no signal


def test_a_single_electron_has_an_exponential_response():
    signal = Camera(em_gain=200, bits=0).expose(uniform(1e-3), frames=20)
    assert stats.kstest(signal[signal > 0], "expon", args=(0, 200)).pvalue > 1e-3


def test_maps_apply_pixel_by_pixel():
    rng = np.random.default_rng(0)
    gain, read, offset = rng.uniform(1, 3, (6, 7)), rng.uniform(1, 5, (6, 7)), rng.uniform(50, 150, (6, 7))
    camera = Camera(gain=gain, read_noise=read, offset=offset, bits=0)
    photons = rng.uniform(5, 50, (6, 7))
    images = camera.expose(np.broadcast_to(photons, (40_000, 6, 7))).astype(np.float64)
    error = 5 * np.sqrt(camera.variance(photons) / len(images))
    assert (abs(images.mean(0) - offset - gain * photons) < error).all()
    np.testing.assert_allclose(images.var(0), gain**2 * (photons + read**2), rtol=0.05)


def test_row_and_column_noise():
    camera = Camera(read_noise=2.0, row_noise_e=3.0, column_noise_e=1.0, gain=2.0, bits=0)
    images = camera.expose(uniform(5, (100, 50)), frames=60).astype(np.float64) / 2
    rows, columns = images.mean(2), images.mean(1)
    white = 5 + 4
    assert rows.var(1, ddof=1).mean() == pytest.approx(9 + white / 50, rel=0.06)
    assert columns.var(1, ddof=1).mean() == pytest.approx(1 + white / 100, rel=0.06)
    assert abs(np.corrcoef(rows[:-1].ravel(), rows[1:].ravel())[0, 1]) < 0.06  # independent between frames
    planes = camera.expose(uniform(5, (2, 3, 100, 50))).mean(-1).reshape(6, 100)
    assert abs(np.corrcoef(planes) - np.eye(6)).max() < 0.5  # and between planes


# -- the converter ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "dtype"), [(1, "uint8"), (8, "uint8"), (12, "uint16"), (16, "uint16"), (32, "uint32"), (0, "float32")]
)
def test_bits_determine_the_pixel_type_and_its_limit(bits, dtype):
    image = Camera(bits=bits, gain=1e6).expose(uniform(9000.0, (4, 5)))
    assert image.dtype == dtype
    assert (image == 2**bits - 1).all() if bits else (image > 8e9).all()


def test_pixel_values_are_clipped_at_zero():
    image = Camera(read_noise=4, bits=8).expose(uniform(0))
    assert image.min() == 0
    assert (image == 0).mean() == pytest.approx(stats.norm.cdf(0.5 / 4), abs=0.01)
    assert Camera(read_noise=4, bits=0).expose(uniform(0)).min() < 0


def test_rounding():
    camera = Camera(gain=0.7, read_noise=3.0, offset=50.0)
    smooth = replace(camera, bits=0)
    steps = camera.expose(uniform(20)) - smooth.expose(uniform(20))
    assert abs(steps).max() <= 0.5001 and steps.var() == pytest.approx(1 / 12, rel=0.02)
    difference = camera.variance(uniform(20)) - smooth.variance(uniform(20))
    np.testing.assert_allclose(difference, 1 / 12)
    np.testing.assert_allclose(Camera.photon_counter().variance(uniform(20)), 20)  # integers already


def test_full_well():
    image = Camera(full_well_e=100, gain=2, offset=10).expose(uniform(100))
    assert image.max() == 210
    assert (image == 210).mean() == pytest.approx(stats.poisson(100).sf(99), abs=0.01)


def test_hot_pixels():
    shape, share, level = (400, 500), 0.01, 30.0
    camera = Camera(hot_fraction=share, hot_dark_e=level, pattern_seed=3, bits=0)
    extra = camera.signal(uniform(0, shape))
    hot = extra > 0
    spread = np.sqrt(share * (1 - share) * hot.size)
    assert abs(hot.sum() - share * hot.size) < 4 * spread
    assert stats.kstest(extra[hot], "expon", args=(0, level)).pvalue > 1e-3
    np.testing.assert_array_equal(camera.signal(uniform(7, shape)) - 7 > 0.5e-9, hot)  # for any light
    assert (replace(camera, pattern_seed=4).signal(uniform(0, shape)) > 0)[hot].mean() < 0.1
    image = camera.expose(uniform(0, shape), seed=9)
    assert not image[~hot].any()
    assert image[hot].mean() == pytest.approx(extra[hot].mean(), rel=0.03)


# -- frames and seeds ------------------------------------------------------------------------------


@pytest.mark.parametrize("camera", [Camera.scmos(), Camera.emccd()], ids=["scmos", "emccd"])
def test_a_frame_does_not_depend_on_how_many_follow(camera):
    photons = uniform(10, (3, 20, 30))
    five = camera.expose(photons, frames=5, seed=1)
    assert five.shape == (5, 3, 20, 30)
    np.testing.assert_array_equal(camera.expose(photons, frames=2, seed=1), five[:2])
    np.testing.assert_array_equal(camera.expose(photons, seed=1), five[0])
    np.testing.assert_array_equal(list(camera.frames_of(photons, 5, 1)), five)
    assert (camera.expose(photons, seed=2) != five[0]).any()


def test_frames_and_seeds_are_independent():
    camera = Camera(read_noise=1.0, bits=0)
    stack = np.concatenate([camera.expose(uniform(10), frames=3, seed=seed) for seed in range(3)])
    correlation = np.corrcoef(stack.reshape(9, -1)) - np.eye(9)
    assert abs(correlation).max() < 4.5 / np.sqrt(stack[0].size)


# -- settings --------------------------------------------------------------------------------------


def test_short_names_of_the_constructor():
    camera = Camera(gain=2.2, read_noise=1.6, offset=100, bits=16)
    assert (camera.gain_adu_per_e, camera.read_noise_e, camera.offset_adu) == (2.2, 1.6, 100)
    brighter = replace(camera, gain_adu_per_e=3)
    assert (brighter.gain_adu_per_e, brighter.read_noise_e) == (3, 1.6)
    assert replace(camera, em_gain=100).record()["excess_noise_factor"] == 2


def test_sensor_maps_are_realistic():
    camera = Camera.scmos((300, 300), seed=5)
    read = camera.read_noise_e
    assert np.median(read) == pytest.approx(1.4, rel=0.02)
    assert np.quantile(read, 0.999) > 3 * np.median(read)  # the long tail
    assert np.std(camera.gain_adu_per_e) / 2.2 == pytest.approx(0.01, rel=0.05)
    assert 1 < np.std(camera.offset_adu) < 2
    np.testing.assert_array_equal(Camera.scmos((300, 300), seed=5).read_noise_e, read)
    with pytest.raises(ValueError, match="read-only"):
        read[0, 0] = 0


@pytest.mark.parametrize("name", PRESETS)
def test_the_record_is_json(name):
    camera = PRESETS[name][0]
    record = json.loads(json.dumps(camera.record(), allow_nan=False))
    assert {field.name for field in fields(Camera)} - set(record) <= {"full_well_e"}  # where it is infinite
    if "maps" in name:
        assert record["offset_adu"]["shape"] == [200, 250] and abs(record["offset_adu"]["median"] - 100) < 0.1
    else:
        np.testing.assert_array_equal(Camera(**record).expose(uniform(5)), camera.expose(uniform(5)))


@pytest.mark.parametrize(
    "settings",
    [
        {"quantum_efficiency": 1.1}, {"quantum_efficiency": -0.1}, {"read_noise": -1}, {"read_noise": np.nan},
        {"row_noise_e": -1}, {"column_noise_e": np.inf}, {"em_gain": 0.9}, {"excess_noise_factor": 0.5},
        {"gain": 0}, {"gain": "2"}, {"gain": np.zeros((3, 3))}, {"gain": np.ones(3)}, {"gain": np.ones((2, 3, 3))},
        {"read_noise": np.full((3, 3), -1)}, {"offset": np.array([[1, np.nan]])}, {"offset": [[1, 2], [3]]},
        {"offset": np.ones((0, 3))}, {"dark_e": -1}, {"dark_e": None}, {"dark_e": np.ones((3, 3))},
        {"full_well_e": 0}, {"hot_fraction": 2}, {"hot_dark_e": -1}, {"pattern_seed": -1}, {"pattern_seed": 0.5},
        {"bits": 17}, {"bits": -1}, {"bits": 8.5}, {"bits": "8"}, {"gain_adu_per_e": True},
    ],
)  # fmt: skip
def test_settings_out_of_range(settings):
    with pytest.raises(UserError, match=r"^camera: [^\n]*; "):
        Camera(**settings)


@pytest.mark.parametrize(
    "photons",
    [
        -uniform(1), uniform(np.nan), uniform(np.inf), uniform(1e12), np.ones(5), 3.0, np.ones((0, 3)),
        np.ones((3, 3), bool), np.ones((3, 3), complex), np.full((3, 3), "a"), None,
    ],
)  # fmt: skip
def test_invalid_photons(photons):
    for act in (Camera().expose, Camera().signal, Camera().variance, check_photons):
        with pytest.raises(UserError, match=r"^photons: [^\n]*; "):
            act(photons)


@pytest.mark.parametrize("frames", [0, -1, 1.5, True])
def test_invalid_numbers_of_frames(frames):
    with pytest.raises(UserError, match="frames"):
        Camera().expose(uniform(1), frames)
    with pytest.raises(UserError, match="seed"):
        Camera().expose(uniform(1), seed=-1)


def test_maps_of_another_size():
    for name in ("gain", "read_noise", "offset"):
        camera = Camera(**{name: np.ones((4, 5))})
        assert camera.expose(uniform(1, (3, 4, 5))).shape == (3, 4, 5)
        with pytest.raises(UserError, match=name):
            camera.expose(uniform(1, (5, 4)))


@pytest.mark.parametrize("counts", [uniform(3), np.array([[-1]]), np.array([["a"]]), np.array([[True]])])
def test_counts_that_cannot_be_thinned(counts):
    with pytest.raises(UserError, match="photons"):
        thin(counts, 0.5)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, np.nan])
def test_invalid_fractions(fraction):
    with pytest.raises(UserError, match="fraction"):
        thin(np.ones((3, 3), int), fraction)
