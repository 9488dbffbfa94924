"""`predict`: denoise images with a trained model, which may be a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, overload

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.foreign import load
from noisewise.io.write import WriteOptions
from noisewise.model import Model
from noisewise.posterior import Posterior
from noisewise.workflow.choose import refuse_unsupported
from noisewise.workflow.settings import check_settings


@overload
def predict(image: list[Any] | tuple[Any, ...], model: Any, **options: Any) -> list[Posterior[Array]]: ...


@overload
def predict(image: Any, model: Any, **options: Any) -> Posterior[Array]: ...


def predict(
    image: Any, model: str | Path | Model, *, device: str = "auto", **options: Any
) -> Posterior[Array] | list[Posterior[Array]]:
    """Denoise images with a trained model: p(s|x) of each, in its axes and units.

    image: a path, an array (NumPy, dask, zarr, xarray), a list of these, a folder, or a pattern such as "*.tif".
    model: a model file, or a `Model`. device: where a model file is run, see `load`. options: those of `Model.predict`:
    output, axes, seed, report, series, failed, and the fields of `WriteOptions` (std, samples, average, ...).

    Returns a `Posterior`, or a list of them.

    Errors: `UserError` for a file that is not a model, images that do not fit it, and what its method cannot give.
    """
    if isinstance(image, Model) or (isinstance(image, str | Path) and Path(image).suffix == ".safetensors"):
        raise UserError("the model was given in place of the image; the image comes first: predict(image, model)")
    check_settings(axes=options.get("axes"), seed=options.get("seed", 0), device=device)
    if not isinstance(model, Model):
        if not isinstance(model, str | Path):
            raise UserError(f"{type(model).__name__} is not a model; give a model file, or what train returned")
        model = load(model, device)
    refuse_unsupported(model.method, WriteOptions.split_from(options)[0])
    found: Posterior[Array] | list[Posterior[Array]] = model.predict(image, **options)
    return found
