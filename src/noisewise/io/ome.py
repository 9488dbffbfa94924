"""OME-XML: read pixel sizes and channel names from it, and update it for the denoised image."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4
from xml.etree import ElementTree

import numpy as np

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


def _pixels(xml: str, index: int) -> Element:
    return _children(_children(ElementTree.fromstring(xml), "Image")[index], "Pixels")[0]


def find_image(xml: str, series: Any) -> int:
    """Index of the Image element that belongs to a tifffile series: the first one of its size."""
    width, length, size = series.keyframe.imagewidth, series.keyframe.imagelength, int(series.size)
    for index, image in enumerate(_children(ElementTree.fromstring(xml), "Image")):
        for pixels in _children(image, "Pixels"):
            sizes = [int(pixels.get(f"Size{axis}", 1)) for axis in "XYCZT"]
            if sizes[:2] == [width, length] and int(np.prod(sizes)) == size:
                return index
    return 0


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


def updated(xml: str, index: int, dtype: np.dtype[Any], planes: int, provenance: Mapping[str, Any] | None) -> bytes:
    """Update the input's document for the new pixels of one Image.

    Kept: instrument, objective, channels, colours, dates, annotations. Changed: pixel type, position of the planes,
    UUID. Removed: other Images, and references to them. Added: the provenance, as an annotation.
    """
    root = ElementTree.fromstring(xml)
    images = _children(root, "Image")
    others = images[:index] + images[index + 1 :]
    for image in others:
        root.remove(image)
    _remove_references(root, {image.get("ID") for image in others})
    root.set("UUID", f"urn:uuid:{uuid4()}")
    _patch_pixels(_children(images[index], "Pixels")[0], dtype, planes)
    if provenance is not None:
        _annotate(root, provenance)
    ElementTree.register_namespace("", _namespace(root))
    text: str = ElementTree.tostring(root, encoding="unicode")
    return b'<?xml version="1.0" encoding="UTF-8"?>' + text.encode()


def _remove_references(root: Element, removed: set[str | None]) -> None:
    for parent in root.iter():
        for reference in [c for c in parent if _local(c) == "ImageRef" and c.get("ID") in removed]:
            parent.remove(reference)


def _patch_pixels(pixels: Element, dtype: np.dtype[Any], planes: int) -> None:
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
    data = ElementTree.Element(_qualified(_namespace(pixels), "TiffData"), IFD="0", PlaneCount=str(planes))
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


def new(axes: str, shape: Sequence[int], scale: Mapping[str, float], channels: Sequence[str], name: str) -> str:
    """Create a minimal document for an image with axes from TCZ in any order, then YX."""
    sizes = dict(zip(axes, shape, strict=True))
    order = "XY" + axes[:-2][::-1]
    order += "".join(axis for axis in "ZCT" if axis not in order)
    namespace = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    instance = "http://www.w3.org/2001/XMLSchema-instance"
    root = ElementTree.Element(_qualified(namespace, "OME"))
    root.set(_qualified(instance, "schemaLocation"), f"{namespace} {namespace}/ome.xsd")
    ElementTree.register_namespace("xsi", instance)
    image = ElementTree.SubElement(root, _qualified(namespace, "Image"), ID="Image:0", Name=name)
    pixels = ElementTree.SubElement(image, _qualified(namespace, "Pixels"), ID="Pixels:0", DimensionOrder=order)
    pixels.set("Type", "uint8")
    for axis in "XYZCT":
        pixels.set(f"Size{axis}", str(sizes.get(axis, 1)))
    for axis in "XYZ":
        if axis in scale:
            pixels.set(f"PhysicalSize{axis}", repr(float(scale[axis])))
            pixels.set(f"PhysicalSize{axis}Unit", "µm")
    if "T" in scale:
        pixels.set("TimeIncrement", repr(float(scale["T"])))
        pixels.set("TimeIncrementUnit", "s")
    for index in range(sizes.get("C", 1)):
        channel = ElementTree.SubElement(pixels, _qualified(namespace, "Channel"), ID=f"Channel:0:{index}")
        channel.set("SamplesPerPixel", "1")
        if index < len(channels):
            channel.set("Name", channels[index])
    return ElementTree.tostring(root, encoding="unicode")


def fits(axes: str, dtype: str) -> bool:
    """Whether OME can store an image with these axes and this dtype."""
    return axes.endswith("YX") and set(axes[:-2]) <= set("TCZ") and dtype in TYPES
