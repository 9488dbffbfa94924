"""OME-XML: read pixel sizes and channel names from it, and update it for the denoised image."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any
from uuid import uuid4
from xml.etree import ElementTree

import numpy as np

from noisewise.io.base import Acquisition, Source
from noisewise.io.units import micrometres, seconds

TYPES = {
    "int8": "int8", "int16": "int16", "int32": "int32", "uint8": "uint8", "uint16": "uint16", "uint32": "uint32",
    "float32": "float", "float64": "double",
}  # fmt: skip
Element = ElementTree.Element


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _namespace(element: Element) -> str:
    return str(element.tag).partition("}")[0].lstrip("{") if "}" in str(element.tag) else ""


def _children(element: Element, name: str) -> list[Element]:
    return [child for child in element if _local(child) == name]


@lru_cache(maxsize=2)
def _parsed(xml: str) -> list[Element]:
    """The Image elements of a document, which must not be changed."""
    return _children(ElementTree.fromstring(xml), "Image")


def _pixels(xml: str, index: int) -> Element:
    return _children(_parsed(xml)[index], "Pixels")[0]


def find_images(xml: str, every: Sequence[Any]) -> list[int]:
    """Index of the Image element that belongs to each tifffile series: the first of its size that is not taken."""
    sizes: dict[int, tuple[int, ...]] = {}
    for index, image in enumerate(_parsed(xml)):
        for pixels in _children(image, "Pixels"):
            found = [int(pixels.get(f"Size{axis}", 1)) for axis in "XYCZT"]
            sizes[index] = (found[0], found[1], prod(found))
    places = []
    for series in every:
        wanted = (series.keyframe.imagewidth, series.keyframe.imagelength, int(series.size))
        fitting = [i for i, size in sizes.items() if size == wanted] or [*sizes, 0]
        places.append(fitting[0])
        sizes.pop(fitting[0], None)
    return places


def scale(xml: str, index: int) -> dict[str, float]:
    """Pixel size in µm and frame interval in s of one Image; units default to µm and s."""
    pixels = _pixels(xml, index)
    found = {}
    for axis in "XYZ":
        name = f"PhysicalSize{axis}"
        found[axis] = micrometres(float(pixels.get(name, 0)), pixels.get(f"{name}Unit", "µm"))
    found["T"] = seconds(float(pixels.get("TimeIncrement", 0)), pixels.get("TimeIncrementUnit", "s"))
    return {axis: size for axis, size in found.items() if size}


def channel_names(xml: str, index: int) -> list[str]:
    """Names of the channels of one Image; an empty text for a channel without a name."""
    return [channel.get("Name", "") for channel in _children(_pixels(xml, index), "Channel")]


@dataclass(frozen=True)
class Written:
    """An Image that is written again. index: of its element. planes: number of planes, from the page `first` on.

    changed: `axes`, if the user says other axes than the document; `end` or `order`, if it has fewer or more planes
    (see `tiff_series.Recorded`). axes, shape, scale: what the document says then.
    """

    index: int
    dtype: np.dtype[Any]
    planes: int
    first: int = 0
    changed: str = ""
    axes: str = ""
    shape: tuple[int, ...] = ()
    scale: Mapping[str, float] = field(default_factory=dict)


def updated(xml: str, written: Sequence[Written], provenance: Mapping[str, Any] | None) -> bytes:
    """Update the input's document for the new pixels of its Images.

    Kept: instrument, objective, channels, colours, dates, annotations. Changed: pixel type, position of the planes,
    UUID. Removed: other Images, and references to them. Added: the provenance, as an annotation.
    """
    root = ElementTree.fromstring(xml)
    images = _children(root, "Image")
    kept = {one.index for one in written}
    others = [image for index, image in enumerate(images) if index not in kept]
    for image in others:
        root.remove(image)
    _remove_references(root, {image.get("ID") for image in others})
    root.set("UUID", f"urn:uuid:{uuid4()}")
    for one in written:
        pixels = _children(images[one.index], "Pixels")[0]
        if one.changed:
            _patch_dimensions(pixels, one)
        _patch_pixels(pixels, one.dtype, one.planes, one.first)
    if provenance is not None:
        _annotate(root, provenance)
    ElementTree.register_namespace("", _namespace(root))
    text: str = ElementTree.tostring(root, encoding="unicode")
    return b'<?xml version="1.0" encoding="UTF-8"?>' + text.encode()


def _patch_dimensions(pixels: Element, one: Written) -> None:
    """Other axes, or other numbers of planes: sizes, order, channels, and what is said of single planes."""
    sizes = dict(zip(one.axes, one.shape, strict=True))
    colour = any(int(channel.get("SamplesPerPixel", 1)) > 1 for channel in _children(pixels, "Channel"))
    for axis in "TZ" if colour else "TZC":
        pixels.set(f"Size{axis}", str(sizes.get(axis, 1)))
    if one.changed == "axes":
        order = "XY" + "".join(axis for axis in reversed(one.axes) if axis in "TCZ")
        pixels.set("DimensionOrder", order + "".join(axis for axis in "ZCT" if axis not in order))
        for axis, name in (("Z", "PhysicalSizeZ"), ("T", "TimeIncrement")):
            if axis not in one.scale:
                pixels.attrib.pop(name, None)
                pixels.attrib.pop(f"{name}Unit", None)
    for plane in _children(pixels, "Plane"):
        places = {axis: int(plane.get(f"The{axis}", 0)) for axis in "TCZ"}
        if one.changed != "end" or any(at >= int(pixels.get(f"Size{axis}", 1)) for axis, at in places.items()):
            pixels.remove(plane)
    channels = _children(pixels, "Channel")
    if not colour:
        for channel in channels[sizes.get("C", 1) :]:
            pixels.remove(channel)
        for number in range(len(channels), sizes.get("C", 1)):
            new = ElementTree.Element(_qualified(_namespace(pixels), "Channel"), SamplesPerPixel="1")
            new.set("ID", f"Channel:{pixels.get('ID', 'Pixels').replace(':', '-')}:{number}")
            pixels.insert(number, new)


def _remove_references(root: Element, removed: set[str | None]) -> None:
    for parent in root.iter():
        for reference in [c for c in parent if _local(c) == "ImageRef" and c.get("ID") in removed]:
            parent.remove(reference)


def _patch_pixels(pixels: Element, dtype: np.dtype[Any], planes: int, first: int) -> None:
    kind = TYPES[dtype.name]
    if pixels.get("Type") != kind:
        pixels.set("Type", kind)
        pixels.attrib.pop("SignificantBits", None)
    if "BigEndian" in pixels.attrib:
        pixels.set("BigEndian", "true" if sys.byteorder == "big" else "false")
    places = [i for i, c in enumerate(pixels) if _local(c) in ("TiffData", "BinData", "MetadataOnly")]
    channels = [i + 1 for i, c in enumerate(pixels) if _local(c) == "Channel"]
    place = min(places) if places else max(channels, default=0)
    for child in [pixels[i] for i in places]:
        pixels.remove(child)
    data = ElementTree.Element(_qualified(_namespace(pixels), "TiffData"), IFD=str(first), PlaneCount=str(planes))
    pixels.insert(place, data)


def _qualified(namespace: str, name: str) -> str:
    return f"{{{namespace}}}{name}" if namespace else name


def _annotate(root: Element, provenance: Mapping[str, Any]) -> None:
    annotations = _children(root, "StructuredAnnotations")
    if annotations:
        parent = annotations[0]
    else:
        # Before 2016, annotations had a separate namespace. The schema requires them after the images.
        namespace = _namespace(root)
        of_annotations = namespace if namespace.endswith("2016-06") else namespace.replace("/OME/", "/SA/")
        parent = ElementTree.Element(_qualified(of_annotations, "StructuredAnnotations"))
        last = max(i for i, child in enumerate(root) if _local(child) == "Image")
        root.insert(last + 1, parent)
    space = _namespace(parent)
    taken = {child.get("ID") for child in parent}
    number = next(n for n in range(len(taken) + 1) if f"Annotation:noisewise-{n}" not in taken)
    comment = ElementTree.SubElement(parent, _qualified(space, "CommentAnnotation"))
    comment.attrib.update(ID=f"Annotation:noisewise-{number}", Namespace="noisewise")
    ElementTree.SubElement(comment, _qualified(space, "Value")).text = json.dumps(provenance)


def new(images: Sequence[Source]) -> str:
    """Create a minimal document for images with axes from TCZ in any order, then YX."""
    namespace = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    instance = "http://www.w3.org/2001/XMLSchema-instance"
    root = ElementTree.Element(_qualified(namespace, "OME"))
    root.set(_qualified(instance, "schemaLocation"), f"{namespace} {namespace}/ome.xsd")
    ElementTree.register_namespace("xsi", instance)
    for number, one in enumerate(images):
        _add_image(root, number, one, namespace)
    return ElementTree.tostring(root, encoding="unicode")


def _add_image(root: Element, number: int, one: Source, namespace: str) -> None:
    sizes = dict(zip(one.axes, one.shape, strict=True))
    order = "XY" + one.axes[:-2][::-1]
    order += "".join(axis for axis in "ZCT" if axis not in order)
    image = ElementTree.SubElement(root, _qualified(namespace, "Image"), ID=f"Image:{number}", Name=one.name)
    if one.acquisition.date:
        ElementTree.SubElement(image, _qualified(namespace, "AcquisitionDate")).text = one.acquisition.date
    pixels = ElementTree.SubElement(
        image, _qualified(namespace, "Pixels"), ID=f"Pixels:{number}", DimensionOrder=order
    )  # fmt: skip
    pixels.set("Type", "uint8")
    for axis in "XYZCT":
        pixels.set(f"Size{axis}", str(sizes.get(axis, 1)))
    for axis in "XYZ":
        if axis in one.scale:
            pixels.set(f"PhysicalSize{axis}", repr(float(one.scale[axis])))
            pixels.set(f"PhysicalSize{axis}Unit", "µm")
    if "T" in one.scale:
        pixels.set("TimeIncrement", repr(float(one.scale["T"])))
        pixels.set("TimeIncrementUnit", "s")
    for index in range(sizes.get("C", 1)):
        channel = ElementTree.SubElement(pixels, _qualified(namespace, "Channel"), ID=f"Channel:{number}:{index}")
        channel.set("SamplesPerPixel", "1")
        if index < len(one.channel_names):
            channel.set("Name", one.channel_names[index])
    _add_planes(pixels, sizes, one.acquisition, namespace)


def _add_planes(pixels: Element, sizes: Mapping[str, int], acquisition: Acquisition, namespace: str) -> None:
    """When and where each plane was recorded."""
    times, slices = acquisition.times_s, sizes.get("Z", 1)
    if not (times or acquisition.stage_um):
        return
    for t, z, c in product(*(range(sizes.get(axis, 1)) for axis in "TZC")):
        plane = ElementTree.SubElement(pixels, _qualified(namespace, "Plane"), TheZ=str(z), TheC=str(c), TheT=str(t))
        at = {sizes.get("T", 1): t, slices * sizes.get("T", 1): t * slices + z}.get(len(times))
        if at is not None:
            plane.attrib.update(DeltaT=repr(times[at]), DeltaTUnit="s")
        for axis, position in acquisition.stage_um.items():
            plane.attrib.update({f"Position{axis}": repr(float(position)), f"Position{axis}Unit": "µm"})


def fits(axes: str, dtype: str) -> bool:
    """Whether OME can store an image with these axes and this dtype."""
    return axes.endswith("YX") and set(axes[:-2]) <= set("TCZ") and dtype in TYPES
