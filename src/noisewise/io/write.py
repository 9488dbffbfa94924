"""Outputs of each denoised image: the mean, and on request its std, samples, mode and an animation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from noisewise.errors import UserError
from noisewise.io import companions, create_sinks
from noisewise.io.base import Sink, Source
from noisewise.io.files import Draft
from noisewise.io.plan import Plan, plan_files
from noisewise.io.space import refuse_without_space, size_of
from noisewise.io.stacked import stacked

AVERAGED_PIXELS = 4_000_000  # up to this size test-time augmentation takes seconds and is the default
SHORTEST_BUDGET = 15.0  # seconds; with less, it is not


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """How images are denoised and written."""

    average: Literal["auto", "yes", "no"] = "auto"
    """test-time augmentation: average over 8 flips and rotations, which takes eight times the prediction time
    (auto: up to 4 million pixels, unless less than 15 s of the budget are left)"""
    tile: Literal["auto"] | int = "auto"
    """pixels along each side of a tile; the result does not depend on it"""
    float32: bool = False
    """write 32-bit floats instead of the input's pixel type"""
    std: bool = False
    """also write the standard deviation of each pixel, as 32-bit floats, to <output>_std; for methods that give it"""
    samples: int = 0
    """also write this number of posterior samples, along a new axis, to <output>_samples; for methods that give them"""
    diverse: int = 0
    """keep only this number of the samples, chosen to represent all of them"""
    gif: bool = False
    """also write the samples as an animation, <output>_samples.gif: the maximum along Z, the first of other axes"""
    mode: bool = False
    """also write the mode, an image sharper than the mean, to <output>_mode; for methods that give samples"""
    overwrite: bool = False
    """replace outputs that exist"""
    skip_existing: bool = False
    """skip inputs whose output exists"""

    @classmethod
    def split_from(cls, options: dict[str, Any]) -> tuple[WriteOptions, dict[str, Any]]:
        """Separate write options from other options.

        options: keyword arguments; `average` may also be True, False or None (auto).

        Returns the write options, and all other options. Their values are not checked; see `check`.
        """
        names = {field.name for field in fields(cls)}
        mine = {name: value for name, value in options.items() if name in names}
        if "average" in mine:
            mine["average"] = {True: "yes", False: "no", None: "auto"}.get(mine["average"], mine["average"])
        return cls(**mine), {name: value for name, value in options.items() if name not in names}

    def check(self) -> None:
        """Errors: `UserError` for options that contradict each other or make no sense."""
        if self.overwrite and self.skip_existing:
            raise UserError("the options overwrite and skip-existing exclude each other; give one")
        if self.average not in ("auto", "yes", "no"):
            raise UserError(f"average {self.average} is not possible; give yes, no or auto")
        if self.tile != "auto" and not (isinstance(self.tile, int) and self.tile >= 1):
            raise UserError(f"tile {self.tile} is not a size in pixels; give a number, or auto")
        if self.samples < 0:
            raise UserError(f"samples {self.samples} is not a number of samples; give 1 or more")
        if not self.samples and (self.diverse or self.gif):
            raise UserError(f"{'gif' if self.gif else 'diverse'} needs samples; give a number of samples, such as 8")
        if self.diverse and not 0 < self.diverse <= self.samples:
            raise UserError(f"diverse {self.diverse} of {self.samples} is not possible; give 1 to {self.samples}")

    def plan(
        self, patterns: Sequence[str | Path], output: str | Path | None, failed: dict[str, str] | None = None
    ) -> Plan:
        """Find the inputs and name the output of each.

        patterns: files, folders, or patterns such as "*.tif". output: a file, a folder, or None: beside each input.
        failed: collects inputs that do not exist, instead of errors.

        Errors: `UserError` as `check`, for inputs that do not exist, and for two outputs of one name or outputs that
        would replace an input.
        """
        self.check()
        return plan_files(
            patterns, output, companions=lambda path: companions(path).values(),
            beside=lambda path: self.beside(path).values(), skip_existing=self.skip_existing, failed=failed,
        )  # fmt: skip

    @property
    def kept(self) -> int:
        """Number of samples that are written."""
        return self.diverse or self.samples

    @property
    def mean_alone(self) -> bool:
        """Whether nothing is written that not every method gives."""
        return not (self.std or self.samples or self.mode)

    @property
    def tile_size(self) -> int | None:
        """Pixels along each side of a tile, or None for what fits into memory."""
        return None if self.tile == "auto" else self.tile

    def averages(self, sources: Sequence[Source], budget: float | None = None) -> bool:
        """Whether to use test-time augmentation: as asked for, or by default where it costs little.

        budget: seconds, if there is one.
        """
        if self.average != "auto":
            return self.average == "yes"
        small = sum(prod(source.shape) for source in sources) <= AVERAGED_PIXELS
        return small and (budget or SHORTEST_BUDGET) >= SHORTEST_BUDGET

    def beside(self, output: Path) -> dict[str, Path]:
        """Further files that are written for an image, by name (`std`, `samples`, `gif`, `mode`).

        output: the file of the denoised image.
        """
        wanted = {"std": self.std, "samples": self.samples > 0, "gif": self.gif, "mode": self.mode}
        return {name: path for name, path in companions(output).items() if wanted.get(name)}

    def files(self, path: Path, sources: Sequence[Source]) -> Iterator[tuple[str, Path, Sequence[Source], Any]]:
        """Yield the output of the images of a file and its further files: name, file, images of their shapes, and type.

        path: the output file. Names: `mean`, `std`, `mode`, `samples`; an animation is made of the samples. The pixel
        type is None where it is that of each image.
        """
        kind, beside = np.float32 if self.float32 else None, companions(path)
        yield "mean", path, sources, kind
        if self.std:
            yield "std", beside["std"], sources, np.float32
        if self.mode:
            yield "mode", beside["mode"], sources, kind
        if self.samples:
            yield "samples", beside["samples"], [stacked(source, self.kept) for source in sources], kind

    def sinks(
        self, path: Path, sources: Sequence[Source], records: Sequence[dict[str, Any]] = ()
    ) -> Iterator[tuple[str, list[Sink]]]:
        """Yield sinks for the output of the images of a file, and its further files, by name.

        path: the output file. sources: the images whose shape and metadata the outputs have. records: JSON-like, one
        for each image; go into their metadata. Names: `mean`, `std`, `mode`, `samples`. Errors: `UserError` as
        `create_sinks`.
        """
        for name, file, likes, kind in self.files(path, sources):
            yield name, create_sinks(file, likes, kind, records, self.overwrite)

    def refuse_early(self, outputs: Iterable[tuple[Path | None, Sequence[Source]]]) -> None:
        """Check before the work that all outputs can be written; nothing is left behind.

        outputs: output files, with their opened images. Errors: `UserError` for outputs that exist, are an input,
        cannot be written, do not fit on the disk, or whose format cannot hold the image.
        """
        pairs = [(path, sources) for path, sources in outputs if path is not None]
        for path, _ in pairs:
            if os.path.lexists(path) and not self.overwrite:
                raise UserError(
                    f"{path}: exists already; choose another name, replace it (overwrite), or leave out images whose "
                    f"output exists (skip_existing)"
                )
        refuse_without_space([size_of(*file[1:]) for file in self.files(path, sources)] for path, sources in pairs)
        for path, sources in pairs:
            for _, sinks in self.sinks(path, sources):
                for sink in sinks:
                    sink.discard()
            if self.gif:
                Draft(companions(path)["gif"], self.overwrite).discard()
