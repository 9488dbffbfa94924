"""`noisewise demo`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from noisewise.cli import OK
from noisewise.cli._display import Display, print_json, say_notes
from noisewise.cli._options import Budget, MessageOptions, Messages, Steps, check_length


@dataclass(kw_only=True)
class Demo:
    """Draws cells, exposes them with a simulated camera, denoises the image, and compares with the truth.

    Its files are replaced when it runs again.
    """

    output: Annotated[str, arg(aliases=("-o",), metavar="FOLDER")] = "noisewise_demo"
    """where the images and the picture go"""
    budget: Budget = None
    """how long to take: 60s, 10min (default: 60s)"""
    steps: Steps = None
    """train for so many steps instead"""
    seed: int = 0
    """another seed draws other cells"""
    messages: MessageOptions = field(default_factory=Messages)

    def run(self) -> int:
        """Run the demonstration and print its numbers."""
        check_length(self.budget, self.steps)
        from noisewise.cli._demo import demonstrate

        started = time.monotonic()
        with Display(self.messages.quiet) as display:
            demo = demonstrate(
                Path(self.output).expanduser(),
                budget=self.budget,
                steps=self.steps,
                seed=self.seed,
                report=display,
            )
        seconds = time.monotonic() - started
        say_notes(demo.result.notes, self.messages.quiet)
        if self.messages.json:
            print_json(as_record(demo, seconds))
            return OK
        print(f"{'':<10} {'PSNR':>8}  {'SSIM':>6}   (range {demo.data_range:.0f}, the truth's)")
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
