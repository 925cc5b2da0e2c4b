"""Pictures of a screen as a phone makes them: turned, smaller, noisy, and packed as JPEG."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

DEGREES, SIZE, NOISE, QUALITY = 3, 0.6, 12, 50
_DESK = 40  # the grey around the screen


def photographed(picture: Path, photo: Path) -> Path:
    """Write a photo of the picture; return its path."""
    from PIL import Image

    image: Any = Image.open(picture).convert("L")
    image = image.rotate(DEGREES, resample=Image.BICUBIC, expand=True, fillcolor=_DESK)
    image = image.resize((int(image.width * SIZE), int(image.height * SIZE)), Image.BILINEAR)
    grey = np.asarray(image).astype(float)
    grey += np.random.default_rng(1).normal(0, NOISE, grey.shape)
    packed = io.BytesIO()
    Image.fromarray(grey.clip(0, 255).astype("uint8")).save(packed, "JPEG", quality=QUALITY)
    photo.write_bytes(packed.getvalue())
    return photo
