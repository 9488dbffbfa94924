"""Tiles are data that cover the image once; a tiled prediction is the whole one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noisewise.axes import Layout
from noisewise.io import open_source
from noisewise.io.memory import MemorySink
from noisewise.methods.base import ImageSpec
from noisewise.methods.n2v import N2V
from noisewise.nets.standardized import Standardized
from noisewise.predict.fold import folded
from noisewise.predict.plan import plan_tiles, tile_within
from noisewise.predict.run import Predictor, turns


def random_net(dims: int, network: str = "fast") -> Standardized:
    """A network with weights that pass signals on, so that a wrong halo would show."""
    torch.manual_seed(1)
    spec = ImageSpec(
        spatial="ZYX"[-dims:], channels=1, spacing=(2.0, 1.0, 1.0)[-dims:], size=(9, 64, 64)[-dims:],
        mean=(100.0,), std=(10.0,), target_mean=(100.0,), target_std=(10.0,),
    )  # fmt: skip
    net = N2V(network=network, features=6).build(spec)  # type: ignore[arg-type]
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


def run(net: Standardized, image: np.ndarray, axes: str, tile: tuple[int, ...] | None, average: bool) -> np.ndarray:
    source = open_source(image, axes)
    sink = MemorySink(source.shape, np.float32)
    predictor = Predictor(N2V(), net, tile=tile, average=average)
    predictor.run(source, Layout(axes, "ZYX"[-net.dims :]), sink)
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
    one = run(net, image[:, 1], "ZYX", None, False)
    np.testing.assert_allclose(whole[:, 1], one, atol=1e-3 * max(10, whole.std()))


def test_a_halo_that_is_too_small_would_be_seen() -> None:
    """The test above can fail: without a halo the same network shows seams."""
    net = random_net(2)
    image = np.random.default_rng(0).normal(100, 10, (128, 128)).astype(np.float32)
    source, layout = open_source(image), Layout("YX", "YX")
    whole = run(net, image, "YX", None, False)
    predictor = Predictor(N2V(), net, tile=(32, 32))
    predictor.halo = (0, 0)
    sink = MemorySink(source.shape, np.float32)
    predictor.run(source, layout, sink)
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


def test_out_of_memory_is_survived_with_smaller_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    net = random_net(2)
    image = np.random.default_rng(0).normal(100, 10, (200, 180)).astype(np.float32)
    whole = run(net, image, "YX", None, False)
    mean = Predictor.mean

    def scarce(self: Predictor, noisy: torch.Tensor) -> torch.Tensor:
        if noisy[0, 0].numel() > 150 * 150:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return mean(self, noisy)

    monkeypatch.setattr(Predictor, "mean", scarce)
    np.testing.assert_allclose(run(net, image, "YX", None, False), whole, atol=1e-2)


def test_turns_undo_themselves() -> None:
    x = torch.randn(2, 1, 5, 7)
    turned = [turn(x) for turn, _ in turns()]
    assert len(turned) == 8
    assert all(torch.equal(undo(turn(x)), x) for turn, undo in turns())
    assert all(turn(x).shape == x.shape for turn, _ in turns(swaps=(False,)))
    assert len({t.numpy().tobytes() + bytes(t.shape) for t in turned}) == 8


def test_nan_stays_where_it_was() -> None:
    image = np.random.default_rng(0).normal(100, 10, (40, 40)).astype(np.float32)
    clean = run(random_net(2), image, "YX", None, False)
    image[3, 4], image[20:22, 7] = np.nan, np.inf
    result = run(random_net(2), image, "YX", None, False)
    assert np.isnan(result[3, 4]) and np.isinf(result[20:22, 7]).all()
    assert np.isfinite(result).sum() == image.size - 3
    assert np.isfinite(clean).all()


def test_folded_batch_norm_is_the_same_function() -> None:
    net = random_net(2, "classic")
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -1, 1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    x = torch.randn(1, 1, 32, 32) * 10 + 100
    lean = folded(net)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in lean.modules())
    torch.testing.assert_close(lean(x), net(x), rtol=1e-4, atol=1e-3)
