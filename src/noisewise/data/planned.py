"""The memory that is planned for training images: a fixed number, since the patches depend on it."""

from __future__ import annotations

HELD_BYTES = 2 << 30  # images that need more than this are streamed, whatever the free memory
FEWEST_BYTES = 32 << 20
MEMORY_FRACTION = 0.4  # of the free memory, for images that training holds


def plan_bytes(wanted: int, free: int, planned: int = 0) -> int:
    """Memory in bytes for training images, which decides what is held and what is streamed, and so the patches.

    A fixed number, or that of the state of a training that is resumed, so that the patches do not depend on the free
    memory; only where images that need `wanted` bytes do not fit into it, half of that, a quarter, and so on.
    """
    limit = planned if FEWEST_BYTES <= planned <= HELD_BYTES else HELD_BYTES
    while min(limit, wanted) > MEMORY_FRACTION * free and limit > FEWEST_BYTES:
        limit //= 2
    return limit


def memory_notes(wanted: int, image_bytes: int, planned: int) -> list[str]:
    """A note where the free memory has changed which patches are drawn.

    wanted: bytes of all images. image_bytes: planned now. planned: by the training that is resumed, or 0.
    """
    before = planned or HELD_BYTES
    if image_bytes == before or wanted <= min(image_bytes, before):
        return []
    then = "when it began" if planned else "with more free memory"
    return [
        f"the training images need {wanted / 1e9:.2g} GB, and there is memory for {image_bytes / 1e9:.2g} GB of them: "
        f"parts of them are read while training, and the result differs from that of a training that has "
        f"{before / 1e9:.2g} GB, as {then}; close other programs and train again for the same result"
    ]
