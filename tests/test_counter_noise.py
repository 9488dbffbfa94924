"""Counter-based noise: overlapping tiles, rotated images and single samples agree on every number."""

import itertools

import pytest
import torch

from noisewise.nets.blind import grid_coordinates
from noisewise.nets.counter_noise import CounterNoise

STRIDES = {2: [(2, 2), (4, 4)], 3: [(1, 2, 2), (2, 4, 4)]}


def source_at(size, origin, keys=((0, 0, 0),), transform=lambda x: x):
    coordinates = transform(grid_coordinates(torch.empty(1, 1, *size), origin))[0]
    return CounterNoise(coordinates, STRIDES[len(size)], keys)


def drawn(source, level, latent=3):
    size = [n // s for n, s in zip(source.coordinates.shape[1:], STRIDES[len(source.strides[0])][level], strict=True)]
    return source(level, torch.Size([len(source.keys), latent, *size]))


@pytest.mark.parametrize("level", [0, 1])
def test_a_tile_has_the_numbers_of_the_whole(level):
    whole, tile = drawn(source_at((300, 280), (0, 0)), level), drawn(source_at((40, 160), (120, 88)), level)
    stride = STRIDES[2][level][0]
    here = whole[..., 120 // stride : 160 // stride, 88 // stride : 248 // stride]
    assert torch.equal(tile, here)


def test_the_same_in_3d():
    whole, tile = drawn(source_at((24, 48, 40), (0, 0, 0)), 1), drawn(source_at((8, 16, 20), (12, 24, 4)), 1)
    assert torch.equal(tile, whole[..., 6:10, 6:10, 1:6])


@pytest.mark.parametrize("transform", [lambda x: x.flip(-1), lambda x: x.transpose(-1, -2), lambda x: x.flip(-2, -1)])
def test_a_rotated_image_has_rotated_numbers(transform):
    upright, rotated = drawn(source_at((32, 48), (4, 8)), 0), drawn(source_at((32, 48), (4, 8), transform=transform), 0)
    assert torch.equal(rotated, transform(upright))


def test_seed_sample_channel_level_and_place_all_matter():
    keys = list(itertools.product((0, 1), repeat=3))
    found = [drawn(source_at((256, 256), (0, 0), keys), level) for level in (0, 1)]
    values = [image[..., :64, :64].flatten() for level in found for image in level] + [
        found[0][0, ..., 64:, 64:].flatten()
    ]
    correlation = torch.corrcoef(torch.stack([part[: 3 * 64 * 64] for part in values]))
    assert (correlation - torch.eye(len(values))).abs().max() < 0.05
    assert torch.cat(values).mean().abs() < 0.01 and (torch.cat(values).std() - 1).abs() < 0.01


def test_a_sample_does_not_depend_on_the_others():
    both = drawn(source_at((32, 32), (0, 0), [(5, 0, 0), (5, 1, 0), (5, 0, 0)]), 0)
    alone = drawn(source_at((32, 32), (0, 0), [(5, 1, 0)]), 0)
    assert torch.equal(both[1:2], alone) and torch.equal(both[0], both[2])
