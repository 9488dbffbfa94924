"""From a time budget to a number of training steps, and from steps to the time left."""

from __future__ import annotations

import math
import time

from noisewise.progress import Progress
from noisewise.train.state import PEAK_FRACTION, WARM_UP_STEPS, TrainState

SLOW_STEPS = 2  # at first, which do not tell the pace
PACE_STEPS, EARLY_FRACTION = 3, 0.3  # that tell the pace; part of the budget after which fewer have to
MEASURED_FRACTION = 0.05  # of a budget, in which the pace is measured: shorter than the peak, whose rate is constant
SAVE_SECONDS = 60.0  # between two saves of an unfinished training
RESERVE = 0.9  # of the time left is planned: validation takes time, and processors slow down


class Clock:
    """Convert a time budget into a number of steps, and steps into the time left.

    seconds: the budget, or None if the number of steps is given. first: the step at which this training began.
    """

    def __init__(self, seconds: float | None, first: int) -> None:
        self.seconds, self.first = seconds, first
        self.started = self.saved = self.warm = time.perf_counter()
        self.first_warm = 0

    def plan(self, state: TrainState) -> None:
        """Fix the number of steps once the pace has been measured."""
        now, step = time.perf_counter(), state.step
        if step in (SLOW_STEPS, WARM_UP_STEPS // 2):
            self.warm, self.first_warm = now, step
        if state.steps or self.seconds is None or step == 0:
            return
        spent = now - self.started
        if step < SLOW_STEPS + PACE_STEPS and spent < EARLY_FRACTION * self.seconds:
            return
        left = RESERVE * (self.seconds - spent)
        pace = (now - self.warm) / (step - self.first_warm) if step > self.first_warm else spent / step
        too_slow = left < pace * (WARM_UP_STEPS - step)  # for the whole warm-up
        if too_slow or (step >= WARM_UP_STEPS and spent >= MEASURED_FRACTION * self.seconds):
            state.steps = planned(step, left, pace)

    def progress(self, state: TrainState) -> Progress:
        """Steps done, the last validation loss, and seconds left (NaN while unknown)."""
        pace = (time.perf_counter() - self.started) / (state.step - self.first)
        loss = state.validation_losses[-1][1] if state.validation_losses else math.nan
        left = pace * (state.steps - state.step) if state.steps else math.nan
        return Progress(state.step, state.steps, loss, left)

    def time_to_save(self) -> bool:
        """Whether the last save was more than `SAVE_SECONDS` ago."""
        return time.perf_counter() - self.saved > SAVE_SECONDS


def planned(step: int, seconds: float, pace: float) -> int:
    """Total number of steps of a training at this step, from the seconds left and the seconds per step."""
    steps = step + max(0, int(seconds / pace))
    # The steps so far are the peak of a training of at least this length, unless they were the warm-up alone.
    return steps if step <= WARM_UP_STEPS else max(steps, math.ceil(step / PEAK_FRACTION))
