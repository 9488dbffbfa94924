"""The training loop: AdamW, warm-up and cosine decay, averaged weights, validation and early stopping."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from noisewise.errors import UserError
from noisewise.methods.base import Batch, Denoiser, Method
from noisewise.progress import Progress
from noisewise.train.clock import Clock
from noisewise.train.state import PEAK_FRACTION, WARM_UP_STEPS, TrainState

VALIDATIONS = 20  # in a training
RISE_FACTOR = 1.02  # a validation loss this much above the lowest has risen, beyond its fluctuation
PATIENCE = 5  # validations in a row with a risen loss, after which training stops
WEIGHT_DECAY = 1e-4
PRETRAINED_RATE = 0.25  # of the learning rate, for pretrained parameters
GRADIENT_NORM = 1.0
MAX_LOSS = 1e3  # normalised units: a step with a larger loss is undone
AVERAGED_FRACTION = 0.05  # of the training: the time constant of the averaged weights
MAX_RECOVERIES = 8


class Data(Protocol):
    """Source of training patches, which are a function of the step."""

    held_out: Any

    def draw(self, step: int) -> Any:
        """Patches of a step, with `noisy`, `valid`, `target`, `generator`, `coordinates` and `background`."""


def fit(
    method: Method, net: Denoiser, data: Data, *, steps: int | None = None, seconds: float | None = None,
    state: TrainState | None = None, report: Callable[[Progress], None] = lambda _: None,
    save: Callable[[], None] | None = None,
) -> TrainState:  # fmt: skip
    """Train `net` in place for a number of steps, or for a time budget.

    steps: default the method's. seconds: the budget, which becomes a number of steps after a measured warm-up.
    state: that of an interrupted training, to resume it. report: called with the progress after each step.
    save: called every minute, while the averaged weights are in `net`; they are in it at the end too.

    Ctrl-C ends the training after the current step: `net` is then usable, and resuming with the returned state and the
    same data leads to the result of an uninterrupted training. So does a `KeyboardInterrupt` that `report` raises; what
    else it raises is raised again, after `save`.

    Errors: `UserError` if training diverges repeatedly.
    """
    state = state or TrainState()
    if state.finished:
        net.eval()
        return state
    trainer = Trainer(method, net, data, state)
    if seconds is None:
        state.steps = state.steps or steps or method.default_steps
    clock = Clock(seconds, state.step)
    if method.traits.usable_untrained and state.step == 0:
        trainer.validate()
    with ctrl_c_flag() as interrupted:
        while not state.finished and not interrupted.is_set():
            trainer.step()
            clock.plan(state)
            try:
                report(replace(clock.progress(state), show=trainer.show))
            except KeyboardInterrupt:  # as Ctrl-C
                interrupted.set()
            except BaseException:
                trainer.finish()
                if save is not None:
                    save()
                raise
            if save is not None and clock.time_to_save():
                trainer.show(save)
                clock.saved = time.perf_counter()
    if method.traits.usable_untrained and state.finished and state.validation_losses[-1][0] < state.step:
        trainer.validate()
    trainer.finish()
    return state


class Trainer:
    """The weights in training, their running average and the optimiser; performs the steps."""

    def __init__(self, method: Method, net: Denoiser, data: Data, state: TrainState) -> None:
        self.method, self.net, self.data, self.state = method, net, data, state
        self.weights = [p for p in net.parameters() if p.requires_grad]
        self.live = [t for t in net.state_dict().values() if t.is_floating_point()]
        self.average = [t.clone() for t in self.live]
        self.best = [t.clone() for t in self.live]
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.weights, net.pretrained_parameters()), betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY,
            fused=True,
        )  # fmt: skip
        self.device = self.weights[0].device
        self.precision = fast_precision(self.device)
        net.train()
        if state.tensors:
            self._unpack(state.tensors)

    def step(self) -> None:
        """One step: optimiser, averaged weights and, now and then, validation."""
        state = self.state
        for group in self.optimizer.param_groups:
            group["lr"] = group["factor"] * self.learning_rate()
        loss = self._loss(self.data.draw(state.step))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.weights, GRADIENT_NORM)
        if torch.isfinite(norm) and loss.item() < MAX_LOSS:
            self.optimizer.step()
        else:
            self._recover()
        state.step += 1
        # The time constant of the average grows to a fraction of the training, so that early weights fade.
        constant = min(state.step / 10, AVERAGED_FRACTION * (state.steps or math.inf))
        constant = constant if state.step > WARM_UP_STEPS else 1.0
        torch._foreach_lerp_(self.average, self.live, 1.0 / max(1.0, constant))
        if state.step > self.peak_end and state.step % max(1, state.steps // VALIDATIONS) == 0:
            self.validate()

    def learning_rate(self) -> float:
        """Linear warm-up, the peak, then a cosine to zero; halved for each recovery."""
        step, steps = self.state.step, self.state.steps
        peak = self.method.learning_rate * 0.5**self.state.recoveries
        if step < WARM_UP_STEPS:
            return peak * (step + 1) / WARM_UP_STEPS
        if step <= self.peak_end:
            return peak
        return peak * 0.5 * (1 + math.cos(math.pi * (step - self.peak_end) / (steps - self.peak_end)))

    @property
    def peak_end(self) -> float:
        """The step up to which the learning rate does not depend on the length of the training."""
        return max(WARM_UP_STEPS, int(PEAK_FRACTION * self.state.steps)) if self.state.steps else math.inf

    @property
    def progress(self) -> float:
        """Fraction of the training after the peak that is done, 0 to 1."""
        return max(0.0, (self.state.step - self.peak_end) / max(1.0, self.state.steps - self.peak_end))

    def finish(self) -> None:
        """Copy the averaged weights into the network: the last ones, or the best ones if the validation loss has risen.

        If the pretrained weights were validated first, a loss above theirs counts as risen, too.
        """
        self._pack()
        losses = self.state.validation_losses
        risen = bool(losses) and (
            losses[-1][1] > RISE_FACTOR * self.state.best_validation_loss
            or (losses[0][0] == 0 and losses[-1][1] > losses[0][1])
        )
        torch._foreach_copy_(self.live, self.best if risen else self.average)
        self.net.eval()

    def show(self, save: Callable[[], None]) -> None:
        """Call `save` with the network as `finish` would leave it, then continue unchanged."""
        self.finish()
        save()
        self._unpack(self.state.tensors)
        self.net.train()

    def _loss(self, patches: Any, held_out: bool = False) -> Tensor:
        batch = Batch(
            noisy=patches.noisy, valid=patches.valid, target=patches.target,
            generator=patches.generator, held_out=held_out, coordinates=patches.coordinates, progress=self.progress,
            background=patches.background,
        )  # fmt: skip
        enabled = self.precision is not None
        with torch.autocast(self.device.type, dtype=self.precision, enabled=enabled):
            return self.method.loss(self.net, batch)

    def validate(self) -> None:
        """Compute the validation loss of the averaged weights on held-out pixels; stop if it has risen repeatedly."""
        self.data.held_out.generator.manual_seed(0)
        trained = [t.clone() for t in self.live]
        torch._foreach_copy_(self.live, self.average)
        self.net.eval()
        with torch.no_grad():
            loss = self._loss(self.data.held_out, held_out=True).item()
        self.net.train()
        torch._foreach_copy_(self.live, trained)
        state = self.state
        if loss < state.best_validation_loss:
            torch._foreach_copy_(self.best, self.average)
        state.validation_losses.append((state.step, loss))
        state.rises = state.rises + 1 if loss > RISE_FACTOR * state.best_validation_loss else 0
        state.stopped_early = state.rises >= PATIENCE

    def _recover(self) -> None:
        """Undo a diverged step: averaged weights, new moments, half the learning rate. Errors: `UserError`."""
        torch._foreach_copy_(self.live, self.average)
        self.optimizer.state.clear()
        self.state.recoveries += 1
        if self.state.recoveries > MAX_RECOVERIES:
            raise UserError(
                f"training diverged {self.state.recoveries} times; train with a lower rate: noisewise train METHOD "
                f"IMAGE --learning-rate {self.method.learning_rate / 4:g} -o MODEL"
            )

    def _pack(self) -> None:
        """Keep weights and optimiser state in the training state, by name."""
        groups = {"live": self.live, "average": self.average, "best": self.best}
        for name in ("exp_avg", "exp_avg_sq", "step"):
            groups[name] = [self.optimizer.state[p][name] for p in self.weights if p in self.optimizer.state]
        self.state.tensors = {
            f"{name}.{i}": tensor.clone() for name, group in groups.items() for i, tensor in enumerate(group)
        }

    def _unpack(self, tensors: dict[str, Tensor]) -> None:
        check_fits(tensors, self.live, self.weights)
        for name, group in (("live", self.live), ("average", self.average), ("best", self.best)):
            for i, tensor in enumerate(group):
                tensor.copy_(tensors[f"{name}.{i}"])
        for i, weight in enumerate(self.weights):
            if f"step.{i}" in tensors:
                state = {name: tensors[f"{name}.{i}"] for name in ("exp_avg", "exp_avg_sq", "step")}
                # The fused step requires the memory layout of the weight.
                self.optimizer.state[weight] = {
                    k: torch.empty_like(weight if v.ndim else v, device=weight.device).copy_(v)
                    for k, v in state.items()
                }


def check_fits(tensors: dict[str, Tensor], live: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
    """Errors: `UserError` for the tensors of a training state, from a file, that are not those of this network."""
    wanted = {f"{name}.{i}": t.shape for name in ("live", "average", "best") for i, t in enumerate(live)}
    for i, weight in enumerate(weights):
        if f"step.{i}" in tensors:
            shapes = {"exp_avg": weight.shape, "exp_avg_sq": weight.shape, "step": torch.Size([])}
            wanted |= {f"{name}.{i}": shape for name, shape in shapes.items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != wanted:
        raise UserError("the state of the training does not fit its network: the model file is damaged; train again")


def parameter_groups(weights: Sequence[nn.Parameter], pretrained: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
    """Groups of parameters for the optimiser, each with a factor of the learning rate."""
    known = {id(weight) for weight in pretrained}
    new, old = ([w for w in weights if (id(w) in known) == wanted] for wanted in (False, True))
    return [{"params": new, "factor": 1.0}, {"params": old, "factor": PRETRAINED_RATE}]


@contextmanager
def ctrl_c_flag() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that the current step is completed; the second one interrupts."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)


def fast_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 where the device computes in it natively, else None (float32)."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device.type != "cpu":
        return None
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("arm_bf16")
    return torch.bfloat16 if native else None
