"""Read noise models from files of noisewise, CAREamics, PPN2V and PN2V."""

from __future__ import annotations

from pathlib import Path

from noisewise.container import checked_provenance, read_container
from noisewise.errors import UserError, one_line
from noisewise.io.files import user_path
from noisewise.noise.base import Noise
from noisewise.noise.foreign_files import read_foreign
from noisewise.noise.models import unpack


def load_noise(path: str | Path) -> Noise:
    """Read a noise file: of noisewise (bit for bit), of CAREamics and PPN2V (`.npz`), or of PN2V (`.npy`).

    Errors: `UserError` if the file holds no noise model, or was damaged or edited.
    """
    path = user_path(path)
    if path.suffix.lower() in (".npz", ".npy"):
        return read_foreign(path)
    header, tensors = read_container(path, "noise")
    try:
        noise_model = unpack(header["noise_model"], tensors)
        noise_model.provenance = checked_provenance(header.get("provenance", {}))
    except Exception as error:  # what a stranger's file holds may fail anywhere
        reason = one_line(str(error)) or type(error).__name__
        raise UserError(f"{path}: noisewise cannot read this noise model ({reason}); make it again") from error
    return noise_model
