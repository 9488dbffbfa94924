"""Axis letters, regions and the conversion to and from the layout of the network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisewise.axes import Layout, guess_axes, parse_axes, region_shape, whole
from noisewise.errors import UserError


def test_parse_axes() -> None:
    assert parse_axes("tczyx", 5) == "TCZYX"
    for text, ndim, words in (
        ("QYX", 3, "unknown letter 'Q'"),
        ("YYX", 3, "repeated"),
        ("TZ", 2, "Y and X are required"),
        ("ZYX", 2, "name 3 dimensions, but the image has 2"),
    ):
        with pytest.raises(UserError, match=words):
            parse_axes(text, ndim)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((9, 9), "YX"),
        ((9, 9, 3), "YXC"),
        ((3, 3, 3), "SYX"),
        ((7, 9, 9), "SYX"),
        ((7, 9, 9, 4), "SYXC"),
        ((2, 7, 9, 9), "SZYX"),
        ((2, 2, 7, 9, 9), "TCZYX"),
    ],
)
def test_guess_axes(shape: tuple[int, ...], axes: str) -> None:
    assert guess_axes(shape) == axes


@pytest.mark.parametrize("shape", [(), (3,), (1, 1, 1, 1, 9, 9), (2, 2, 2, 9, 9, 3)])
def test_guess_axes_refuses(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="2 to 5 dimensions"):
        guess_axes(shape)


@settings(deadline=None)
@given(st.data())
def test_layout_round_trip(data: st.DataObject) -> None:
    letters = data.draw(st.permutations("STACZYX"))
    axes = "".join(a for a in letters if a in "YX" or data.draw(st.booleans()))
    shape = tuple(data.draw(st.integers(1, 4)) for _ in axes)
    spatial = "ZYX" if "Z" in axes and data.draw(st.booleans()) else "YX"
    image = np.arange(np.prod(shape)).reshape(shape)
    layout = Layout(axes, spatial)
    stack = layout.to_network(image)
    sizes = dict(zip(axes, shape, strict=True))
    assert stack.shape[1:] == (sizes.get("C", 1), *(sizes[a] for a in spatial))
    np.testing.assert_array_equal(layout.from_network(stack, shape), image)
    # The n-th image of the stack is the n-th region, with its channels and space in the network's order.
    regions = list(layout.images(shape))
    assert len(regions) == len(stack)
    for region, single in zip(regions, stack, strict=True):
        part = image[region]
        assert part.shape == region_shape(region)
        np.testing.assert_array_equal(layout.to_network(part)[0], single)


def test_whole_covers_everything() -> None:
    image = np.zeros((3, 4))
    assert image[whole(image.shape)].shape == image.shape
