"""The state of a training, with everything that is needed to resume it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from noisewise.errors import counted

WARM_UP_STEPS = 40  # linear, whatever the length of the training
PEAK_FRACTION = 0.1  # of the training, during which the learning rate stays at its peak


@dataclass
class TrainState:
    """State of a training: everything needed to resume it.

    steps: planned number of steps, 0 while unknown. step: steps done. recoveries: how often training diverged.
    image_bytes: memory that was planned for training images, 0 while unknown; the patches depend on it.
    untrained: the network is used as it was built, without a step. calibrated: standard deviations were compared with
    errors afterwards. validation_losses: (step, loss). rises: validations in a row with a risen loss. tensors: weights
    and optimiser state.
    """

    steps: int = 0
    step: int = 0
    recoveries: int = 0
    rises: int = 0
    image_bytes: int = 0
    stopped_early: bool = False
    untrained: bool = False
    calibrated: bool = False
    validation_losses: list[tuple[int, float]] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the training is complete."""
        return self.untrained or self.stopped_early or self.step >= self.steps > 0

    def notes(self) -> list[str]:
        """Notes for the user; empty if the training went well."""
        notes = []
        if not self.finished:
            notes.append(f"training was interrupted at step {self.step}" + (f" of {self.steps}" if self.steps else ""))
        if self.stopped_early:
            best, last = self.best_validation_loss, self.validation_losses[-1][1]
            change = f"the validation loss rose from {best:.3f} to {last:.3f} after {counted(self.step, 'step')}"
            notes.append(f"training stopped early: {change}; the best weights are used")
        if self.recoveries:
            notes.append(f"training diverged {counted(self.recoveries, 'time')} and went on with a lower learning rate")
        return notes

    @property
    def best_validation_loss(self) -> float:
        """The lowest validation loss so far."""
        return min((loss for _, loss in self.validation_losses), default=math.inf)
