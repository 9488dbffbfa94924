"""Synthetic scenes: reproducible, in range, of every kind and sharpness, in 2D, in 3D and in time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor

from noisewise import scenes
from noisewise.errors import UserError
from noisewise.evaluate.resolution import spectral_exponent
from noisewise.scenes.fields import frequencies, gaussian_field
from noisewise.scenes.movies import movie
from noisewise.scenes.optics import gaussian_blur
from noisewise.scenes.pool import patches
from noisewise.scenes.rng import Rng
from noisewise.scenes.strokes import splat

KINDS = [*scenes.KINDS, "mixed"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(96, 80), (6, 48, 40)])
def test_scenes_are_positive_and_reproducible(kind: str, shape: tuple[int, ...]) -> None:
    first, again, other = (scenes.draw(kind, shape, seed) for seed in (3, 3, 4))
    assert first.shape == shape and first.dtype == torch.float32
    assert torch.isfinite(first).all() and float(first.min()) >= 0
    assert 0.3 < float(first.max()) < 100
    assert float(first.std()) > 1e-3
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UserError, match="no scene 'cats'; there are: leaves"):
        scenes.draw("cats", (32, 32))


def test_spectra_cover_those_of_real_images() -> None:
    """The power falls as f^-2 in natural images, faster in blurred ones, and hardly for single molecules."""
    found = [spectral_exponent(scenes.draw("mixed", (128, 128), seed).numpy()) for seed in range(120)]
    assert min(found) < -4 and max(found) > -1
    assert np.percentile(found, 25) < -2.3 < np.percentile(found, 75)


def test_subpixel_positions_are_kept() -> None:
    scene = splat((8, 8), torch.tensor([[2.25, 3.5]]), torch.tensor([4.0]))
    assert float(scene.sum()) == pytest.approx(4.0)
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    assert float((scene * y).sum() / 4) == pytest.approx(2.25)
    assert float((scene * x).sum() / 4) == pytest.approx(3.5)


def test_blur_keeps_the_sum_and_has_its_width() -> None:
    scene = torch.zeros(65, 65)
    scene[32, 32] = 1.0
    image = gaussian_blur(scene, (2.0, 3.0))
    assert float(image.sum()) == pytest.approx(1.0, abs=1e-4)
    along = torch.arange(65.0) - 32
    assert float((image.sum(0) * along**2).sum()) == pytest.approx(9.0, rel=0.02)
    assert float((image.sum(1) * along**2).sum()) == pytest.approx(4.0, rel=0.02)


def test_a_movie_moves_steadily() -> None:
    def spot(shape: tuple[int, ...]) -> Tensor:
        return gaussian_blur(splat(shape, torch.tensor([[shape[0] / 2, shape[1] / 2]]), torch.ones(1)), (2.0, 2.0))

    frames = movie(lambda shape: spot(tuple(shape)), 6, (40, 40), Rng.from_seed(1))
    assert frames.shape == (6, 40, 40)
    assert float(frames.max()) == pytest.approx(1.0)
    assert torch.equal(frames, movie(lambda shape: spot(tuple(shape)), 6, (40, 40), Rng.from_seed(1)))


def test_patches_are_parts_of_scenes() -> None:
    generator = torch.Generator().manual_seed(0)
    found = patches("leaves", (32, 32), 5, generator)
    assert found.shape == (5, 1, 32, 32)
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found, patches("leaves", (32, 32), 5, torch.Generator().manual_seed(0)))
    assert patches("nuclei", (8, 32, 32), 2, generator).shape == (2, 1, 8, 32, 32)


def test_clean_images_of_a_file_are_used_unchanged(tmp_path: Path) -> None:
    clean = np.arange(2 * 40 * 50, dtype=np.float32).reshape(2, 40, 50)
    tifffile.imwrite(tmp_path / "clean.tif", clean, metadata={"axes": "TYX"}, imagej=True)
    found = patches(str(tmp_path / "clean.tif"), (16, 16), 30, torch.Generator().manual_seed(0))
    assert found.shape == (30, 1, 16, 16)
    for patch in found[:, 0]:
        values = patch.flatten().sort().values.long()
        t, y, x = np.unravel_index(int(values[0]), clean.shape)
        assert torch.equal(values, torch.from_numpy(clean[t, y : y + 16, x : x + 16].ravel()).long())


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.ones((8, 8), np.float32), "fewer than a patch"),
        (np.full((40, 40), np.nan, np.float32), "NaN or infinite"),
        (None, "neither a kind of scene"),
    ],
)
def test_clean_images_that_cannot_be_used_are_refused(image: np.ndarray | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "clean.tif"
    if image is not None:
        tifffile.imwrite(path, image)
    with pytest.raises(UserError, match=words):
        patches(str(path), (16, 16), 1, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("exponent", [0.0, -2.0, -3.0])
def test_the_exponent_of_a_planted_spectrum_is_found(exponent: float) -> None:
    square = sum((f**2 for f in frequencies((256, 256))), torch.zeros(()))
    amplitude, generator = square.clamp(min=1e-6) ** (exponent / 4), Rng.from_seed(0)
    found = [spectral_exponent(gaussian_field((256, 256), amplitude, generator).numpy()) for _ in range(20)]
    assert np.mean(found) == pytest.approx(exponent, abs=0.1)


def test_each_patch_is_of_another_scene(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "levels.tif", np.arange(50, dtype=np.float32)[:, None, None] + np.zeros((1, 20, 20)))
    found = patches(str(tmp_path / "levels.tif"), (16, 16), 12, torch.Generator().manual_seed(0))
    assert len(found.mean((1, 2, 3)).unique()) > 6
