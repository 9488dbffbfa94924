"""Displaced odd lines of bidirectional scans: found, told, aligned for denoising, and put back."""

import numpy as np
import pytest

import noisewise as nw
from noisewise.io import open_source
from noisewise.io.memory import MemorySink
from noisewise.io.scan_lines import AlignedSource, aligned, line_displacement, put_back

from .conftest import blobs

SCENE = 100 + 4 * blobs((96, 120))


def displaced(shift, scene=SCENE):
    """Odd lines moved to the right by some pixels, as a microscope records them."""
    image = scene.copy()
    if shift >= 0:
        image[1::2, shift:] = scene[1::2, : scene.shape[1] - shift]
    else:
        image[1::2, :shift] = scene[1::2, -shift:]
    return image


def noisy(scene, seed=0):
    return np.random.default_rng(seed).poisson(scene).astype(np.uint16)


@pytest.mark.parametrize("shift", [-3, -1, 1, 2, 5])
def test_displacements_are_measured(shift):
    assert line_displacement([noisy(displaced(shift))]) == pytest.approx(shift, abs=0.4)


def test_other_images_have_none():
    rng = np.random.default_rng(0)
    slanted = 100 + 50 * np.sin((np.mgrid[:96, :96].sum(0)) / 3)
    rows = 100 + np.repeat(rng.normal(0, 10, (96, 1)), 96, 1) + rng.normal(0, 5, (96, 96))
    for image in (noisy(SCENE), rng.normal(100, 10, (96, 96)), noisy(slanted), rows, np.full((64, 64), 3.0)):
        assert line_displacement([image]) == 0.0


@pytest.mark.parametrize("shift", [-3, 2])
@pytest.mark.parametrize("axes", ["YX", "TYX", "XY"])
def test_alignment_is_undone_pixel_by_pixel(shift, axes):
    image = noisy(displaced(shift))
    image = np.stack([image, image + 1]) if axes == "TYX" else image.T.copy() if axes == "XY" else image
    source = open_source(image, axes)
    source.line_displacement = shift
    wide = aligned(source)
    assert isinstance(wide, AlignedSource) and wide.size_of("X") == source.size_of("X") + abs(shift)
    sink = MemorySink(source.shape, np.float32)
    everything = wide.read()
    put_back(sink, wide).write(wide.everything, everything)
    np.testing.assert_array_equal(sink.array, image)
    part = tuple(slice(3, n - 5) if axis in "YX" else slice(0, n) for axis, n in zip(axes, wide.shape, strict=True))
    np.testing.assert_array_equal(wide.read(part), everything[part])
    if axes == "YX":
        inner = np.s_[:, abs(shift) : -2 * abs(shift)]
        start = max(shift, 0)
        assert np.abs(everything[:, start : start + 120][inner] - SCENE[inner]).mean() < 1.2 * SCENE.mean() ** 0.5


def test_denoised_like_an_image_without_displacement(tmp_path):
    image, straight = noisy(displaced(2)), noisy(SCENE)
    report = nw.measure(image)
    assert report.line_displacement == pytest.approx(2, abs=0.4)
    assert any("bidirectional" in warning for warning in report.warnings)
    result, expected = nw.denoise(image, steps=0), nw.denoise(straight, steps=0)
    assert sum("bidirectional" in note for note in result.notes) == 1
    error, usual = (np.std(a - b) for a, b in ((result.mean, displaced(2)), (expected.mean, SCENE)))
    assert error < 1.3 * usual
    tiled = result.model.predict(image, tile=32)
    np.testing.assert_allclose(tiled.mean, result.model.predict(image).mean, atol=0.2)
    nw.denoise(image, steps=0, output=tmp_path / "out.tif", std=True)
    np.testing.assert_allclose(open_source(tmp_path / "out.tif").read(), np.rint(result.mean), atol=1.01)
