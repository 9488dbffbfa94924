"""Noisy images with known truth: clean images, exposed with a simulated camera, in memory or into files."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

import numpy as np

from noisewise.axes import Array, Layout
from noisewise.errors import UserError, check_seed, counted
from noisewise.io import Sink, Source, checksum, create_sink, open_source
from noisewise.io.inputs import each, is_several, outputs_of
from noisewise.io.memory import MemorySink, MemorySource
from noisewise.io.paths import truth_of
from noisewise.io.plan import folders_for, refuse_inputs, refuse_twice
from noisewise.io.space import Size, refuse_without_space, size_of
from noisewise.noise.camera import Camera, check_photons
from noisewise.version import __version__

CAMERAS: dict[str, Callable[[], Camera]] = {
    "scmos": Camera.scmos,
    "emccd": Camera.emccd,
    "pmt": Camera.pmt,
    "ideal": Camera.photon_counter,
}
FIELDS = {
    "dark": "dark_e", "hot": "hot_fraction", "full_well": "full_well_e", "read_noise": "read_noise_e",
    "row_noise": "row_noise_e", "column_noise": "column_noise_e", "gain": "gain_adu_per_e", "offset": "offset_adu",
}  # of `Camera`, where they have other names than the settings  # fmt: skip
SETTINGS = ("quantum_efficiency", "dark", "hot", "full_well", "em_gain", "read_noise", "row_noise", "column_noise",
            "gain", "offset", "bits")  # fmt: skip
BACKGROUND_PERCENTILE = 0.1
SATURATED_FRACTION = 1e-3  # of the pixels, above which a note says so


@dataclass
class Simulated:
    """What `simulate` returns for one image.

    camera: the simulated camera. photons_mean: mean of the expected photons per pixel. notes: messages about the image.
    noisy: pixel values (ADU) in the axes of the image, or (frames, *image). truth: the expected pixel values, float32;
    both are None if they were written to files. path, truth_path: these files.
    """

    camera: Camera
    photons_mean: float
    notes: list[str] = field(default_factory=list)
    noisy: Any = field(default=None, repr=False)
    truth: Any = field(default=None, repr=False)
    path: Path | None = None
    truth_path: Path | None = None


@overload
def simulate(clean: list[Any] | tuple[Any, ...], **options: Any) -> list[Simulated]: ...


@overload
def simulate(clean: Any, **options: Any) -> Simulated: ...


def simulate(
    clean: Any,
    *,
    output: Any = None,
    camera: str | Camera = "scmos",
    photons: float | None = None,
    frames: int = 1,
    seed: int = 0,
    axes: str | None = None,
    truth: bool = True,
    overwrite: bool = False,
    **changes: Any,
) -> Simulated | list[Simulated]:
    """Simulate noisy images with known truth, from clean images and a simulated camera.

    clean: a path, an array (NumPy, dask, zarr, xarray), a list of these, a folder, or a pattern such as "*.tif"; of a
    file that contains several images, the first is used.
    output: a file (or folder) to write to; the truth is written beside it, as `<name>_truth`. None: the images are
    returned. camera: `scmos`, `emccd`, `pmt`, `ideal`, or a `Camera`. photons: mean photons per pixel in each channel,
    after subtraction of its background (default: the pixel values are photons). frames: number of exposures, along a
    new first axis T. seed: of the random numbers of the first image; each further image has the next one. axes: letters
    from `STCZYX`, one per dimension, if the images do not give them or they are wrong. truth: whether the truth is
    written or returned. overwrite: whether files that exist are replaced. changes: settings of the camera, by the names
    of `noisewise simulate` (read_noise=2.0, gain=0.5, bits=12, ...).

    Returns a `Simulated`, or a list of them.

    Errors: `UserError` for images or settings that cannot be used.
    """
    exposure = Exposure(camera_of(camera, changes), photons, frames, truth, overwrite)
    exposure.check(seed)
    with ExitStack() as files:
        given = each(clean)
        sources = [one if isinstance(one, Source) else files.enter_context(open_source(one, axes)) for one in given]
        outputs = None if output is None else outputs_of(given, output, "_noisy")
        written = [] if outputs is None else [*outputs, *(truth_of(path) for path in outputs if truth)]
        refuse_inputs([source.path for source in sources if source.path is not None], written)
        refuse_twice(written)
        files.enter_context(folders_for(outputs or []))
        paths: Sequence[Path | None] = outputs or [None] * len(sources)
        refuse_without_space(exposure.refuse_early(*pair) for pair in zip(sources, paths, strict=True))
        made = [exposure.expose(one, path, seed + i) for i, (one, path) in enumerate(zip(sources, paths, strict=True))]
    return made if is_several(clean) else made[0]


def camera_of(camera: str | Camera, changes: dict[str, Any]) -> Camera:
    """A camera by its name, with changed settings. Errors: `UserError` for unknown names, and values out of range."""
    if isinstance(camera, str):
        if camera not in CAMERAS:
            raise UserError(f"there is no camera '{camera}'; there are: {', '.join(CAMERAS)}")
        camera = CAMERAS[camera]()
    unknown = set(changes) - set(SETTINGS)
    if unknown:
        raise UserError(f"a camera has no setting '{sorted(unknown)[0]}'; it has: {', '.join(SETTINGS)}")
    given = {FIELDS.get(name, name): value for name, value in changes.items() if value is not None}
    return replace(camera, **given)


@dataclass(frozen=True)
class Exposure:
    """How clean images are exposed; see `simulate`."""

    camera: Camera
    photons: float | None = None
    frames: int = 1
    truth: bool = True
    overwrite: bool = False

    def check(self, seed: int) -> None:
        """Errors: `UserError` for settings that are not possible."""
        if self.frames < 1:
            raise UserError(f"frames {self.frames} is not a number of frames; give 1 or more")
        check_seed(seed)
        if self.photons is not None and not 0 < self.photons < math.inf:
            raise UserError(f"photons {self.photons:g} is not an amount of light; give more than 0")

    def refuse_early(self, source: Source, output: Path | None) -> list[Size]:
        """The outputs and their sizes. Errors: `UserError` for an output that cannot be written, before the work."""
        if output is None:
            return []
        files = [size_of(output, [repeated(source, self.frames)], self.camera.dtype)]
        files += [size_of(truth_of(output), [source], np.float32)] * self.truth
        refuse_without_space([files])
        for sink in self.sinks(source, output, None):
            if sink is not None:
                sink.discard()
        return files

    def sinks(self, source: Source, output: Path | None, record: dict[str, Any] | None) -> tuple[Sink, Sink | None]:
        """Sinks of the noisy image and its truth; in memory if there is no output."""
        like = repeated(source, self.frames)
        if output is None:
            in_memory = MemorySink(source.shape, np.float32) if self.truth else None
            return MemorySink(like.shape, self.camera.dtype), in_memory
        truth = None
        if self.truth:
            truth = create_sink(truth_of(output), source, np.float32, record, overwrite=self.overwrite)
        try:
            return create_sink(output, like, self.camera.dtype, record, overwrite=self.overwrite), truth
        except BaseException:
            if truth is not None:
                truth.discard()
            raise

    def expose(self, source: Source, output: Path | None, seed: int) -> Simulated:
        """Expose one image, into its files if there is an output."""
        layout = Layout(source.axes, "YX")
        photons = to_photons(layout.to_network(source.read()), self.photons, source.name)
        mean = float(photons.mean())
        truth_path = truth_of(output) if self.truth and output is not None else None
        record = {
            "software": f"noisewise {__version__}", "camera": self.camera.record(), "photons_mean": mean, "seed": seed,
            "frames": self.frames, "truth": None if truth_path is None else truth_path.name, "input": source.name,
            **({} if source.path is None else {"input_sha256": checksum(source.path)}),
        }  # fmt: skip
        noisy, truth = self.sinks(source, output, record)
        saturated = 0
        with together(noisy, truth, output):
            if truth is not None:
                truth.write(source.everything, layout.from_network(self.camera.signal(photons), source.shape))
            for number, frame in enumerate(self.camera.frames_of(photons, self.frames, seed)):
                saturated += int(np.count_nonzero(frame == 2**self.camera.bits - 1)) if self.camera.bits else 0
                image = layout.from_network(frame, source.shape)
                time_axis = (slice(number, number + 1),) if self.frames > 1 else ()
                noisy.write((*time_axis, *source.everything), image[None] if time_axis else image)
        fraction = saturated / (self.frames * photons.size)
        bright = (
            f"{output or source.name}: {100 * fraction:.1f} % of the pixels are saturated; give fewer photons or a "
            f"lower gain"
        )
        found = Simulated(self.camera, mean, source.notes + [bright] * (fraction > SATURATED_FRACTION))
        found.path, found.truth_path = output, truth_path
        if isinstance(noisy, MemorySink):
            found.noisy = source.labelled(noisy.array, "t")
            found.truth = source.labelled(truth.array) if isinstance(truth, MemorySink) else None
        return found


def repeated(source: Source, frames: int) -> Source:
    """An image repeated along a new axis T. Errors: `UserError` if it has this axis already."""
    if frames == 1:
        return source
    if "T" in source.axes:
        raise UserError(
            f"{source.path or source.name}: already has a time axis ({source.axes}), so that it cannot be repeated in "
            f"{counted(frames, 'frame')}; leave out frames"
        )
    shape, axes = (frames, *source.shape), "T" + source.axes
    return MemorySource(source.name, axes, shape, source.dtype, source.scale, source.channel_names, source.path)


def to_photons(clean: Array, mean: float | None, label: str) -> Array:
    """Expected photons (N, C, Y, X), float64: the pixel values, or scaled so that each channel has this mean.

    photons = mean·max(clean − b, 0)/⟨max(clean − b, 0)⟩, where b is the channel's 0.1 percentile; a channel without
    contrast is dark.

    Errors: `UserError` for pixel values that cannot be photons, and for images without any contrast.
    """
    if mean is None:
        return check_photons(clean, label)
    with np.errstate(all="ignore"):  # values that are not finite are refused below
        clean = clean.astype(np.float64)
        over_all_but_c = (0, 2, 3)
        light = clean - np.percentile(clean, BACKGROUND_PERCENTILE, axis=over_all_but_c, keepdims=True)
        light = np.maximum(light, 0.0)
        total = light.mean(axis=over_all_but_c, keepdims=True)
        if not total.any():
            raise UserError(f"{label}: has no contrast, so that it cannot be scaled to a mean; leave out photons")
        return check_photons(mean * light / np.where(total == 0, 1.0, total), label)


@contextmanager
def together(noisy: Sink, truth: Sink | None, output: Path | None) -> Iterator[None]:
    """Complete or discard two sinks together; `output` is the file of the first one."""
    complete = False
    try:
        with truth or nullcontext():
            with noisy:
                yield
            complete = True
    except BaseException:
        if complete and output is not None:
            shutil.rmtree(output) if output.is_dir() else output.unlink(missing_ok=True)
        raise
