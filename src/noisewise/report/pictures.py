"""Images and figures as data that a page holds itself."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from noisewise.axes import Array

CONTRAST = (0.002, 0.998)  # quantiles of the denoised image that are black and white


def contrast(image: Array) -> tuple[float, float]:
    """Values that are shown black and white."""
    finite = image[np.isfinite(image)]
    low, high = (float(value) for value in np.quantile(finite, CONTRAST)) if finite.size else (0.0, 1.0)
    return low, high if high > low else low + 1.0


def as_png(image: Array, low: float, high: float) -> str:
    """An image (Y, X) as a PNG data URI with 8 bits."""
    scaled = np.clip((np.nan_to_num(image, nan=low) - low) / (high - low), 0, 1)
    return data_uri(Image.fromarray(np.rint(255 * scaled).astype(np.uint8)))


def as_signed_png(image: Array, limit: float) -> str:
    """An image of both signs: blue below zero, red above, white at zero."""
    part = np.clip(np.nan_to_num(image) / limit, -1, 1)
    fade = 1 - np.abs(part)
    red, blue = np.where(part > 0, 1.0, fade), np.where(part < 0, 1.0, fade)
    return data_uri(Image.fromarray(np.rint(255 * np.stack([red, fade, blue], -1)).astype(np.uint8)))


def data_uri(picture: Image.Image) -> str:
    """A picture as a data URI."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
