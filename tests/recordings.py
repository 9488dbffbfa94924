"""Small files as microscopes write them: ND2 and LIF byte by byte, CZI by the library of its makers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MAGIC = 0x0ABECEDA
PIXEL_UM, STEP_UM, FRAME_S = 0.25, 0.5, 2.0


def write_nd2(path: Path, pixels: np.ndarray, channels: Sequence[str], bits: int = 12) -> Path:
    """An ND2 file of positions (P, T, Z, C, Y, X), uint16. Its metadata are the XML variant of chunks."""
    places, times, slices, count, height, width = pixels.shape
    frames = np.moveaxis(pixels.reshape(-1, count, height, width), 1, -1)
    attributes = {
        "uiWidth": width, "uiWidthBytes": 2 * count * width, "uiHeight": height, "uiComp": count, "uiBpcInMemory": 16,
        "uiBpcSignificant": bits, "uiSequenceCount": len(frames), "eCompression": 2,
    }  # fmt: skip
    planes = {
        f"Plane{i}": {"sDescription": name, "uiCompCount": 1, "pFluorescentProbe": {"uiCount": 0}}
        for i, name in enumerate(channels)
    }
    about = {
        "bCalibrated": True, "dCalibration": PIXEL_UM, "dXPos": 10.0, "dYPos": 20.0, "dZPos": 30.0,
        "sPicturePlanes": {"uiCount": count, "sPlaneNew": planes},
    }  # fmt: skip
    points = {f"Point{i}": {"dPosX": 100.0 * i, "dPosY": 5.0, "dPosName": f"well {i + 1}"} for i in range(places)}
    loops = [
        {"eType": 2, "uLoopPars": {"uiCount": places, "Points": points}},
        {"eType": 1, "uLoopPars": {
            "uiCount": times, "dStart": 0.0, "dPeriod": 1000 * FRAME_S, "dDuration": 0.0,
        }},
        {"eType": 4, "uLoopPars": {"uiCount": slices, "dZStep": STEP_UM, "dZLow": 0.0, "dZHigh": STEP_UM}},
    ]  # fmt: skip
    experiment: dict[str, object] = {}
    for loop in reversed(loops):
        experiment = loop | ({"ppNextLevelEx": {"next": experiment}} if experiment else {})
    chunks = {
        b"ImageAttributesLV!": as_xml(attributes), b"ImageMetadataSeqLV|0!": as_xml(about),
        b"ImageMetadataLV!": as_xml(experiment),
        b"CustomData|AcqTimesCache!": (1000 * FRAME_S * np.arange(len(frames))).tobytes(),
    }  # fmt: skip
    chunks |= {f"ImageDataSeq|{i}!".encode(): bytes(8) + one.tobytes() for i, one in enumerate(frames)}
    with path.open("wb") as file:
        file.write(struct.pack("<IIQ32s64s", MAGIC, 32, 64, b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0"))
        found = {}
        for name, data in chunks.items():
            found[name] = (file.tell(), len(data))
            padded = name.ljust(4072, b"\0")
            file.write(struct.pack("<IIQ", MAGIC, len(padded), len(data)) + padded + data)
        start = file.tell()
        entries = b"".join(name + struct.pack("<QQ", *place) for name, place in found.items())
        entries += b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", start)
        signature = b"ND2 FILEMAP SIGNATURE NAME 0001!"
        file.write(struct.pack("<IIQ", MAGIC, len(signature), len(entries)) + signature + entries)
    return path


def as_xml(values: dict[str, object]) -> bytes:
    """A dictionary in the XML of ND2."""
    return f'<variant version="1.0"><no_name>{"".join(map(element, values.items()))}</no_name></variant>'.encode()


def element(item: tuple[str, object]) -> str:
    """One entry."""
    name, value = item
    if isinstance(value, dict):
        return f"<{name}>{''.join(map(element, value.items()))}</{name}>"
    kinds = {bool: "bool", int: "lx_uint32", float: "double", str: "CLxStringW"}
    return f'<{name} runtype="{kinds[type(value)]}" value="{value}"/>'


def write_lif(path: Path, images: dict[str, np.ndarray], dyes: Sequence[str] = ()) -> Path:
    """A LIF file of named images (C, T, Z, Y, X), uint8 or uint16."""
    elements, blocks = "", []
    for number, (name, pixels) in enumerate(images.items()):
        stored = np.ascontiguousarray(np.moveaxis(pixels, 0, 2))  # T, Z, C, Y, X
        strides = dict(zip("TZCYX", stored.strides, strict=True))
        sizes = dict(zip("TZCYX", stored.shape, strict=True))
        lengths = {"X": PIXEL_UM * 1e-6, "Y": PIXEL_UM * 1e-6, "Z": STEP_UM * 1e-6, "T": FRAME_S}
        dimensions = "".join(
            f'<DimensionDescription DimID="{1 + i}" NumberOfElements="{sizes[axis]}" Origin="0" '
            f'Length="{lengths[axis] * (sizes[axis] - 1)}" Unit="m" BitInc="0" BytesInc="{strides[axis]}"/>'
            for i, axis in enumerate("XYZT")
        )
        channels = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="{8 * stored.itemsize}" '
            f'NameOfMeasuredQuantity="" Min="0" Max="1" Unit="" LUTName="Green" IsLUTInverted="0" '
            f'BytesInc="{c * strides["C"]}" BitInc="0"><ChannelProperty><Key>DyeName</Key>'
            f"<Value>{dyes[c] if c < len(dyes) else ''}</Value></ChannelProperty></ChannelDescription>"
            for c in range(sizes["C"])
        )
        elements += (
            f'<Element Name="{name}" Visibility="1" UniqueID="{number}"><Data><Image><ImageDescription><Channels>'
            f"{channels}</Channels><Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
            f'<Memory Size="{stored.nbytes}" MemoryBlockID="MemBlock_{number}"/></Element>'
        )
        blocks.append((f"MemBlock_{number}", stored.tobytes()))
    xml = (
        f'<LMSDataContainerHeader Version="2"><Element Name="project" Visibility="1" UniqueID="p"><Children>{elements}'
    )
    header = (xml + "</Children></Element></LMSDataContainerHeader>").encode("utf-16-le")
    with path.open("wb") as file:
        file.write(struct.pack("<IIBI", 0x70, 5 + len(header), 0x2A, len(header) // 2) + header)
        for name, data in blocks:
            label = name.encode("utf-16-le")
            rest = struct.pack("<BQBI", 0x2A, len(data), 0x2A, len(name)) + label
            file.write(struct.pack("<II", 0x70, len(rest)) + rest + data)
    return path


def write_czi(path: Path, pixels: np.ndarray, channels: Sequence[str] = (), compression: str = "uncompressed:") -> Path:
    """A CZI file of scenes (S, T, Z, C, Y, X); each scene lies elsewhere, each plane is two tiles."""
    from pylibCZIrw import czi

    with czi.create_czi(str(path), exist_ok=True, compression_options=compression) as file:
        for scene, t, z, c in np.ndindex(pixels.shape[:4]):
            plane, half = pixels[scene, t, z, c], pixels.shape[-1] // 2
            for x, tile in ((0, plane[:, :half]), (half, plane[:, half:])):
                file.write(
                    data=np.ascontiguousarray(tile)[..., None], plane={"T": t, "Z": z, "C": c}, scene=scene,
                    location=(1000 * scene + x, 50),
                )  # fmt: skip
        file.write_metadata(
            path.stem, channel_names=dict(enumerate(channels)), scale_x=PIXEL_UM * 1e-6, scale_y=PIXEL_UM * 1e-6,
            scale_z=STEP_UM * 1e-6,
        )  # fmt: skip
    return path
