"""The ladder VAE: any size, no artefacts at borders, divergences in closed form, unconditioned levels."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from noisewise.nets import lvae
from noisewise.nets.lvae import LadderLevel, LadderVAE, fresh

from .conftest import random_weights

SMALL = {"features": 8, "width": 6, "latent": 3, "blocks": 1}


def ladder(dims=2, levels=3, **settings):
    twice = (2,) * dims
    return random_weights(LadderVAE(1, 2, stem=twice, pools=(twice,) * levels, **SMALL | settings))


def still(_level, shape):
    """All zeros: each variable at its mean."""
    return torch.zeros(shape)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (5, 40), (9, 13, 11)])
@pytest.mark.parametrize("levels", [1, 3])
def test_images_of_any_size(size, levels):
    net, x = ladder(len(size), levels), torch.randn(2, 1, *size)
    drawn = net.draw(net.read(x), fresh(x), size)
    assert drawn.output.shape == (2, 2, *size)
    assert [nats.shape for nats in drawn.divergence] == [(2,)] * levels
    assert net(x).shape == drawn.output.shape


@torch.no_grad()
def test_a_constant_image_has_no_border_artefact():
    net = ladder()
    flat = net.draw(net.read(torch.full((1, 1, 32, 40), 0.7)), still).output
    for y in range(4):  # a pixel's place in the block that a position stands for
        for x in range(4):
            same = flat[..., y::4, x::4]
            assert torch.allclose(same, same[..., :1, :1].expand_as(same), atol=1e-5)


@torch.no_grad()
def test_far_from_the_border_the_output_moves_with_the_image():
    net, x = ladder(levels=1), torch.randn(1, 1, 192, 160)
    whole = net.draw(net.read(x), still).output
    part = net.draw(net.read(x[..., 8:, 16:]), still).output
    assert torch.allclose(whole[..., 100:104, 100:104], part[..., 92:96, 84:88], atol=1e-4)


def test_the_divergence_is_that_of_two_gaussians():
    level = random_weights(LadderLevel(2, 6, 3))
    state, for_state = torch.randn(2, 2, 6, 4, 5)
    for_posterior = torch.randn(2, 6, 4, 5)
    with torch.no_grad():
        nats = level(state, torch.cat([for_state, for_posterior], 1), still, 0)[1]
        state = level.above(state)
        mean, log_std = level.prior(state).chunk(2, 1)
        shift, stretch = (level.posterior(state + for_state) + for_posterior).chunk(2, 1)
    prior = Normal(mean, lvae.bounded(log_std).exp())
    shift = lvae.bounded(shift, lvae.FARTHEST)
    posterior = Normal(mean + prior.scale * shift, prior.scale * lvae.bounded(stretch).exp())
    assert torch.allclose(nats, kl_divergence(posterior, prior).flatten(1).sum(1), rtol=1e-4)


@torch.no_grad()
def test_unconditioned_levels_do_not_depend_on_the_image():
    images = torch.randn(2, 1, 1, 16, 16)
    without, conditioned = ladder(unconditioned=3), ladder(unconditioned=2)
    first, second = (without.draw(without.read(x), still) for x in images)
    assert torch.equal(first.output, second.output)
    assert first.divergence == []
    first, second = (conditioned.draw(conditioned.read(x), still) for x in images)
    assert not torch.equal(first.output, second.output)
    assert len(first.divergence) == 1


@torch.no_grad()
def test_draws_from_one_encoding_differ_by_their_random_numbers_alone():
    net, x = ladder(), torch.randn(1, 1, 16, 16)
    encoding = net.read(x)

    def draw(seed):
        return net.draw(encoding, fresh(x, torch.Generator().manual_seed(seed))).output

    assert torch.equal(draw(1), draw(1))
    assert not torch.allclose(draw(1), draw(2))
