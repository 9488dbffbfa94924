"""Blind spots: shapes, hidden pixels, their replacement, and predictions of pixels that were never seen."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import noisewise as nw
from noisewise.axes import Layout, Symmetry
from noisewise.data.images import TrainingImage
from noisewise.data.patches import PatchSource
from noisewise.io import open_source
from noisewise.methods.base import Batch, Denoiser
from noisewise.methods.n2v import N2V
from noisewise.nets.blind import (
    draw_mask,
    grid_coordinates,
    hidden_pixels,
    hide,
    is_anisotropic,
    lattice_sides,
    lattices,
    parse_shape,
    predict_blind,
    window_radius,
)
from noisewise.noise.base import Noise
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.ops.correlation_length import correlated_offsets
from noisewise.predict.run import Predictor
from noisewise.workflow.training import Training

from .conftest import denoiser, image_spec

ROW = tuple((0, x) for x in (-2, -1, 1, 2))
CROSS = ((-1, 0), (0, -1), (0, 1), (1, 0))
MASKINGS = ["uniform", "mean", "median"]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- shapes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "dims", "offsets"),
    [
        ("pixel", 2, ()),
        ("pixel", 3, ()),
        ("1x1", 2, ()),
        ("1x5", 2, ROW),
        ("1x5", 3, [(0, *o) for o in ROW]),
        ("5x1", 2, [(y, x) for x, y in ROW]),
        ("3x3", 2, [o for o in product((-1, 0, 1), repeat=2) if any(o)]),
        ("3x1x1", 3, [(-1, 0, 0), (1, 0, 0)]),
        ("3x1x3", 3, [(z, 0, x) for z, x in product((-1, 0, 1), repeat=2) if z or x]),
        ("010/111/010", 2, CROSS),
        ("11111", 2, ROW),
        ("000/000/000", 2, ()),
        ("010/111/010", 3, [(0, *o) for o in CROSS]),
        ("000/010/000|010/111/010|000/010/000", 3, [(-1, 0, 0), (1, 0, 0), *((0, *o) for o in CROSS)]),
        ("011", 2, [(0, -1), (0, 1)]),  # with its mirror images
        ("100/010/000", 2, [(-1, -1), (-1, 1), (1, -1), (1, 1)]),
        ("1/1/0", 2, [(-1, 0), (1, 0)]),
    ],
)
def test_shapes_are_parsed(text: str, dims: int, offsets: list[tuple[int, ...]]) -> None:
    found = parse_shape(text, dims)
    assert len(found) == len(set(found)) and set(found) == set(offsets)


def test_an_11_row_hides_five_pixels_to_each_side() -> None:
    assert set(parse_shape("1x11", 2)) == {(0, x) for x in range(-5, 6) if x}


WRONG = [
    ("2x3", 2), ("1x10", 2), ("11/11", 2), ("1/1", 2), ("0x3", 2), ("-1x3", 2), ("1x-3", 2), ("axb", 2), ("x", 2),
    ("3x", 2), ("1.5x3", 2), ("", 2), ("row", 2), ("012/111/210", 2), ("111/1", 2), ("3x3x3", 2), ("1x1x1x1", 3),
    ("1|1|1", 2), ("010 111 010", 2),
]  # fmt: skip


@pytest.mark.parametrize(("text", "dims"), WRONG)
def test_text_that_is_not_a_shape_is_a_value_error(text: str, dims: int) -> None:
    with pytest.raises(ValueError):
        parse_shape(text, dims)


@pytest.mark.parametrize(("text", "dims"), WRONG)
def test_text_that_is_not_a_shape_gives_one_sentence_to_the_user(text: str, dims: int) -> None:
    with pytest.raises(nw.UserError, match=r"is not a shape .*; give pixel, auto, a size such as 1x11"):
        N2V(blind_shape=text).shape((), dims)


def test_an_impossible_shape_is_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noisewise.workflow.training.fit", None)
    with pytest.raises(nw.UserError, match="blind_shape '4x4'"):
        nw.train("n2v", np.random.default_rng(0).normal(size=(32, 32)), blind_shape="4x4", steps=2)


@pytest.mark.parametrize(
    ("shape", "radius", "expected"),
    [
        ((), 1, 1), ((), 3, 3), (ROW, 1, 1), (CROSS, 1, 1), (parse_shape("3x3", 2), 1, 2),
        (parse_shape("3x3", 2), 3, 3), (parse_shape("5x5", 2), 1, 3), (parse_shape("5x3", 2), 1, 2),
        (parse_shape("3x3x3", 3), 1, 2), (parse_shape("1x3x3", 3), 1, 1),
    ],
)  # fmt: skip
def test_a_window_reaches_out_of_its_shape(shape: tuple, radius: int, expected: int) -> None:
    assert window_radius(shape, radius) == expected


# -- what is hidden --------------------------------------------------------------------------------


def hidden_by_hand(blind: Tensor, shape: tuple) -> Tensor:
    hidden = blind.clone()
    for sample, channel, *centre in blind.nonzero().tolist():
        for offset in shape:
            at = [c + o for c, o in zip(centre, offset, strict=True)]
            if all(0 <= a < n for a, n in zip(at, blind.shape[2:], strict=True)):
                hidden[(sample, channel, *at)] = True
    return hidden


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ((9, 7), "pixel"), ((9, 7), "1x5"), ((9, 7), "5x1"), ((9, 7), "010/111/010"), ((9, 7), "3x3"),
        ((3, 4), "1x11"), ((1, 6), "5x5"), ((5, 8, 7), "1x1x5"), ((5, 8, 7), "3x1x3"), ((2, 3, 9), "5x3x1"),
    ],
)  # fmt: skip
def test_hidden_pixels_against_brute_force(size: tuple[int, ...], text: str) -> None:
    shape = parse_shape(text, len(size))
    blind = torch.rand((2, 3, *size), generator=rng(1)) < 0.1
    for axis in range(2, 2 + len(size)):  # borders have their share
        blind.select(axis, 0)[0, 0] |= torch.rand(blind.select(axis, 0)[0, 0].shape, generator=rng(axis)) < 0.3
        blind.select(axis, -1)[1, 2] |= torch.rand(blind.select(axis, -1)[1, 2].shape, generator=rng(axis)) < 0.3
    before = blind.clone()
    assert torch.equal(hidden_pixels(blind, shape), hidden_by_hand(blind, shape))
    assert torch.equal(blind, before)


def sparse(size: tuple[int, ...]) -> Tensor:
    """Few centres: in corners, on a border, inside, and two with common surroundings."""
    blind = torch.zeros((1, 1, *size), dtype=torch.bool)
    *front, y, x = (n - 1 for n in size)
    for at in ((0, 0), (y, x), (0, x // 2), (y // 2, x // 2), (y // 2 + 1, x // 2 + 1)):
        blind[(0, 0, *(n // 2 for n in front), *at)] = True
    return blind


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize(
    ("size", "text"),
    [
        ((24, 30), "pixel"), ((24, 30), "1x11"), ((24, 30), "11x1"), ((24, 30), "3x3"), ((24, 30), "5x5"),
        ((24, 30), "010/111/010"), ((4, 14, 17), "1x1x7"), ((4, 14, 17), "3x3x3"),
    ],
)  # fmt: skip
def test_the_replaced_image_does_not_depend_on_hidden_pixels(size: tuple[int, ...], text: str, masking: str) -> None:
    x, blind, shape = torch.rand((1, 1, *size), generator=rng(1)), sparse(size), parse_shape(text, len(size))
    hidden = hidden_by_hand(blind, shape)
    one = hide(x, blind, masking, 1, rng(2), shape)
    two = hide(torch.where(hidden, torch.rand(x.shape, generator=rng(3)) + 100, x), blind, masking, 1, rng(2), shape)
    assert torch.equal(one, two)
    assert torch.equal(one[~hidden], x[~hidden]) and (one[hidden] <= 1).all()


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("text", ["1x11", "11x1", "5x5", "3x3"])
def test_the_same_where_blind_spots_lie_close_together(text: str, masking: str) -> None:
    """As dense as in training, and as held-out pixels, of which 3 % are drawn without regard to each other."""
    shape = parse_shape(text, 2)
    for blind in (
        draw_mask(torch.Size((4, 1, 64, 64)), lattice_sides(5.0, shape, 2), rng()),
        torch.rand((1, 1, 64, 64), generator=rng(1)) < 0.03,
    ):
        hidden = hidden_pixels(blind, shape)
        x = torch.rand(blind.shape, generator=rng(2))
        one = hide(x, blind, masking, 1, rng(3), shape)
        two = hide(torch.where(hidden, x + 100, x), blind, masking, 1, rng(3), shape)
        assert (one != two).sum().item() == 0


@pytest.mark.parametrize("text", ["pixel", "1x5", "3x3", "010/111/010"])
def test_the_mean_is_that_of_the_visible_neighbours(text: str) -> None:
    x, blind, shape = torch.rand((1, 1, 24, 30), generator=rng(1)), sparse((24, 30)), parse_shape(text, 2)
    hidden, radius = hidden_by_hand(blind, shape)[0, 0], window_radius(shape, 1)
    found = hide(x, blind, "mean", 1, rng(), shape)[0, 0]
    for y, x0 in hidden.nonzero().tolist():
        window = (slice(max(0, y - radius), y + radius + 1), slice(max(0, x0 - radius), x0 + radius + 1))
        expected = x[0, 0][window][~hidden[window]].double().mean().item()
        assert found[y, x0].item() == pytest.approx(expected, abs=1e-6)


def test_the_loss_scores_centres_only_and_hides_their_shape() -> None:
    """Held-out pixels are the centres: others may have any value, unless the network sees them."""
    method, net = N2V(blind_shape="1x5"), denoiser(Tiny(2, 1, 1))
    x, valid = torch.rand((1, 1, 24, 30), generator=rng()), torch.zeros((1, 1, 24, 30), dtype=torch.bool)
    valid[0, 0, 12, 15] = True

    def loss(image: Tensor) -> float:
        return method.loss(net, Batch(noisy=image, valid=valid, generator=rng(), held_out=True)).item()

    def changed(y: int, x0: int) -> Tensor:
        image = x.clone()
        image[0, 0, y, x0] += 1
        return image

    for beside in (13, 14, 16, 17):
        assert loss(changed(12, beside)) == loss(x)
    assert loss(changed(11, 15)) != loss(x)
    predicted = net(hide(x, valid, "mean", 1, rng(), ROW))[0, 0, 12, 15].item()
    assert loss(x) == pytest.approx((predicted - x[0, 0, 12, 15].item()) ** 2, rel=1e-5)


# -- lattices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["pixel", "1x11", "11x1", "3x3", "010/111/010"])
@pytest.mark.parametrize(("dims", "percent"), [(2, 1.0), (2, 5.0), (2, 20.0), (2, 50.0), (3, 1.0), (3, 5.0), (3, 20.0)])
def test_every_pixel_is_a_centre_once_and_blind_spots_do_not_touch(dims: int, percent: float, text: str) -> None:
    shape = parse_shape(text, dims)
    sides = lattice_sides(percent, shape, dims)
    size = (6, 17, 26)[-dims:]
    spot = np.array([(0,) * dims, *shape])
    near = np.array(list(product((-1, 0, 1), repeat=dims)))
    # Between two centres, when a pixel of one spot is one of the other, or next to it.
    touching = {tuple(d) for d in (spot[:, None, None] - spot[:, None] + near).reshape(-1, dims).tolist()}
    count = torch.zeros(size, dtype=torch.int)
    for phase, centres in enumerate(lattices(grid_coordinates(torch.zeros((1, 1, *size))), sides)):
        count += centres[0]
        if phase % 7 == 0:
            at = centres[0].nonzero().numpy()
            between = {tuple(d) for d in (at[:, None] - at).reshape(-1, dims).tolist()}
            assert between & touching <= {(0,) * dims}
    assert (count == 1).all()


@pytest.mark.parametrize("text", ["1x11", "3x3", "5x5", "010/111/010"])
@pytest.mark.parametrize("dims", [2, 3])
def test_with_a_shape_no_more_than_a_quarter_is_hidden(text: str, dims: int) -> None:
    shape = parse_shape(text, dims)
    assert (1 + len(shape)) / prod(lattice_sides(50.0, shape, dims)) <= 0.25
    assert 1 / prod(lattice_sides(1.0, shape, dims)) <= 0.01


@pytest.mark.parametrize(("size", "origin"), [((23, 27), (5, 11)), ((5, 13, 12), (2, 3, 7))])
def test_a_lattice_follows_the_coordinates_of_the_image_not_of_the_tile(
    size: tuple[int, ...], origin: tuple[int, ...]
) -> None:
    whole = grid_coordinates(torch.zeros((1, 1, *size)))
    tile = grid_coordinates(torch.zeros((1, 1, *(n - o for n, o in zip(size, origin, strict=True)))), origin)
    cut = tuple(slice(o, None) for o in origin)
    sides = lattice_sides(5.0, (), len(size))
    pairs = list(zip(lattices(whole, sides), lattices(tile, sides), strict=True))
    assert len(pairs) == prod(sides)
    assert all(torch.equal(one[0][cut], other[0]) for one, other in pairs)


# -- predictions -----------------------------------------------------------------------------------


class Tiny(nn.Module):
    """Two convolutions and a bend: sees five pixels along each axis, with several heads."""

    def __init__(self, dims: int, channels: int, heads: int) -> None:
        super().__init__()
        torch.manual_seed(3)
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.first, self.second = conv(channels, 6, 3, padding=1), conv(6, channels * heads, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


def tiny(dims: int, channels: int = 1, heads: int = 1, joint: bool = False) -> Denoiser:
    mean, std = [100.0 + c for c in range(channels)], [10.0 + c for c in range(channels)]
    backbone = Tiny(dims, channels if joint else 1, heads)
    return denoiser(backbone, mean, std, dims=dims, independent=not joint, heads=heads).eval()


def noisy_like(*shape: int) -> Tensor:
    return 100 + 10 * torch.randn(shape, generator=rng(5))


CASES = [
    # images, channels, size, joint, heads, shape
    (1, 1, (11, 13), False, 1, "pixel"),
    (2, 1, (11, 13), False, 3, "pixel"),
    (2, 3, (9, 10), False, 2, "pixel"),
    (1, 3, (9, 10), True, 2, "pixel"),
    (1, 1, (3, 7, 8), False, 2, "pixel"),
    (1, 2, (3, 7, 8), True, 1, "pixel"),
    (1, 1, (11, 13), False, 2, "1x5"),
    (2, 2, (9, 10), True, 1, "1x5"),
    (1, 1, (9, 10), False, 1, "3x3"),
    (1, 1, (3, 7, 8), False, 1, "1x3x1"),
    (1, 1, (1, 24), False, 1, "pixel"),
    (1, 1, (1, 24), False, 1, "1x5"),
    (1, 1, (3, 3), False, 1, "3x3"),
]


def hide_by_hand(image: Tensor, blind: Tensor, shape: tuple, radius: int) -> Tensor:
    """One image (*S): the mean of the visible neighbours in place of what is hidden; NaN where there are none."""
    hidden = hidden_by_hand(blind[None, None], shape)[0, 0]
    found = image.clone()
    for at in hidden.nonzero().tolist():
        window = tuple(slice(max(0, a - radius), a + radius + 1) for a in at)
        found[tuple(at)] = image[window][~hidden[window]].mean()
    return found


@pytest.mark.parametrize(("images", "channels", "size", "joint", "heads", "text"), CASES[:10])
def test_a_blind_prediction_against_a_loop(
    images: int, channels: int, size: tuple[int, ...], joint: bool, heads: int, text: str
) -> None:
    """Pixel by pixel: hide its blind spot and those of its phase, run the network, and take that pixel."""
    dims = len(size)
    net, noisy, shape = tiny(dims, channels, heads, joint), noisy_like(images, channels, *size), parse_shape(text, dims)
    found = predict_blind(net, noisy, None, 5.0, 1, shape).reshape(heads, images, channels, *size)
    sides, radius = torch.tensor(lattice_sides(5.0, shape, dims)), window_radius(shape, 1)
    where = torch.stack(torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij"), -1)
    rng_np = np.random.default_rng(0)
    compared = 0
    for _ in range(8):
        n, c, *at = (int(rng_np.integers(k)) for k in (images, channels, *size))
        blind = ((where - torch.tensor(at)) % sides == 0).all(-1)
        x = (noisy[n] - net.mean) / net.std
        if hide_by_hand(x[c], blind, shape, radius).isnan().any():
            continue  # the window is too small there
        compared += 1
        with torch.no_grad():
            if joint:
                x[c] = hide_by_hand(x[c], blind, shape, radius)
                expected = net.backbone(x[None])[0].reshape(heads, channels, *size)[:, c]
            else:
                expected = net.backbone(hide_by_hand(x[c], blind, shape, radius)[None, None])[0]
        torch.testing.assert_close(found[(slice(None), n, c, *at)], expected[(slice(None), *at)], rtol=1e-4, atol=1e-5)
    assert compared >= 5


@pytest.mark.parametrize(("images", "channels", "size", "joint", "heads", "text"), CASES)
def test_a_blind_prediction_never_saw_its_pixel_nor_its_shape(
    images: int, channels: int, size: tuple[int, ...], joint: bool, heads: int, text: str
) -> None:
    dims = len(size)
    net, noisy, shape = tiny(dims, channels, heads, joint), noisy_like(images, channels, *size), parse_shape(text, dims)

    def predict(image: Tensor) -> Tensor:
        with torch.no_grad():
            return predict_blind(net, image, None, 5.0, 1, shape).reshape(heads, images, channels, *size)

    before = predict(noisy)
    rng_np = np.random.default_rng(1)
    corners = [[0] * dims, [min(1, n - 1) for n in size], [n - 1 for n in size], [max(0, n - 2) for n in size]]
    for at in [*corners, [n // 2 for n in size], *(rng_np.integers(0, size, (2, dims)).tolist())]:
        n, c = int(rng_np.integers(images)), int(rng_np.integers(channels))
        blind = torch.zeros((1, 1, *size), dtype=torch.bool)
        blind[(0, 0, *at)] = True
        spot = hidden_by_hand(blind, shape)[0, 0]
        other = noisy.clone()
        other[n, c][spot] += 50 * torch.randn(int(spot.sum()), generator=rng(7))
        after = predict(other)
        assert torch.equal(before[(slice(None), n, c, *at)], after[(slice(None), n, c, *at)])
        if min(size) > 3:  # what is visible counts
            assert not torch.equal(before[:, n, c], after[:, n, c])


@pytest.mark.parametrize("joint", [False, True])
def test_images_from_different_places_are_predicted_as_if_alone(joint: bool) -> None:
    """And as if it began at zero: what is hidden with a pixel lies at multiples of the lattice's sides around it."""
    net, noisy = tiny(2, 2, joint=joint), noisy_like(2, 2, 9, 10)
    where = torch.cat([grid_coordinates(noisy, origin) for origin in ((0, 0), (3, 7))])
    with torch.no_grad():
        together = predict_blind(net, noisy, where, 5.0, 1).reshape(2, 2, 9, 10)
        alone = [predict_blind(net, noisy[n : n + 1], where[n : n + 1], 5.0, 1).reshape(2, 9, 10) for n in range(2)]
        anywhere = predict_blind(net, noisy, None, 5.0, 1).reshape(2, 2, 9, 10)
    torch.testing.assert_close(together, torch.stack(alone))
    torch.testing.assert_close(together, anywhere)


def test_joint_channels_see_the_pixel_of_the_other_channels() -> None:
    net, noisy = tiny(2, 2, joint=True), noisy_like(1, 2, 9, 10)
    other = noisy.clone()
    other[0, 1, 4, 4] += 50
    with torch.no_grad():
        before, after = (predict_blind(net, image, None, 5.0, 1)[0] for image in (noisy, other))
    assert before[0, 0, 4, 4] != after[0, 0, 4, 4] and before[0, 1, 4, 4] == after[0, 1, 4, 4]


def test_n2v_predicts_blind_if_asked_in_image_units() -> None:
    net, noisy = tiny(2), noisy_like(1, 1, 11, 13)
    other = noisy.clone()
    other[0, 0, 5, 6] += 50
    for blind in (True, False):
        method = N2V(blind_prediction=blind)
        with torch.no_grad():
            before, after = (method.posterior(net, image).mean for image in (noisy, other))
        assert (before[0, 0, 5, 6] == after[0, 0, 5, 6]) == blind
        assert before.shape == noisy.shape
    with torch.no_grad():
        encoded = predict_blind(net, noisy, None, 5.0, 1)[0]
    torch.testing.assert_close(N2V(blind_prediction=True).posterior(net, noisy).mean, encoded * 10 + 100)


@pytest.mark.parametrize("network", ["fast", "classic"])
@pytest.mark.parametrize("average", [False, True])
def test_the_same_where_the_size_is_no_multiple_of_the_pooling_factor(network: str, average: bool) -> None:
    """Padding up to the pooling grid repeats border pixels: it must not reveal them."""
    spec = image_spec(mean=(100.0,), std=(10.0,), size=(21, 19))
    method = N2V(network=network, features=4, depth=2, blind_prediction=True)  # type: ignore[arg-type]
    torch.manual_seed(0)
    net = method.build(spec).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    predictor, noisy = Predictor(method, net, average=average), noisy_like(1, 1, 21, 19)
    before = predictor.mean(noisy)
    for y, x in ((20, 18), (20, 5), (7, 18), (0, 0), (10, 10)):
        other = noisy.clone()
        other[0, 0, y, x] += 50
        after = predictor.mean(other)
        assert torch.equal(before[0, 0, y, x], after[0, 0, y, x]), (y, x)
        assert not torch.equal(before, after)


# -- the correlation length of noise ---------------------------------------------------------------


def correlation_along(noise_model: Correlated, axis: int, lag: int) -> float:
    """Correlation of sampled noise at a lag along an axis, for a constant signal."""
    noise = noise_model.sample(torch.full((40, 64, 64), 100.0, dtype=torch.float64), rng(1)) - 100
    size = noise.shape[axis] - lag
    one, two = noise.narrow(axis, 0, size), noise.narrow(axis, lag, size)
    return float((one * two).mean() / noise.var())


def test_row_offsets_are_hidden_along_x() -> None:
    rows = Correlated(Gaussian(10.0), row_kernel=6.0)
    assert correlation_along(rows, 2, 3) == pytest.approx(36 / 136, abs=0.03)  # along X
    assert abs(correlation_along(rows, 1, 1)) < 0.03
    assert set(correlated_offsets((rows,), 2)) == {(0, x) for x in range(-5, 6) if x}
    assert set(correlated_offsets((rows,), 3)) == {(0, 0, x) for x in range(-5, 6) if x}


def test_column_offsets_are_hidden_along_y() -> None:
    columns = Correlated(Gaussian(10.0), column_kernel=6.0)
    assert correlation_along(columns, 1, 3) == pytest.approx(36 / 136, abs=0.03)  # along Y
    assert abs(correlation_along(columns, 2, 1)) < 0.03
    assert set(correlated_offsets((columns,), 2)) == {(y, 0) for y in range(-5, 6) if y}


def test_noise_shared_between_slices_is_hidden_too() -> None:
    """The powers of 0.75 stay above 0.05 over ten slices; each slice has its own row offsets."""
    noise_model = Correlated(Gaussian(10.0), slice_correlation=0.75)
    for lag in (1, 2, 4):
        assert correlation_along(noise_model, 0, lag) == pytest.approx(0.75**lag, abs=0.03)
    assert abs(correlation_along(noise_model, 1, 1)) < 0.03 and abs(correlation_along(noise_model, 2, 1)) < 0.03
    assert correlated_offsets((noise_model,), 2) == ()
    assert set(correlated_offsets((noise_model,), 3, 20)) == {(z, 0, 0) for z in range(-10, 11) if z}
    rows = Correlated(Gaussian(10.0), kernel=torch.ones(1, 2), row_kernel=4.0, slice_correlation=-0.3)
    noise = rows.sample(torch.full((16, 256, 64), 5.0), rng(2)) - 5
    assert float((noise[1:] * noise[:-1]).mean() / noise.var()) == pytest.approx(-0.3 * 100 / 116, abs=0.02)
    shared = {(0, 0, x) for x in range(-5, 6)} | {(z, 0, x) for z in (-1, 1) for x in (-1, 0, 1)}
    shared |= {(z, 0, 0) for z in (-2, 2)}
    assert set(correlated_offsets((rows,), 3)) == shared - {(0, 0, 0)}
    assert N2V(blind_shape="auto").shape((noise_model,), 2) == ()


def test_correlated_noise_is_hidden_up_to_its_correlation_length() -> None:
    """The autocorrelation of three equal weights along X is 2/3 and 1/3; of 1 and 0.2 along Y it is 0.19."""
    along_x = Correlated(Gaussian(10.0), kernel=torch.ones(1, 3))
    assert correlation_along(along_x, 2, 1) == pytest.approx(2 / 3, abs=0.03)
    assert set(correlated_offsets((along_x,), 2)) == {(0, x) for x in (-2, -1, 1, 2)}
    along_y = Correlated(Gaussian(10.0), kernel=torch.tensor([[0.0], [1.0], [0.2]]))
    assert correlation_along(along_y, 1, 1) == pytest.approx(0.2 / 1.04, abs=0.03)
    assert set(correlated_offsets((along_y,), 2)) == {(-1, 0), (1, 0)}
    assert set(correlated_offsets((along_x, along_y), 2)) == {*((0, x) for x in (-2, -1, 1, 2)), (-1, 0), (1, 0)}


def test_white_noise_hides_nothing_more() -> None:
    faint = Correlated(Gaussian(10.0), row_kernel=1.0)  # 1 % of the variance
    for noise_models in ((), (Gaussian(3.0),), (Correlated(Gaussian(10.0)),), (faint,)):
        assert correlated_offsets(noise_models, 2) == ()


def test_auto_takes_the_shape_from_the_noise_model() -> None:
    method = N2V(blind_shape="auto")
    rows, white = Correlated(Gaussian(10.0), row_kernel=6.0), Gaussian(10.0)
    assert set(method.shape((rows,), 2)) == {(0, x) for x in range(-25, 26) if x} and method.shape((white,), 2) == ()
    assert not method.traits.symmetry((rows,), 2).swap_yx and method.traits.symmetry((white,), 2).swap_yx
    assert method.traits.noise == "correlated" and N2V().traits.noise == "none"


# -- anisotropic shapes are not rotated ------------------------------------------------------------


def test_shapes_that_change_when_rotated() -> None:
    assert (
        is_anisotropic(parse_shape("1x11", 2))
        and is_anisotropic(parse_shape("5x3", 2))
        and is_anisotropic(parse_shape("1x1x3", 3))
    )
    assert not any(is_anisotropic(parse_shape(text, 2)) for text in ("pixel", "3x3", "010/111/010", "101/010/101"))
    assert not is_anisotropic(parse_shape("5x1x1", 3))  # Z is never swapped


def test_patches_are_not_rotated_where_y_and_x_differ() -> None:
    """Neighbours along X of a numbered image differ by one, unless the patch was rotated."""
    image = np.arange(64 * 70, dtype=np.float32).reshape(64, 70)
    images = [TrainingImage(open_source(image), Layout("YX", "YX"))]
    for allowed, expected in ((True, {1.0, 70.0}), (False, {1.0})):
        data = PatchSource(
            images,
            (16, 16),
            2,
            seed=0,
            memory_bytes=1e9,
            device=torch.device("cpu"),
            symmetry=Symmetry(swap_yx=allowed),
        )
        drawn = [data.draw(step) for step in range(40)]
        steps = torch.cat([(d.noisy[..., 1:] - d.noisy[..., :-1]).flatten() for d in drawn])
        assert set(steps.abs().tolist()) == expected and {1.0, -1.0} <= set(steps.tolist())  # mirrored all the same
        for d in drawn:  # coordinates go with their pixels
            y, x = d.coordinates.unbind(1)
            assert torch.equal((70 * y + x).float(), d.noisy[:, 0])


@pytest.mark.parametrize(
    ("settings", "noise_model", "allowed"),
    [
        ({}, None, True), ({"blind_shape": "1x11"}, None, False), ({"blind_shape": "3x3"}, None, True),
        ({"blind_shape": "auto"}, Correlated(Gaussian(10.0), row_kernel=6.0), False),
        ({"blind_shape": "auto"}, Gaussian(10.0), True),
    ],
)  # fmt: skip
def test_training_rotates_patches_unless_the_method_is_anisotropic(
    settings: dict, noise_model: Noise | None, allowed: bool
) -> None:
    image = np.random.default_rng(0).normal(100, 10, (32, 32)).astype(np.float32)
    noise_models = [] if noise_model is None else [noise_model]
    training = Training(N2V(features=4, **settings), [open_source(image)], noise_models=noise_models)
    assert training.patches.symmetry.swap_yx is allowed


@pytest.mark.parametrize(("text", "count"), [("pixel", 8), ("3x3", 8), ("1x5", 4)])
def test_the_average_is_over_flips_and_over_rotations_where_they_are_allowed(text: str, count: int) -> None:
    net, noisy = tiny(2), noisy_like(1, 1, 12, 14)
    found = Predictor(N2V(blind_shape=text), net, average=True).mean(noisy)
    expected = []
    for swap, flips in product((False, True)[: count // 4], ((), (2,), (3,), (2, 3))):
        rotated = (noisy.mT if swap else noisy).flip(flips)
        with torch.no_grad():
            result = net(rotated).flip(flips)
        expected.append(result.mT if swap else result)
    assert len(expected) == count
    torch.testing.assert_close(found, torch.stack(expected).mean(0))
    swapped = (expected[0] - torch.stack(expected).mean(0)).abs().max()
    assert swapped > 0.1  # this network treats the axes differently
