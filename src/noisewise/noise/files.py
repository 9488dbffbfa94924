"""Read noise models from files of noisewise, CAREamics, PPN2V and PN2V."""

from __future__ import annotations

from pathlib import Path

from noisewise.container import read_container
from noisewise.errors import UserError
from noisewise.noise.base import Noise
from noisewise.noise.foreign_files import read_foreign
from noisewise.noise.models import unpack


def load_noise(path: str | Path) -> Noise:
    """Read a noise file: of noisewise (bit for bit), of CAREamics and PPN2V (`.npz`), or of PN2V (`.npy`).

    Errors: `UserError` if the file holds no noise model, or was damaged or edited.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() in (".npz", ".npy"):
        return read_foreign(path)
    header, tensors = read_container(path, "noise")
    try:
        noise_model = unpack(header["noise_model"], tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: noisewise cannot read this noise model ({error}); make it again") from error
    noise_model.provenance = header.get("provenance", {})
    return noise_model
