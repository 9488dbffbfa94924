"""Tiles are data that cover the image once; a tiled prediction is the whole one."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noisewise import threads
from noisewise.axes import Layout
from noisewise.errors import UserError
from noisewise.io import open_source
from noisewise.io.memory import MemorySink
from noisewise.methods.base import Denoiser, Method
from noisewise.methods.care import CARE
from noisewise.methods.n2v import N2V
from noisewise.methods.pn2v import PN2V
from noisewise.noise.base import Noise
from noisewise.noise.models.gaussian import Gaussian
from noisewise.posterior import Posterior
from noisewise.predict.flips import flips_and_rotations
from noisewise.predict.fold import fold_batch_norm
from noisewise.predict.outputs import Outputs
from noisewise.predict.plan import plan_tiles, tile_within
from noisewise.predict.run import Predictor

from .conftest import denoiser, image_spec


def random_net(dims: int, network: str = "fast") -> Denoiser:
    """A network with weights that pass signals on, so that a wrong halo would show."""
    torch.manual_seed(1)
    spec = image_spec(dims, (100.0,), (10.0,), size=(9, 64, 64), spacing=(2.0, 1.0, 1.0))
    net = N2V(network=network, features=6).build(spec)  # type: ignore[arg-type]
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


def run(net: Denoiser, image: np.ndarray, axes: str, tile: tuple[int, ...] | None, average: bool) -> np.ndarray:
    source = open_source(image, axes)
    sink = MemorySink(source.shape, np.float32)
    predictor = Predictor(N2V(), net, tile=tile, average=average)
    predictor.predict_to(source, Layout(axes, "ZYX"[-net.dims :]), Outputs(sink))
    return sink.array


@given(
    size=st.lists(st.integers(1, 150), min_size=2, max_size=2),
    tile=st.lists(st.integers(1, 90), min_size=2, max_size=2),
    average=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_tiled_is_whole_2d(size: list[int], tile: list[int], average: bool) -> None:
    net = random_net(2)
    image = np.random.default_rng(0).normal(100, 10, size).astype(np.float32)
    whole = run(net, image, "YX", None, average)
    tiled = run(net, image, "YX", tuple(tile), average)
    spread = max(1.0, float(whole.std()) / 10)  # a random network may amplify: relative to its own output
    np.testing.assert_allclose(tiled, whole, atol=1e-3 * 10 * spread)


@pytest.mark.parametrize("network", ["fast", "classic", "n2v2"])
def test_tiled_is_whole_3d_with_batch_axes(network: str) -> None:
    net = random_net(3, network)
    image = np.random.default_rng(0).normal(100, 10, (7, 2, 70, 61)).astype(np.float32)
    whole = run(net, image, "ZTYX", None, False)
    tiled = run(net, image, "ZTYX", (4, 24, 32), False)
    np.testing.assert_allclose(tiled, whole, atol=1e-3 * max(10, whole.std()))
    one = run(net, image[:, 1], "ZYX", None, False)  # its mean is put right on its own
    np.testing.assert_allclose(whole[:, 1] - whole[:, 1].mean(), one - one.mean(), atol=1e-3 * max(10, whole.std()))


def test_a_halo_that_is_too_small_is_visible() -> None:
    """The test above can fail: without a halo the same network shows seams."""
    net = random_net(2)
    image = np.random.default_rng(0).normal(100, 10, (128, 128)).astype(np.float32)
    source, layout = open_source(image), Layout("YX", "YX")
    whole = run(net, image, "YX", None, False)
    predictor = Predictor(N2V(), net, tile=(32, 32))
    predictor.halo = (0, 0)
    sink = MemorySink(source.shape, np.float32)
    predictor.predict_to(source, layout, Outputs(sink))
    assert np.abs(sink.array - whole).max() > 1e-2 * whole.std()


@given(
    st.integers(1, 3).flatmap(
        lambda d: st.tuples(*(st.lists(st.integers(1, 60), min_size=d, max_size=d) for _ in range(3)))
    ),
    st.sampled_from([1, 2, 4, 8]),
)
@settings(deadline=None)
def test_tiles_cover_the_image_once(sizes: tuple[list[int], list[int], list[int]], stride: int) -> None:
    size, tile, halo = sizes
    count = np.zeros(size, int)
    for part in plan_tiles(size, tile, halo, [stride] * len(size)):
        count[part.write] += 1
        for read, keep, write in zip(part.read, part.keep, part.write, strict=True):
            assert read.start + keep.start == write.start and read.start + keep.stop == write.stop
            assert read.start % stride == 0
            assert read.start <= max(0, write.start - 1) or read.start == 0
    assert (count == 1).all()


def test_tile_size_follows_memory() -> None:
    assert tile_within(1e9, (512, 500), (49, 49), (8, 8)) == (512, 504)
    small = tile_within(300 * 300, (4096, 4096), (49, 49), (8, 8))
    assert all(t % 8 == 0 for t in small)
    assert (small[0] + 112) * (small[1] + 112) <= 300 * 300
    assert tile_within(1, (4096, 4096), (49, 49), (8, 8)) == (8, 8)


def test_planes_stay_whole_where_only_their_neighbours_are_read() -> None:
    """A halo in the plane costs more than reading the planes before and behind."""
    size, halo, stride = (100, 2048, 2048), (2, 230, 230), (1, 16, 16)
    assert tile_within(25e6, size, halo, stride, only_read=1) == (1, 2048, 2048)
    assert tile_within(60e6, size, halo, stride, only_read=1) == (7, 2048, 2048)
    assert tile_within(1e9, size, halo, stride, only_read=1) == size
    # Where no tile is small enough, the largest of those that read least: not one that reads all for a few pixels.
    assert tile_within(1e6, (23, 512, 512), (2, 432, 432), stride, only_read=1) == (1, 512, 512)
    assert tile_within(5e6, (23, 512, 512), (15, 432, 432), stride, only_read=1)[1:] == (512, 512)


class Exact(torch.nn.Module):
    """Sees eight pixels to each side (two along Z), and not one more: a halo that is one too small shows."""

    def __init__(self, dims: int, heads: int = 1) -> None:
        super().__init__()
        torch.manual_seed(2)
        conv, far = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[dims], (1, 7, 7)[-dims:]
        self.first, self.second = conv(1, 4, 3, padding=far, dilation=far), conv(4, heads, 3, padding=1)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


def noise_models_for(method: Method) -> list[Noise]:
    return [] if method.traits.noise == "none" else [Gaussian(8.0)]


def exact(dims: int, method: Method) -> Denoiser:
    heads = {PN2V: 4, CARE: 2}.get(type(method), 1)
    return denoiser(Exact(dims, heads), [100.0], [10.0], noise_models_for(method), dims=dims, heads=heads).eval()


def test_out_of_memory_is_survived_with_smaller_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    net = exact(2, N2V())
    image = np.random.default_rng(0).normal(100, 10, (200, 180)).astype(np.float32)
    whole = run(net, image, "YX", None, False)
    posterior, failed = Predictor.posterior, []

    def scarce(self: Predictor, noisy: torch.Tensor, *where: Any, **options: Any) -> Posterior[torch.Tensor]:
        if noisy[0, 0].numel() > 150 * 150:
            failed.append(noisy.shape)
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return posterior(self, noisy, *where, **options)

    monkeypatch.setattr(Predictor, "posterior", scarce)
    np.testing.assert_allclose(run(net, image, "YX", None, False), whole, atol=1e-2)
    assert failed


def tiled_and_whole(
    method: Method, net: Denoiser, image: np.ndarray, tile: tuple[int, ...], average: bool = False
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Means, and standard deviations where they are known, of tiles and of the whole."""
    source, axes = open_source(image, "ZYX"[-net.dims :]), "ZYX"[-net.dims :]
    found = []
    for part in (tile, None):
        sinks = [MemorySink(source.shape, np.float32) for _ in range(2)]
        predictor = Predictor(method, net, tile=part, average=average)
        outputs = Outputs(sinks[0], sinks[1] if method.traits.std else None)
        predictor.predict_to(source, Layout(axes, axes), outputs)
        found.append([sink.array for sink in sinks])
    return list(zip(*found, strict=True))[: 1 + method.traits.std]


def image_of(dims: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """Noise of a standard deviation of 10, of odd sizes, and a tile that does not divide them."""
    size, tile = {2: ((45, 61), (16, 20)), 3: ((5, 23, 27), (2, 9, 11))}[dims]
    return np.random.default_rng(0).normal(100, 10, size).astype(np.float32), tile


BLIND = [
    (N2V(blind_prediction=True), 2), (N2V(blind_prediction=True, mask_radius=3, mask_percent=2.0), 2),
    (N2V(blind_prediction=True, blind_shape="1x11"), 2), (N2V(blind_prediction=True, blind_shape="11x1"), 2),
    (N2V(blind_prediction=True, blind_shape="3x3"), 2), (N2V(blind_prediction=True), 3),
    (N2V(blind_prediction=True, blind_shape="1x7"), 3), (N2V(blind_prediction=True, blind_shape="3x1x1"), 3),
    (PN2V(), 2), (PN2V(components=1, mask_radius=2), 2), (PN2V(), 3),
]  # fmt: skip


@pytest.mark.parametrize(("method", "dims"), BLIND)
def test_tiled_is_whole_where_pixels_are_predicted_blind(method: Method, dims: int) -> None:
    """What is hidden depends on the place in the image, not in the tile, and reaches further than the network sees."""
    image, tile = image_of(dims)
    for tiled, whole in tiled_and_whole(method, exact(dims, method), image, tile):
        np.testing.assert_allclose(tiled, whole, atol=1e-3 * 10)
        assert whole.std() > 0.1


@pytest.mark.parametrize(
    ("network", "method", "dims", "average"),
    [
        ("fast", N2V(blind_prediction=True, blind_shape="1x9"), 2, True), ("fast", PN2V(), 3, False),
        ("fast", N2V(blind_prediction=True), 2, False), ("classic", N2V(blind_prediction=True), 2, True),
        ("classic", N2V(blind_prediction=True, blind_shape="1x1x5"), 3, False), ("classic", PN2V(), 2, True),
    ],
)  # fmt: skip
def test_the_same_with_pooling(network: str, method: Method, dims: int, average: bool) -> None:
    spec = image_spec(dims, (100.0,), (10.0,), size=(9, 64, 64), spacing=(2.0, 1.0, 1.0))
    torch.manual_seed(1)
    method = replace(method, network=network, features=4, depth=1)
    net = method.build(spec, noise_models_for(method)).eval()
    for parameter in net.backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if network == "fast" else 0.6)
    image, tile = image_of(dims)
    for tiled, whole in tiled_and_whole(method, net, image, tile, average):
        np.testing.assert_allclose(tiled, whole, atol=1e-3 * max(10, whole.std()))
        assert whole.std() > 0.05  # five times what is tolerated


def test_flips_and_rotations_are_undone_exactly() -> None:
    x = torch.randn(2, 1, 5, 7)
    transformed = [transform(x) for transform, _ in flips_and_rotations()]
    assert len(transformed) == 8
    assert all(torch.equal(undo(transform(x)), x) for transform, undo in flips_and_rotations())
    assert all(transform(x).shape == x.shape for transform, _ in flips_and_rotations(swaps=(False,)))
    assert len({t.numpy().tobytes() + bytes(t.shape) for t in transformed}) == 8


def test_pixels_that_are_not_finite_are_kept() -> None:
    image = np.random.default_rng(0).normal(100, 10, (40, 40)).astype(np.float32)
    clean = run(random_net(2), image, "YX", None, False)
    image[3, 4], image[20:22, 7] = np.nan, np.inf
    result = run(random_net(2), image, "YX", None, False)
    assert np.isnan(result[3, 4]) and np.isinf(result[20:22, 7]).all()
    assert np.isfinite(result).sum() == image.size - 3
    assert np.isfinite(clean).all()


@pytest.mark.parametrize("value", [float("nan"), 3e38])
def test_a_network_that_computes_no_finite_values_is_refused(value: float) -> None:
    """Written as integers they would be zeros."""
    net = random_net(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(value)
    with pytest.raises(UserError, match="the model gives values that are not finite for this image"):
        run(net, np.random.default_rng(0).normal(100, 10, (40, 40)).astype(np.float32), "YX", None, False)


def test_standard_deviations_of_pixels_that_are_not_finite_are_nan() -> None:
    image = np.random.default_rng(0).normal(100, 10, (40, 40)).astype(np.float32)
    image[3, 4], image[20:22, 7] = np.nan, np.inf
    ((mean, _), (std, _)) = tiled_and_whole(PN2V(), exact(2, PN2V()), image, (16, 16))
    np.testing.assert_array_equal(mean[~np.isfinite(image)], image[~np.isfinite(image)])
    assert np.isnan(std[3, 4]) and np.isnan(std[20:22, 7]).all()
    assert np.isfinite(std).sum() == image.size - 3 and (std[np.isfinite(std)] > 0).all()


def test_the_variance_of_an_average_is_the_mean_of_the_variances() -> None:
    method, net = CARE(uncertainty=True), exact(2, CARE())
    image = torch.randn((1, 1, 12, 14), generator=torch.Generator().manual_seed(0)) + 100
    found = Predictor(method, net, average=True).posterior(image)
    with torch.no_grad():
        parts = [
            (undo(one.mean), undo(one.std))
            for transform, undo in flips_and_rotations()
            for one in [method.posterior(net, transform(image))]
        ]
    torch.testing.assert_close(found.mean, torch.stack([mean for mean, _ in parts]).mean(0))
    torch.testing.assert_close(found.std, torch.stack([std**2 for _, std in parts]).mean(0).sqrt())
    assert len({float(std[0, 0, 3, 4]) for _, std in parts}) == 8


def test_a_method_without_deviations_cannot_write_them() -> None:
    source = open_source(np.ones((20, 20), np.float32))
    sinks = [MemorySink(source.shape, np.float32) for _ in range(2)]
    with pytest.raises(UserError, match="without a standard deviation; leave out std"):
        Predictor(N2V(), exact(2, N2V())).predict_to(source, Layout("YX", "YX"), Outputs(*sinks))


def test_folded_batch_norm_is_the_same_function() -> None:
    net = random_net(2, "classic")
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -1, 1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    x = torch.randn(1, 1, 32, 32) * 10 + 100
    lean = fold_batch_norm(net)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in lean.modules())
    torch.testing.assert_close(lean(x), net(x), rtol=1e-4, atol=1e-3)


def test_a_pool_within_a_pool_computes_in_turn():
    """Otherwise its threads would change the number of OpenMP threads for one another."""
    before = torch.get_num_threads()

    def inner(number):
        return threads.in_parallel(lambda one: (number * one, threading.get_ident()), range(5))

    with threads.pool(2) as pool:
        found = list(pool.map(inner, range(4)))
    assert [[value for value, _ in part] for part in found] == [[i * k for k in range(5)] for i in range(4)]
    assert all(len({thread for _, thread in part}) == 1 for part in found)
    assert torch.get_num_threads() == before
