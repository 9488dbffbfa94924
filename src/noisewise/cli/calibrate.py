"""`noisewise calibrate`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from noisewise.cli._display import print_json, say_notes
from noisewise.cli._exit import OK
from noisewise.cli._models import plan_figure, plan_noise
from noisewise.cli._options import Axes, File, MessageOptions, Messages, Switch, check
from noisewise.cli._print import say
from noisewise.errors import UserError, counted
from noisewise.io.files import user_path
from noisewise.io.plan import find_images, refuse_inputs

if TYPE_CHECKING:
    from noisewise.calibration.correlated import CorrelatedCalibration
    from noisewise.calibration.result import Calibration
    from noisewise.noise.base import Noise

CORRELATED = ("correlated", "autoregressive")  # kinds for noise that is correlated between pixels
Stack = Positional[Annotated[list[str], arg(metavar="STACK...", help_behavior_hint="")]]


@dataclass(kw_only=True)
class Calibrate:
    """Make a noise model of a camera from about 100 frames of one static scene with dark and bright parts.

    A good scene is out of focus and has a gradient from dark to bright, such as the almost closed field diaphragm. Dark
    frames, recorded with the same settings and a closed shutter, give offset and read noise.
    """

    stack: Stack
    """the recording: a file with several frames, or a folder or files with one frame each"""
    output: Annotated[str, arg(aliases=("-o",), metavar="NOISE", help_behavior_hint="")]
    """noise model to write, such as camera.safetensors"""
    dark: File = None
    """dark frames: a file or a folder"""
    kind: Literal[
        "gaussian", "poisson_gaussian", "histogram", "mixture", "pixel_maps", "correlated", "autoregressive"
    ] = "mixture"
    """form of the noise model; pixel_maps: gain, offset and read noise of each pixel, which needs dark frames;
    correlated (by its spectrum) and autoregressive (along rows, columns or both): for noise that is correlated between
    pixels, for which dark frames or empty image regions are enough"""
    offset: Annotated[float | None, arg(metavar="ADU", help_behavior_hint="")] = None
    """pixel value without light, if it is known and there are no dark frames"""
    denoised: File = None
    """denoised images, a file or a folder with one for each input, to make the noise model without a recording"""
    figure: File = None
    """plot the recording and the fit into this PNG, PDF or SVG"""
    axes: Axes = None
    """dimensions of the images, letters out of STCZYX, if the file does not give them or they are wrong"""
    seed: int = 0
    """random seed of the pixels that are used, where there are too many"""
    overwrite: Switch = False
    """replace outputs that exist"""
    messages: MessageOptions = field(default_factory=Messages)

    def run(self) -> int:
        """Make the noise model and write it."""
        self._check()
        inputs = find_images(self.stack)
        refuse_inputs(inputs, [user_path(name) for name in (self.output, self.figure) if name is not None])
        figure, path = plan_figure(self.figure, self.overwrite), plan_noise(self.output, self.overwrite)
        assert path is not None
        started = time.monotonic()
        source = inputs[0] if len(inputs) == 1 else inputs
        noise, lines, draw = self._calibrate(source)
        noise.save(path)
        if figure is not None:
            draw(str(figure))
        return self._finish(inputs, noise, lines, time.monotonic() - started)

    def _calibrate(self, source: Any) -> tuple[Noise, list[str], Callable[[str], None]]:
        """The noise model, its summary, and a function that plots it."""
        if self.kind in CORRELATED:
            return self._correlated(source)
        return self._record(source) if self.denoised is None else self._bootstrap(source)

    def _check(self) -> None:
        """Errors: `UserError` for options that are not possible."""
        if not self.stack:
            raise UserError("no input; give a recording, as in: noisewise calibrate frames.tif -o camera.safetensors")
        check(self)
        if self.offset is not None and not math.isfinite(self.offset):
            raise UserError(f"--offset {self.offset:g} is not a pixel value; give the mean of dark frames, in ADU")
        if self.denoised is not None and (self.dark is not None or self.offset is not None):
            raise UserError("--denoised needs no --dark and no --offset; give either a recording or denoised images")
        if self.kind in CORRELATED and (self.dark is not None or self.offset is not None):
            raise UserError(f"--kind {self.kind} needs no --dark and no --offset; give dark frames as the recording")
        for name in (self.dark, self.denoised):
            if name is not None:
                find_images([name])

    def _record(self, source: Any) -> tuple[Noise, list[str], Callable[[str], None]]:
        from noisewise.calibration.calibrate import calibrate_recording
        from noisewise.plots.calibration import plot_calibration

        dark = None if self.dark is None else listed(self.dark)
        found = calibrate_recording(
            source, dark=dark, kind=self.kind, axes=self.axes, offset=self.offset, seed=self.seed
        )
        return found.noise, summary(found), partial(plot_calibration, found)

    def _bootstrap(self, source: Any) -> tuple[Noise, list[str], Callable[[str], None]]:
        from noisewise.calibration.bootstrap import bootstrap
        from noisewise.plots.noise_model import plot_noise_model

        assert self.denoised is not None
        noise = bootstrap(source, listed(self.denoised), kind=self.kind, axes=self.axes)
        return noise, bootstrap_summary(noise), partial(plot_noise_model, noise)

    def _correlated(self, source: Any) -> tuple[Noise, list[str], Callable[[str], None]]:
        from noisewise.calibration.correlated import calibrate_correlated
        from noisewise.plots.correlated_noise import plot_correlated_noise

        denoised = None if self.denoised is None else listed(self.denoised)
        found = calibrate_correlated(source, denoised, kind=self.kind, axes=self.axes, seed=self.seed)
        return found.noise, correlated_summary(found), partial(plot_correlated_noise, found)

    def _finish(self, inputs: list[Path], noise: Noise, lines: list[str], seconds: float) -> int:
        say_notes(noise.provenance["warnings"], self.messages.quiet)
        if self.messages.json:
            files = {"input": inputs, "output": self.output, "figure": self.figure, "seconds": round(seconds, 2)}
            print_json(files | noise.provenance)
            return OK
        for name in (self.output, self.figure):
            if name is not None:
                say(name)
        if not self.messages.quiet:
            say("\n".join([*lines, f"{seconds:.0f} s"]), error=True)
        return OK


def listed(pattern: str) -> Any:
    """The image, or the images, of a file, folder or pattern."""
    found = find_images([pattern])
    return found[0] if len(found) == 1 else found


def summary(found: Calibration) -> list[str]:
    """A calibration as lines of text."""
    return [f"{name + ':':<11} {text}" for name, text in found.facts().items()]


def correlated_summary(found: CorrelatedCalibration) -> list[str]:
    """A model of correlated noise as lines of text."""
    from noisewise.calibration.correlated import autocorrelation_along

    record = found.noise.provenance
    real, sampled = (
        [autocorrelation_along(part, axis) for axis in (-1, -2)] for part in (found.noisy - found.signal, found.sampled)
    )
    error = max(abs(a - b) for pair in zip(real, sampled, strict=True) for a, b in zip(*pair, strict=True))
    neighbours = ", ".join(f"{part[1]:.2f} along {axis}" for axis, part in zip("XY", real, strict=True))
    facts = {
        "images": f"{record['frames']} of {found.noisy.shape[1]} x {found.noisy.shape[2]} pixels",
        "noise": f"{float((found.noisy - found.signal).std()):.3g} ADU; correlation of neighbours: {neighbours}",
        "fit": f"the autocorrelation of samples differs by at most {error:.2g} up to {len(real[0]) - 1} pixels",
    }
    return [f"{name + ':':<7} {text}" for name, text in facts.items()]


def bootstrap_summary(noise: Noise) -> list[str]:
    """A bootstrapped noise model as lines of text."""
    record = noise.provenance
    low, high = record["signal_range"]
    gain = record["gain_adu_per_e"]
    facts = {
        "images": f"{counted(record['frames'], 'image')}, signals from {low:.5g} to {high:.5g} ADU",
        "gain": "unknown: the noise does not grow with the signal" if gain is None else f"{gain:.3g} ADU per electron",
        "noise": f"{record['noise_std_adu']:.3g} ADU on average; the residual has {record['residual_std_adu']:.3g} ADU",
    }
    return [f"{name + ':':<7} {text}" for name, text in facts.items()]
