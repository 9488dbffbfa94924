"""Masks and replacements of Noise2Void, against counting and brute force."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import noisewise as nw
from noisewise.methods.base import Batch
from noisewise.methods.n2v import N2V
from noisewise.nets.blind import draw_mask, hide, neighbours

from .conftest import denoiser, image_spec


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("shape", "sides"), [((4, 1, 64, 64), (5, 7)), ((2, 3, 3, 40, 40), (2, 3, 4)), ((2, 1, 16, 33, 47), (3, 3, 4))]
)
def test_the_mask_has_one_pixel_in_each_cell_at_any_place(shape: tuple[int, ...], sides: tuple[int, ...]) -> None:
    draws = 40 * prod(sides)
    masks = torch.stack([draw_mask(torch.Size(shape), sides, generator(s)) for s in range(draws)]).float()
    assert masks.mean() == pytest.approx(1 / prod(sides), rel=0.05)
    # Every pixel is a centre equally often.
    often = masks.mean((0, 1, 2)) * prod(sides)
    assert often.min() > 0.6 and often.max() < 1.5
    # Two centres of an image are cells apart, and images and channels have different ones.
    apart = masks[0, 0, 0].nonzero().diff(dim=0).abs()
    assert (apart % torch.tensor(sides) == 0).all()
    assert len({str(mask.nonzero()[0].tolist()) for mask in masks[:20].flatten(0, 2)}) > 10


def test_an_axis_thinner_than_a_cell_still_has_blind_pixels() -> None:
    for seed in range(30):
        assert draw_mask(torch.Size((1, 1, 2, 24, 24)), (6, 6, 6), generator(seed)).sum() == 16


@given(st.integers(0, 10_000), st.sampled_from(["uniform", "mean", "median"]))
@settings(max_examples=25, deadline=None)
def test_a_blind_pixel_is_never_its_own_replacement(seed: int, masking: str) -> None:
    """Also at borders and in corners: the replaced image does not depend on the blind pixels' values."""
    x = torch.rand(1, 1, 9, 7, generator=generator(seed))
    blind = torch.zeros_like(x, dtype=torch.bool)
    blind[0, 0, [0, 0, 8, 4, 8], [0, 6, 0, 3, 6]] = True
    other = torch.where(blind, x + 100, x)
    one = hide(x, blind, masking, 2, generator(seed))
    two = hide(other, blind, masking, 2, generator(seed))
    assert torch.equal(one, two)
    assert torch.equal(one[~blind], x[~blind])


@pytest.mark.parametrize("position", [(4, 4), (0, 0), (0, 3), (8, 8)])
def test_offsets_are_uniform_over_the_window_without_its_centre(position: tuple[int, int]) -> None:
    x = torch.arange(81.0).reshape(1, 1, 9, 9).repeat(4000, 1, 1, 1)
    blind = torch.zeros_like(x, dtype=torch.bool)
    blind[:, 0, position[0], position[1]] = True
    draws = hide(x, blind, "uniform", 1, generator())[:, 0, position[0], position[1]]
    y, x0 = position
    window = [
        9 * j + i
        for j in range(max(0, y - 1), min(9, y + 2))
        for i in range(max(0, x0 - 1), min(9, x0 + 2))
        if (j, i) != position
    ]
    counts = torch.tensor([(draws == value).sum() for value in window]).double()
    assert counts.sum() == 4000
    expected = 4000 / len(window)
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 30  # 7 degrees of freedom at most: p < 1e-4


@pytest.mark.parametrize(("masking", "reference"), [("mean", np.mean), ("median", np.median)])
def test_mean_and_median_replacement(masking: str, reference) -> None:  # type: ignore[no-untyped-def]
    x = torch.rand(1, 1, 12, 12, generator=generator(3))
    blind = torch.zeros_like(x, dtype=torch.bool)
    blind[0, 0, 6, 6] = True
    window = np.delete(x[0, 0, 5:8, 5:8].numpy().ravel(), 4)
    value = hide(x, blind, masking, 1, generator())[0, 0, 6, 6].item()
    if masking == "median":  # of an even number, the lower of the two in the middle
        assert value == pytest.approx(np.sort(window)[3])
    else:
        assert value == pytest.approx(reference(window), abs=1e-6)


def test_neighbours_in_3d_count_the_window() -> None:
    x = torch.rand(1, 1, 3, 8, 8)
    _, inside = neighbours(x, torch.tensor([[0, 0, 1, 4, 4], [0, 0, 0, 0, 0]]), 1)
    assert inside.sum(1).tolist() == [26, 7]


class Constant(torch.nn.Module):
    """Predicts one number everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.value = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.value.expand_as(x)


def test_low_counts_are_not_biased_in_the_loss() -> None:
    """The best constant is the mean count, 0.05: pixels replaced by an equal value stay in the loss (else 0.51)."""
    net = denoiser(Constant())
    counts = torch.poisson(torch.full((64, 1, 128, 128), 0.05), generator=generator(1))
    batch = Batch(noisy=counts, valid=torch.ones_like(counts, dtype=torch.bool), generator=generator(2))
    for masking in ("uniform", "mean", "median"):
        net.zero_grad()
        N2V(masking=masking, mask_percent=25.0).loss(net, batch).backward()
        best = -net.backbone.value.grad.item() / 2  # of a parabola with curvature 2, from its slope at zero
        assert best == pytest.approx(0.05, rel=0.02)


def test_low_counts_are_not_biased_after_training() -> None:
    counts = np.random.default_rng(9).poisson(0.05, (512, 512)).astype(np.uint16)
    assert counts.mean() == pytest.approx(0.05, rel=0.01)  # this draw is fair
    model = nw.train("n2v", counts, steps=300, features=8, depth=1)
    assert model.predict(counts, average=False).mean.mean() == pytest.approx(0.05, rel=0.02)


def test_channels_are_independent_by_default() -> None:
    spec = image_spec(mean=(0, 0), std=(1, 1), size=(32, 32))
    x = torch.rand(1, 2, 32, 32)
    changed = x.clone()
    changed[:, 1] += 1
    alone, joint = N2V(features=8).build(spec).eval(), N2V(features=8, joint_channels=True).build(spec).eval()
    assert torch.equal(alone(x)[:, 0], alone(changed)[:, 0])
    assert not torch.equal(joint(x)[:, 0], joint(changed)[:, 0])
