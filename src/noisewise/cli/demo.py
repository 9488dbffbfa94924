"""`noisewise demo`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from noisewise.cli._display import Display, print_json, say_notes
from noisewise.cli._exit import OK
from noisewise.cli._options import Budget, MessageOptions, Messages, Steps, check_length


@dataclass(kw_only=True)
class Demo:
    """Simulate an image of cells, denoise it, and compare the result with the truth.

    Files of an earlier demonstration are replaced.
    """

    output: Annotated[str, arg(aliases=("-o",), metavar="FOLDER")] = "noisewise_demo"
    """folder for the images and the figure"""
    budget: Budget = None
    """time for training and denoising together: 60s, 10min (default: 60s)"""
    steps: Steps = None
    """number of training steps, instead of a time"""
    seed: int = 0
    """random seed of the cells and their noise"""
    messages: MessageOptions = field(default_factory=Messages)

    def run(self) -> int:
        """Run the demonstration and print its scores."""
        check_length(self.budget, self.steps)
        from noisewise.cli._demo import demonstrate

        started = time.monotonic()
        with Display(self.messages.quiet) as display:
            folder = Path(self.output).expanduser()
            demo = demonstrate(folder, budget=self.budget, steps=self.steps, seed=self.seed, report=display)
        seconds = time.monotonic() - started
        say_notes(demo.result.notes, self.messages.quiet)
        if self.messages.json:
            print_json(as_record(demo, seconds))
            return OK
        print(f"{'':<10} {'PSNR':>8}  {'SSIM':>6}   (range of the truth: {demo.data_range:.0f} ADU)")
        for name, (decibels, similarity) in demo.scores.items():
            print(f"{name:<10} {decibels:5.2f} dB  {similarity:6.3f}")
        for path in demo.files.values():
            print(path)
        if not self.messages.quiet:
            print(f"{demo.result.model.train_state.step} steps, {seconds:.0f} s", file=sys.stderr)
        return OK


def as_record(demo: Any, seconds: float) -> dict[str, Any]:
    """The JSON output."""
    return {
        "scores": {name: {"psnr": p, "ssim": s} for name, (p, s) in demo.scores.items()},
        "data_range": demo.data_range,
        "files": demo.files,
        "steps": demo.result.model.train_state.step,
        "seconds": round(seconds, 2),
        "notes": demo.result.notes,
    }
