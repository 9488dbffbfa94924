"""HDN and DivNoising: near the exact posterior, collapse is detected, unconditioned levels follow the noise."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

import noisewise as nw
from noisewise.methods.base import Batch
from noisewise.methods.divnoising import DivNoising
from noisewise.methods.hdn import HDN
from noisewise.methods.simulated import Simulated
from noisewise.nets.lvae import COLLAPSED, RESTARTS, KLWeight, LadderVAE, LadderWithDirect
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gaussian import Gaussian
from noisewise.testing.worlds import GaussianWorld, decibel_gap

from .conftest import image_spec, random_weights

pytestmark = pytest.mark.usefixtures("few_scenes")
SMALL = {
    "features": 24, "reading": 24, "width": 32, "latent": 16, "blocks": 1, "levels": 2, "patch_size": 32,
    "batch_size": 4, "learning_rate": 4e-3,
}  # fmt: skip
SPEC = image_spec()


@pytest.mark.parametrize("name", ["hdn", "divnoising"])
def test_a_short_training_comes_near_the_exact_posterior(name):
    """The direct network is nearer than the best possible blind-spot method, and samples are near that."""
    world = GaussianWorld(side=128, border=24)
    noisy = world.draw(16, 1)[1]
    steps, levels = (240, 2) if name == "hdn" else (200, 1)
    model = nw.train(name, noisy.numpy(), noise=world.noise, steps=steps, **SMALL | {"levels": levels})
    signal, noisy = world.draw(4, 2)
    inner = (slice(None), *[slice(world.border, -world.border)] * 2)
    exact, blind = world.posterior(noisy), world.blind_spot_posterior(noisy)
    for samples in (0, 24):
        model.method = replace(model.method, mean_samples=samples)
        post = model.predict(noisy.numpy(), average=False)
        error = (torch.from_numpy(post.mean) - signal)[inner]
        most = 0.0 if samples == 0 else 0.5 if name == "hdn" else 1.5
        assert decibel_gap(error, (blind.mean - signal)[inner]) < most
        claimed = np.sqrt(np.mean(post.std[inner] ** 2)) / float((exact.std[inner] ** 2).mean().sqrt())
        assert 0.7 < claimed < 1.3


def test_the_direct_network_is_pretrained_and_the_ladder_is_not():
    """The mean of a network as built is that of `simulated`; to go without a step is refused."""
    noisy = 100 + 20 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    noise_model = Gaussian(15.0)
    spec = image_spec(mean=(100.0,), std=(20.0,))
    with torch.no_grad():
        found, expected = (
            method.posterior(method.build(spec, [noise_model]).eval(), noisy).mean
            for method in (HDN(reading=8), Simulated())
        )
    torch.testing.assert_close(found, expected)
    with pytest.raises(nw.UserError, match="needs at least 1 training step, not 0"):
        nw.train("hdn", noisy[0, 0].numpy(), noise=noise_model, steps=0, reading=8)


def test_samples_do_not_depend_on_synthetic_scenes():
    """Synthetic scenes train the direct network alone."""
    method = HDN(network="fast", features=8, reading=8, width=8, levels=2)
    net = method.build(SPEC, [Gaussian(0.5)])
    noisy = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    grads = []
    for kind in ("mixed", "puncta"):
        net.zero_grad()
        batch = Batch(noisy=noisy, valid=noisy < 9, generator=torch.Generator().manual_seed(1))
        replace(method, scenes=kind).loss(net, batch).backward()
        grads.append({name: p.grad.clone() for name, p in net.backbone.named_parameters()})
    same = {name: torch.allclose(grads[0][name], grads[1][name], rtol=1e-4, atol=1e-7) for name in grads[0]}
    assert all(alike for name, alike in same.items() if name.startswith("ladder"))
    assert not any(alike for name, alike in same.items() if name.startswith("direct.tail"))


def test_a_collapse_is_detected_and_training_restarts():
    lost, kept = KLWeight(warm_up=0.1).train(), KLWeight(warm_up=0.1).train()
    steps = [step / 100 for step in range(101)]
    weights = [float(lost(torch.tensor(0.0), step)) for step in steps]
    assert lost.collapsed and float(lost.restarts) == RESTARTS
    assert sum(after < before for before, after in pairwise(weights)) == RESTARTS and weights[-1] == 1.0
    weights = [float(kept(torch.tensor(0.1), step)) for step in steps]
    assert weights[5] == pytest.approx(0.5) and weights[10:] == [1.0] * 91
    assert not kept.collapsed and float(kept.restarts) == 0


def test_a_collapse_gives_a_warning():
    """Noise so strong that the image carries no information."""
    image = np.random.default_rng(0).normal(100, 5, (64, 64)).astype(np.float32)
    model = nw.train("hdn", image, noise=Gaussian(40.0), steps=60, **SMALL)
    ladder = model.net.backbone
    assert isinstance(ladder, LadderWithDirect)
    collapsed = float(ladder.kl_weight.divergence) < COLLAPSED
    assert collapsed == any("carry no information about the image" in note for note in model.notes)


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        (Gaussian(1.0), 0),
        (Correlated(Gaussian(1.0), torch.tensor([[0.5, 1.0, 0.5]])), 1),
        (Correlated(Gaussian(1.0), torch.ones(1, 5)), 2),
        (Correlated(Gaussian(1.0), torch.ones(1, 9)), 2),
    ],
)
def test_unconditioned_levels_are_as_fine_as_the_noise_is_correlated(noise, expected):
    for setting, count in (("auto", expected), (3, 3)):
        net = HDN(unconditioned_levels=setting, features=8, reading=8).build(SPEC, [noise])
        assert isinstance(net.backbone, LadderWithDirect) and net.backbone.ladder.unconditioned == count


def test_one_level_for_divnoising_and_a_ladder_for_hdn():
    for method, levels in ((DivNoising(features=8), 1), (HDN(features=8), 4), (HDN(features=8, levels=3), 3)):
        ladder = method.build(SPEC, [Gaussian(1.0)]).backbone.ladder
        assert isinstance(ladder, LadderVAE) and len(ladder.levels) == levels


@torch.no_grad()
def test_bfloat16_changes_little():
    ladder = random_weights(
        LadderVAE(1, 1, stem=(2, 2), pools=((2, 2), (2, 2)), features=16, width=8, latent=4, blocks=1)
    )
    x = torch.randn(1, 1, 32, 32)
    numbers = {level: torch.randn(1, 4, 8 >> level, 8 >> level) for level in (0, 1)}
    exact = ladder.draw(ladder.read(x), lambda level, _: numbers[level])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = ladder.draw(ladder.read(x), lambda level, _: numbers[level])
    assert all(nats.dtype == torch.float32 for nats in rough.divergence)
    for fine, coarse in zip(exact.divergence, rough.divergence, strict=True):
        assert torch.allclose(fine, coarse, rtol=0.03)
    assert (exact.output - rough.output.float()).std() < 0.05 * exact.output.std()
