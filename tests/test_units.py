"""An image in other units gives the same result in those units: no threshold is absolute."""

import numpy as np
import pytest

import noisewise as nw
from noisewise import methods

from .conftest import blobs

RNG = np.random.default_rng(0)
SCENE = 20 + 2 * blobs((64, 64))
IMAGES = [RNG.poisson(SCENE) + RNG.normal(0, 2, SCENE.shape) for _ in range(2)]
UNITS = [(1e-12, 1e-8), (1e9, 0.0)]  # the offset is a thousand standard deviations of the noise
METHODS = methods.having(
    lambda traits: traits.needs != "clean" and not traits.counts_only and traits.removes != ("none",)
)
FAST = {"network": "classic", "depth": 1, "features": 4}


def in_units(image, scale, offset):
    return (scale * image + offset).astype(np.float32)


@pytest.mark.parametrize(("scale", "offset"), UNITS)
def test_the_measured_noise_has_the_units_of_the_image(scale, offset):
    expected, found = nw.measure(in_units(IMAGES[0], 1, 0)), nw.measure(in_units(IMAGES[0], scale, offset))
    assert found.kind == expected.kind
    for signal in (40, 100):
        assert found.std(scale * signal + offset) == pytest.approx(scale * expected.std(signal), rel=1e-3)
    assert found.line.slope == pytest.approx(scale * expected.line.slope, rel=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_the_same_result_in_other_units(name):
    def result(scale, offset):
        noisy, second = (in_units(image, scale, offset) for image in IMAGES)
        needs = methods.get(name)().traits.needs
        settings = FAST if name in ("n2v", "pn2v", "n2n", "r2r", "sure") else {}
        model = nw.train(name, noisy, second if needs == "pairs" else None, steps=1, **settings)
        found = model.predict(noisy, average=False)
        # Estimated with random numbers, for a few pixels: it differs with rounding errors.
        recalibration = np.asarray(model.net.std_scale).ravel()[0]
        std = None if found.std is None else found.std / scale / recalibration
        return (found.mean.astype(float) - offset) / scale, std

    mean, std = result(1, 0)
    removed, error = np.std(mean - IMAGES[0]), np.std(mean - SCENE)
    for unit in UNITS if methods.get(name)().traits.noise == "none" else UNITS[:1]:
        # Random photon numbers of the training step differ, where rounding errors move a rate across a threshold.
        other, other_std = result(*unit)
        assert np.std(other - mean) < 0.2 * removed
        assert np.std(other - SCENE) == pytest.approx(error, rel=0.1)
        if std is not None:
            assert np.median(other_std / std) == pytest.approx(1, abs=0.1)
