"""A network that sees neighbouring planes: which planes a result depends on, and which axis is taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

import noisewise as nw
from noisewise import methods
from noisewise.io import open_source
from noisewise.methods._conditioned import make_backbone
from noisewise.methods.base import Denoiser, ImageSpec
from noisewise.nets.planes import NEIGHBOURS, PlanesUNet, differences
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.ops.conditioning import FEATURES
from noisewise.predict.receptive_field import receptive_radius
from noisewise.scenes.rng import Rng
from noisewise.scenes.sequences import sequence
from noisewise.workflow.neighbours import choose_spatial, likeness_along

INPUTS = 2 + FEATURES


def random_net(dims: int = 3) -> PlanesUNet:
    """A network with random weights in all layers."""
    net = make_backbone(dims, width=8, depth=1).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        with torch.no_grad():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


def random_maps(planes: int) -> torch.Tensor:
    return torch.randn(2, INPUTS, planes, 20, 24, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_a_stack_of_one_plane_is_that_plane() -> None:
    maps = random_maps(1)
    torch.testing.assert_close(random_net()(maps)[:, :, 0], random_net(2)(maps[:, :, 0]))


@torch.no_grad()
def test_copies_are_not_the_same_as_no_neighbours() -> None:
    """Where both planes are dark, their difference is zero too."""
    maps = random_maps(1)
    assert not torch.allclose(random_net()(maps.repeat(1, 1, 2, 1, 1))[:, :, 0], random_net(2)(maps[:, :, 0]))


@torch.no_grad()
def test_result_depends_on_two_planes_on_either_side() -> None:
    net, maps = random_net(), random_maps(9)
    before = net(maps)
    maps[:, 0, 4] += 1
    changed = (net(maps) - before).abs().amax((0, 1, 3, 4)) > 1e-6
    assert changed.tolist() == [False, False, True, True, True, True, True, False, False]


@torch.no_grad()
def test_planes_alone_do_not_see_their_neighbours() -> None:
    net, maps = random_net(), random_maps(3)
    net.alone = True
    stack = net(maps)
    for z in range(3):
        torch.testing.assert_close(stack[:, :, z], random_net(2)(maps[:, :, z]))


@torch.no_grad()
def test_planes_that_are_computed_together_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    net, maps = random_net(), random_maps(7)
    whole = net(maps)
    for planes in (0.5, 1, 3):
        monkeypatch.setattr("noisewise.nets.planes.GROUP", int(planes * 20 * 24))
        torch.testing.assert_close(net(maps), whole)


@torch.no_grad()
def test_planes_that_are_not_needed_are_not_computed() -> None:
    net, maps = random_net(), random_maps(7)
    whole, calls = net(maps), list[int]()
    net.unet.register_forward_hook(lambda _, inputs, output: calls.append(len(inputs[0])))
    some = net.computing(slice(2, 5))(maps)
    torch.testing.assert_close(some[:, :, 2:5], whole[:, :, 2:5])
    assert not some[:, :, :2].any() and not some[:, :, 5:].any()
    assert sum(calls) == 2 * 3
    torch.testing.assert_close(net(maps), whole)  # the network itself still computes all


def test_receptive_field_is_measured() -> None:
    one = (1.0,)
    spec = ImageSpec(
        spatial="TYX", channels=1, spacing=(1.0, 1.0, 1.0), size=(8, 64, 64), mean=one, std=one, target_mean=one,
        target_std=one,
    )  # fmt: skip
    net = Denoiser(random_net(), spec, [Gaussian(1.0)], inputs=INPUTS, heads=2)
    depth, height, width = receptive_radius(net)
    assert depth == 2
    maps = torch.zeros(1, INPUTS, 3, 4 * height, 4 * width)
    before = net.backbone(maps)
    maps[0, 0, 1, 2 * height, 2 * width] = 100.0
    where = ((net.backbone(maps) - before).abs() > 0).nonzero()
    assert (where[:, 3] - 2 * height).abs().max() <= height
    assert (where[:, 4] - 2 * width).abs().max() <= width


def test_differences_are_those_from_the_plane() -> None:
    images = torch.arange(4.0).reshape(1, 1, 4, 1, 1) ** 2
    for z, expected, there in ((0, [0, 0, 1, 4], [0, 0, 1, 1]), (2, [-4, -3, 5, 0], [1, 1, 1, 0])):
        found, present = differences(images[:, 0], torch.tensor([z]))
        assert found.flatten().tolist() == expected
        assert present[0].tolist() == there
    assert NEIGHBOURS == (-2, -1, 1, 2)


# -- which axis ----------------------------------------------------------------------------------------


def scenes(*shape: int, seed: int = 0) -> np.ndarray:
    """Smooth scenes, each of another plane."""
    noise = np.random.default_rng(seed).normal(0, 100, shape)
    return 100 + ndimage.gaussian_filter(noise, (*[0] * (len(shape) - 2), 2, 2))


def stack(*shape: int) -> np.ndarray:
    """A still scene with noise of about its own strength."""
    return scenes(*shape[-2:]) + np.random.default_rng(1).normal(0, 15, shape)


@pytest.mark.parametrize(("axes", "shape", "expected"), [
    ("YX", (32, 32), "YX"), ("TYX", (2, 32, 32), "TYX"), ("ZYX", (5, 32, 32), "ZYX"), ("SYX", (5, 32, 32), "YX"),
    ("TZYX", (1, 4, 32, 32), "ZYX"),
])  # fmt: skip
def test_neighbours_are_those_in_depth_or_time(axes: str, shape: tuple[int, ...], expected: str) -> None:
    assert choose_spatial(methods.get("simulated")(), [open_source(stack(*shape), axes)], None) == expected


def test_the_denser_axis_is_taken() -> None:
    """Along Z the scene changes, along T it does not; and the other way round."""
    drifting = np.stack([np.roll(scenes(64, 64), 2 * z, -1) for z in range(5)])
    changing = drifting + np.random.default_rng(1).normal(0, 10, (5, 5, 64, 64))
    method = methods.get("simulated")()
    assert choose_spatial(method, [open_source(changing, "TZYX")], None) == "TYX"
    assert choose_spatial(method, [open_source(changing, "ZTYX")], None) == "ZYX"


@pytest.mark.parametrize("noise", [1.0, 60.0])
def test_planes_that_have_nothing_in_common_are_not_seen_together(noise: float) -> None:
    strangers = scenes(6, 128, 128) + np.random.default_rng(1).normal(0, noise, (6, 128, 128))
    method = methods.get("simulated")()
    source, checkup = open_source(strangers, "TYX"), nw.measure(strangers, axes="TYX")
    for _ in range(2):
        assert choose_spatial(method, [source], checkup) == "YX"
    assert len([note for note in source.notes if "have little in common" in note]) == 1
    assert choose_spatial(method, [source], None) == "TYX"  # nothing is known of the noise
    strangers[-1] = np.nan
    assert choose_spatial(method, [open_source(strangers, "TYX")], checkup) == "YX"
    strangers[:] = np.nan
    assert choose_spatial(method, [open_source(strangers, "TYX")], checkup) == "YX"


@pytest.mark.parametrize("contrast", [1.0, 0.5, 0.3])
def test_correlated_noise_does_not_hide_that_a_scene_is_at_rest(contrast: float) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(0, 1, (6, 128, 128)), (0, 1, 1))
    still = scenes(128, 128) - 100
    noisy = contrast * still / still.std() + noise / noise.std()
    checkup = nw.measure(noisy.astype(np.float32), axes="TYX")
    assert checkup.kind == "correlated"
    assert choose_spatial(methods.get("simulated")(), [open_source(noisy, "TYX")], checkup) == "TYX"


def test_offsets_of_rows_do_not_hide_that_a_scene_is_at_rest() -> None:
    rng = np.random.default_rng(1)
    noisy = 0.3 * (scenes(128, 128) - 100) + rng.normal(0, 1, (6, 128, 128)) + rng.normal(0, 3, (6, 128, 1))
    checkup = nw.measure(noisy.astype(np.float32), axes="TYX")
    assert checkup.row_std_adu > 1
    assert choose_spatial(methods.get("simulated")(), [open_source(noisy, "TYX")], checkup) == "TYX"


def test_a_scene_at_rest_is_alike_however_it_flickers() -> None:
    flicker = np.array([1.0, 0.4, 1.5, 0.8, 0.2])[:, None, None]
    source = open_source(flicker * scenes(64, 64) + np.random.default_rng(1).normal(0, 30, (5, 64, 64)), "TYX")
    assert likeness_along("T", source) > 0.6


def test_copies_are_not_neighbours() -> None:
    copies = np.repeat(stack(1, 32, 32), 4, 0)
    source = open_source(copies, "TYX")
    assert choose_spatial(methods.get("simulated")(), [source], None) == "YX"
    assert any("exact copies" in note for note in source.notes)


def test_settings_choose_the_axis() -> None:
    source = open_source(stack(3, 4, 32, 32), "TZYX")
    simulated = methods.get("simulated")
    for spatial in ("YX", "ZYX", "TYX"):
        assert choose_spatial(simulated(spatial=spatial), [source], None) == spatial


# -- synthetic sequences -------------------------------------------------------------------------------


def test_sequences_are_a_function_of_the_seed() -> None:
    scene = torch.rand(96, 96, generator=torch.Generator().manual_seed(0))
    for seed in range(40):
        one, two = (sequence(lambda: scene, 5, (48, 40), Rng.from_seed(seed)) for _ in range(2))
        assert one.shape == (5, 48, 40)
        assert torch.equal(one, two)
        assert one.min() >= 0
        assert one.isfinite().all()
