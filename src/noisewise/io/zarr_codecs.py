"""Decode the chunks of a Zarr array safely: data from a stranger must not crash the process or fill the memory.

Only codecs for images are known. Compressed chunks are checked before a library that does not check them itself reads
them, and become no larger than their declared shape allows.
"""

from __future__ import annotations

import asyncio
import bz2
import gzip
import lzma
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from math import prod
from typing import Any

from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import ShardingCodec
from zarr.codecs._v2 import V2Codec

from noisewise.errors import UserError

PIXEL_BYTES, SPARE_BYTES = 8, 4096  # most bytes of a pixel, and of what codecs add to a chunk
LARGEST_CHUNK = 2**28  # pixels, unless the array is larger
LZMA_BYTES = 2**28  # memory of the decoder
ZSTD_SIZE_BYTES = {0: 0, 1: 2, 2: 4, 3: 8}  # of the field with the decoded size, by flag
# Codecs that do not make data larger than a pixel allows.
PLAIN = (
    "bytes", "transpose", "crc32c", "crc32", "adler32", "fletcher32", "jenkins_lookup3", "shuffle", "delta", "bitround",
    "fixedscaleoffset", "quantize", "packbits", "astype",
)  # fmt: skip


def guarded(array: Any) -> Any:
    """The same Zarr array with guarded codecs. Errors: `UserError` for unknown codecs and impossible chunks."""
    chunk = prod(array.chunks)
    if chunk > max(LARGEST_CHUNK, 4 * prod(array.shape)):
        raise UserError(f"its chunks of {chunk:.2g} pixels are far larger than the image; save it with smaller chunks")
    asynchronous = array._async_array
    codecs = [guarded_codec(codec) for codec in asynchronous.codec_pipeline]
    object.__setattr__(asynchronous, "codec_pipeline", type(asynchronous.codec_pipeline).from_codecs(codecs))
    return array


def guarded_codec(codec: Any) -> Any:
    """The same codec, with checks of its data. Errors: `UserError` for a codec that is unknown."""
    if isinstance(codec, ShardingCodec):
        inner, index = (tuple(map(guarded_codec, part)) for part in (codec.codecs, codec.index_codecs))
        return replace(codec, codecs=inner, index_codecs=index)
    if isinstance(codec, V2Codec):
        known(*(name_of(part) for part in codec.filters or ()), among=PLAIN)
        return codec if codec.compressor is None else GuardedV2(codec.filters, known_codec(codec.compressor))
    known_codec(codec)
    return GuardedCodec(codec) if isinstance(codec, BytesBytesCodec) else codec


def known_codec(codec: Any) -> Any:
    """The codec itself. Errors: `UserError` for one that is unknown."""
    known(name_of(codec), among=(*PLAIN, *CHECKS))
    return codec


def known(*names: str, among: tuple[str, ...]) -> None:
    """Errors: `UserError` for names of codecs that are not among these."""
    for name in names:
        if name not in among:
            raise UserError(f"its codec '{name[:40]}' is not supported; save it with Blosc, Zstandard or gzip")


def name_of(codec: Any) -> str:
    """Name of a codec of zarr or numcodecs."""
    name = codec.codec_id if hasattr(codec, "codec_id") else codec.to_dict()["name"]
    return str(name).removeprefix("numcodecs.")


@dataclass(frozen=True)
class GuardedCodec(BytesBytesCodec):
    """A codec of Zarr 3 whose data are checked first."""

    codec: BytesBytesCodec

    @property
    def is_fixed_size(self) -> bool:  # type: ignore[override]
        """Whether the encoded size depends on nothing but the decoded size."""
        return bool(self.codec.is_fixed_size)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Encoded size, for codecs of fixed size."""
        return int(self.codec.compute_encoded_size(input_byte_length, chunk_spec))

    def evolve_from_array_spec(self, array_spec: Any) -> GuardedCodec:
        """The codec for arrays like this."""
        return GuardedCodec(self.codec.evolve_from_array_spec(array_spec))

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        check = CHECKS.get(name_of(self.codec), safe)
        decoded = await asyncio.to_thread(check, chunk_bytes.to_bytes(), limit_of(chunk_spec))
        if decoded is not None:
            return chunk_spec.prototype.buffer.from_bytes(decoded)
        return await self.codec._decode_single(chunk_bytes, chunk_spec)


@dataclass(frozen=True)
class GuardedV2(V2Codec):
    """The codecs of Zarr 2, with a compressor whose data are checked first."""

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        compressor: Any = GuardedCompressor(self.compressor, limit_of(chunk_spec))
        return await V2Codec(self.filters, compressor)._decode_single(chunk_bytes, chunk_spec)


@dataclass(frozen=True)
class GuardedCompressor:
    """A compressor of numcodecs whose data are checked first."""

    codec: Any
    limit: int

    def decode(self, data: Any) -> Any:
        """Decoded data. Errors: `ValueError` if they are damaged."""
        decoded = CHECKS.get(name_of(self.codec), safe)(bytes(data), self.limit)
        return self.codec.decode(data) if decoded is None else decoded


def limit_of(chunk_spec: Any) -> int:
    """The most bytes that a chunk may have on its way to pixels."""
    return PIXEL_BYTES * int(prod(chunk_spec.shape)) + SPARE_BYTES


# -- checks: (data, limit) -> None if the codec may decode the data, or the data decoded here ---------


def safe(_data: bytes, _limit: int) -> None:
    """For codecs that need no check."""


def refuse_over(size: int, limit: int) -> None:
    """Errors: `ValueError` for a decoded size above the limit."""
    if size > limit:
        raise ValueError(f"a chunk of {limit} bytes at most states {size}")


def check_blosc(data: bytes, limit: int) -> None:
    """Check sizes and block starts of a Blosc buffer, which its decoder takes on trust."""
    flags, size, block, stored = data[2], *struct.unpack_from("<III", data, 4)
    refuse_over(size, limit)
    if stored != len(data) or (size > 0 and not 0 < block <= size):
        raise ValueError("a Blosc chunk is truncated or damaged")
    if flags & 2:  # not compressed
        if stored != 16 + size:
            raise ValueError("a Blosc chunk is damaged")
        return
    for start in struct.unpack_from(f"<{-(-size // block) if size else 0}I", data, 16):
        (length,) = struct.unpack_from("<I", data, start)
        if start < 16 or not 0 < length <= stored - start - 4:
            raise ValueError("a Blosc chunk is damaged")


def check_zstd(data: bytes, limit: int) -> bytes | None:
    """Check the decoded size that a Zstandard frame states; decode here if it states none."""
    if data[:4] != b"\x28\xb5\x2f\xfd":
        raise ValueError("a Zstandard chunk is damaged")
    descriptor = data[4]
    single, count = bool(descriptor & 32), ZSTD_SIZE_BYTES[descriptor >> 6]
    count = count or int(single)
    if count:
        start = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
        refuse_over(int.from_bytes(data[start : start + count], "little") + 256 * (count == 2), limit)
        return None
    import imagecodecs

    return bytes(imagecodecs.zstd_decode(data, out=limit))


def check_lz4(data: bytes, limit: int) -> None:
    """Check the decoded size before an LZ4 block."""
    refuse_over(struct.unpack_from("<I", data)[0], limit)


def decode_gzip(data: bytes, limit: int) -> bytes:
    """Decode gzip up to the limit."""
    return bounded(gzip.GzipFile(fileobj=BytesIO(data)).read(limit + 1), limit)


def decode_zlib(data: bytes, limit: int) -> bytes:
    """Decode zlib up to the limit."""
    return bounded(zlib.decompressobj().decompress(data, limit + 1), limit)


def decode_bz2(data: bytes, limit: int) -> bytes:
    """Decode bzip2 up to the limit."""
    return bounded(bz2.BZ2File(BytesIO(data)).read(limit + 1), limit)


def decode_lzma(data: bytes, limit: int) -> bytes:
    """Decode LZMA up to the limit."""
    return bounded(lzma.LZMADecompressor(memlimit=LZMA_BYTES).decompress(data, limit + 1), limit)


def bounded(decoded: bytes, limit: int) -> bytes:
    """The decoded data themselves. Errors: `ValueError` if they are longer than the limit."""
    refuse_over(len(decoded), limit)
    return decoded


CHECKS: dict[str, Callable[[bytes, int], bytes | None]] = {
    "blosc": check_blosc, "zstd": check_zstd, "lz4": check_lz4, "gzip": decode_gzip, "zlib": decode_zlib,
    "bz2": decode_bz2, "lzma": decode_lzma,
}  # fmt: skip
