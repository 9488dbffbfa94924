"""ImageJ's variant of TIFF: `key=value` lines in the description, and a private tag for other metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from noisewise.io.units import micrometres, seconds

DTYPES = ("uint8", "uint16", "float32")
ORDER = "TZC"


def scale(metadata: Mapping[str, Any], resolution: Sequence[float]) -> dict[str, float]:
    """Pixel size in µm and frame interval in s, from tifffile's `imagej_metadata` and (x, y) pixels per unit."""
    unit = str(metadata.get("unit", ""))
    found = {
        "X": micrometres(1 / resolution[0], unit) if len(resolution) == 2 else None,
        "Y": micrometres(1 / resolution[1], str(metadata.get("yunit", unit))) if len(resolution) == 2 else None,
        "Z": micrometres(float(metadata.get("spacing", 0)), str(metadata.get("zunit", unit))),
        "T": seconds(float(metadata.get("finterval", 0)), str(metadata.get("tunit", "s"))),
    }
    return {axis: size for axis, size in found.items() if size}


def fits(axes: str, dtype: str) -> bool:
    """Whether an ImageJ hyperstack can store an image with these axes, in this order, and this dtype."""
    batch = axes[:-2]
    ordered = [a for a in ORDER if a in batch]
    return axes.endswith("YX") and list(batch) == ordered and dtype in DTYPES


def description(axes: str, shape: Sequence[int], scale: Mapping[str, float]) -> str:
    """Create the description of a new hyperstack."""
    sizes = dict(zip(axes, shape, strict=True))
    channels, slices, frames = (sizes.get(a, 1) for a in "CZT")
    lines = ["ImageJ=1.54f", f"images={prod(shape[:-2])}"]
    lines += [f"channels={channels}"] * (channels > 1)
    lines += [f"slices={slices}"] * (slices > 1)
    lines += [f"frames={frames}"] * (frames > 1)
    lines += ["hyperstack=true"] * (sum(n > 1 for n in (channels, slices, frames)) > 1)
    lines += ["mode=grayscale"] * (channels > 1)
    lines += ["unit=\\u00B5m"] * bool({"X", "Y", "Z"} & set(scale))
    stated = {"spacing": scale.get("Z"), "finterval": scale.get("T")}
    lines += [f"{key}={float(value)!r}" for key, value in stated.items() if value]
    return "\n".join([*lines, "loop=false", ""])


SIZES = {"channels": "C", "slices": "Z", "frames": "T"}


def changed_description(text: str, axes: str, shape: Sequence[int], scale: Mapping[str, float]) -> str:
    """The description of a hyperstack with other axes, or another number of planes; its other lines are kept."""
    sizes = {axis: size for axis, size in zip(axes, shape, strict=True) if axis in ORDER}
    renewed = {"images", "hyperstack", "order", *SIZES, *(["mode"] * (sizes.get("C", 1) == 1))}
    renewed |= {key for key, axis in (("spacing", "Z"), ("finterval", "T"), ("fps", "T")) if axis not in scale}
    kept = [line for line in text.split("\n") if line.partition("=")[0].strip() not in renewed]
    stated = [line for line in description(axes, shape, {}).split("\n") if line.partition("=")[0] in renewed]
    return "\n".join([kept[0], *stated, *kept[1:]])


def changed_tags(tags: Mapping[str, Any], axes: str, shape: Sequence[int]) -> dict[str, Any]:
    """The private metadata for other axes or planes: display settings only if they are for this number of channels."""
    channels = dict(zip(axes, shape, strict=True)).get("C", 1)
    out = {name: value for name, value in tags.items() if len(value) == {"LUTs": channels, "Ranges": 2 * channels}.get(
        name, len(value))}  # fmt: skip
    if "Labels" in out:
        out["Labels"] = out["Labels"][: prod(shape[:-2])]
    return out


def with_provenance(tags: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Add the provenance to ImageJ's private metadata, where Image > Show Info displays it."""
    text = "noisewise = " + json.dumps(provenance)
    info = str(tags.get("Info", "")).rstrip("\n")
    return {**tags, "Info": f"{info}\n{text}\n" if info else f"{text}\n"}


def channel_labels(axes: str, shape: Sequence[int], names: Sequence[str]) -> list[str]:
    """One label for each plane, from the channels' names; channels vary fastest in a hyperstack."""
    sizes = dict(zip(axes, shape, strict=True))
    if not names or len(names) != sizes.get("C", 1):
        return []
    return [str(name) for name in names] * (sizes.get("Z", 1) * sizes.get("T", 1))
