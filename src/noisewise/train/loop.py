"""The training loop: AdamW, warm-up and cosine, averaged weights, a held-out risk, and nothing hidden."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from noisewise.errors import UserError
from noisewise.methods.base import Batch, Method
from noisewise.progress import Progress

WARM_UP_STEPS = 40  # linear, whatever the length of the run
HELD_FRACTION = 0.1  # of the run: the learning rate stays at its peak so long
MEASURED_FRACTION = 0.05  # of a budget, in which the pace is measured: less than is held, whose rates need no length
SAVE_SECONDS = 60.0  # between two saves of an unfinished run
RESERVE = 0.95  # of the time left is planned: checks take some, and processors slow down
CHECKS = 20  # how often the held-out risk is looked at
CLEARLY = 1.02  # a risk this much above the lowest is a rise, not chance
PATIENCE = 5  # checks in a row with a risen risk, after which training stops
WEIGHT_DECAY = 1e-4
REFINING = 0.25  # of the learning rate, for weights that have learned before
GRADIENT_NORM = 1.0
EXPLODED = 1e3  # a loss (normalised units) beyond which a step is undone
AVERAGED_FRACTION = 0.05  # of the run: the time constant of the averaged weights


class Data(Protocol):
    """Where training patches come from: a function of the step's number."""

    held_out: Any

    def draw(self, step: int) -> Any:
        """Patches with `noisy`, `teach`, `target`, `generator`, `coordinates` and `background`."""


@dataclass
class Run:
    """The state of a training run: all that continuing it needs.

    as_built: the network is to be used as it came, without a step.
    """

    steps: int = 0
    step: int = 0
    recoveries: int = 0
    risen: int = 0
    stopped_early: bool = False
    as_built: bool = False
    risks: list[tuple[int, float]] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.as_built or self.stopped_early or self.step >= self.steps > 0

    def notes(self) -> list[str]:
        """What the user should know of how it went; empty if all is well."""
        notes = []
        if not self.finished:
            notes.append(f"training was interrupted after {self.step} of {self.steps or 'an unknown number of'} steps")
        if self.stopped_early:
            notes.append(f"training was ended after {self.step} steps: the held-out risk had risen")
        if self.recoveries:
            notes.append(f"training diverged {self.recoveries} times and recovered with a lower learning rate")
        return notes

    @property
    def best_risk(self) -> float:
        """The lowest risk so far."""
        return min((risk for _, risk in self.risks), default=math.inf)


def fit(
    method: Method,
    net: nn.Module,
    data: Data,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    run: Run | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    save: Callable[[], None] | None = None,
) -> Run:
    """Train `net` in place for a number of steps, or for as many as fit into some seconds.

    Ends with averaged weights in `net`; `save` is called every minute while they are in it. Ctrl-C ends it
    early, after the step at hand: `net` is then usable, and passing the returned run (and the same data)
    again continues to the result of an unbroken run.
    """
    run = run or Run()
    if run.finished:
        net.eval()
        return run
    trainer = Trainer(method, net, data, run)
    if seconds is None:
        run.steps = run.steps or steps or method.default_steps
    started, first = time.perf_counter(), run.step
    saved = measured = started
    if method.ready_as_built and run.step == 0:
        trainer.check()
    with ctrl_c_flag() as interrupted:
        while not run.finished and not interrupted.is_set():
            now = time.perf_counter()
            if run.step == WARM_UP_STEPS // 2:
                measured = now
            if not run.steps and run.step >= WARM_UP_STEPS:
                assert seconds is not None
                spent, pace = now - started, (now - measured) / (run.step - WARM_UP_STEPS // 2)
                if spent >= MEASURED_FRACTION * seconds:
                    run.steps = planned(run.step, RESERVE * (seconds - spent), pace)
            trainer.step()
            pace = (time.perf_counter() - started) / (run.step - first)
            risk = run.risks[-1][1] if run.risks else math.nan
            report(Progress(run.step, run.steps, risk, pace * (run.steps - run.step) if run.steps else math.nan))
            if save is not None and time.perf_counter() - saved > SAVE_SECONDS:
                trainer.show(save)
                saved = time.perf_counter()
    trainer.finish()
    return run


def planned(step: int, seconds: float, pace: float) -> int:
    """How many steps a run has that is at this one, with so many seconds left and so many a step."""
    steps = step + max(1, int(seconds / pace))
    # The rates so far were those of a longer run, unless it was the warm-up that took the time.
    return steps if step == WARM_UP_STEPS else max(steps, math.ceil(step / HELD_FRACTION))


class Trainer:
    """Weights in training, their running average, the optimiser, and the rules of a step."""

    def __init__(self, method: Method, net: nn.Module, data: Data, run: Run) -> None:
        self.method, self.net, self.data, self.run = method, net, data, run
        self.weights = [p for p in net.parameters() if p.requires_grad]
        self.live = [t for t in net.state_dict().values() if t.is_floating_point()]
        self.average = [t.clone() for t in self.live]
        self.best = [t.clone() for t in self.live]
        self.optimizer = torch.optim.AdamW(
            rated(self.weights, method.learned_before(net)), betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY, fused=True
        )
        self.device = self.weights[0].device
        self.precision = fast_precision(self.device)
        net.train()
        if run.tensors:
            self._unpack(run.tensors)

    def step(self) -> None:
        """One step of the optimiser, and of what follows it."""
        run = self.run
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * self.learning_rate()
        loss = self._loss(self.data.draw(run.step))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.weights, GRADIENT_NORM)
        if torch.isfinite(norm) and loss.item() < EXPLODED:
            self.optimizer.step()
        else:
            self._recover()
        run.step += 1
        # The average forgets the start: its memory grows to a fraction of the run.
        memory = min(run.step / 10, AVERAGED_FRACTION * (run.steps or math.inf)) if run.step > WARM_UP_STEPS else 1.0
        torch._foreach_lerp_(self.average, self.live, 1.0 / max(1.0, memory))
        if run.step > self.held and run.step % max(1, run.steps // CHECKS) == 0:
            self.check()

    def learning_rate(self) -> float:
        """Linear warm-up, the peak, then a cosine to zero; halved for each recovery."""
        step, steps = self.run.step, self.run.steps
        peak = self.method.learning_rate * 0.5**self.run.recoveries
        if step < WARM_UP_STEPS:
            return peak * (step + 1) / WARM_UP_STEPS
        if step <= self.held:
            return peak
        return peak * 0.5 * (1 + math.cos(math.pi * (step - self.held) / (steps - self.held)))

    @property
    def held(self) -> float:
        """The step up to which nothing depends on the length of the run."""
        return max(WARM_UP_STEPS, int(HELD_FRACTION * self.run.steps)) if self.run.steps else math.inf

    @property
    def progress(self) -> float:
        """How much of the run is over, of what depends on its length."""
        return max(0.0, (self.run.step - self.held) / max(1.0, self.run.steps - self.held))

    def finish(self) -> None:
        """Averaged weights into the network; those of the lowest risk if the risk has clearly risen since.

        Of a run that started from a prior, also if it has risen at all against the prior's.
        """
        self._pack()
        risks = self.run.risks
        risen = bool(risks) and (
            risks[-1][1] > CLEARLY * self.run.best_risk or (risks[0][0] == 0 and risks[-1][1] > risks[0][1])
        )
        torch._foreach_copy_(self.live, self.best if risen else self.average)
        self.net.eval()

    def show(self, save: Callable[[], None]) -> None:
        """Let `save` see the network as `finish` would leave it, then go on as if nothing had been."""
        self.finish()
        save()
        self._unpack(self.run.tensors)
        self.net.train()

    def _loss(self, patches: Any, held_out: bool = False) -> Tensor:
        batch = Batch(
            noisy=patches.noisy, teach=patches.teach, target=patches.target,
            generator=patches.generator, held_out=held_out, coordinates=patches.coordinates, progress=self.progress,
            background=patches.background,
        )  # fmt: skip
        enabled = self.precision is not None
        with torch.autocast(self.device.type, dtype=self.precision, enabled=enabled):
            return self.method.loss(self.net, batch)

    def check(self) -> None:
        """The averaged weights' loss on the held-out pixels; enough clear rises in a row stop the run."""
        self.data.held_out.generator.manual_seed(0)
        trained = [t.clone() for t in self.live]
        torch._foreach_copy_(self.live, self.average)
        self.net.eval()
        with torch.no_grad():
            risk = self._loss(self.data.held_out, held_out=True).item()
        self.net.train()
        torch._foreach_copy_(self.live, trained)
        run = self.run
        if risk < run.best_risk:
            torch._foreach_copy_(self.best, self.average)
        run.risks.append((run.step, risk))
        run.risen = run.risen + 1 if risk > CLEARLY * run.best_risk else 0
        run.stopped_early = run.risen >= PATIENCE

    def _recover(self) -> None:
        """A step that diverged: back to the averaged weights, fresh moments, half the learning rate."""
        torch._foreach_copy_(self.live, self.average)
        self.optimizer.state.clear()
        self.run.recoveries += 1
        if self.run.recoveries > 8:
            raise UserError("training diverges again and again; try a lower learning rate, or look at the images")

    def _pack(self) -> None:
        """Everything that `_unpack` needs, by name."""
        groups = {"live": self.live, "average": self.average, "best": self.best}
        for name in ("exp_avg", "exp_avg_sq", "step"):
            groups[name] = [self.optimizer.state[p][name] for p in self.weights if p in self.optimizer.state]
        self.run.tensors = {
            f"{name}.{i}": tensor.clone() for name, group in groups.items() for i, tensor in enumerate(group)
        }

    def _unpack(self, tensors: dict[str, Tensor]) -> None:
        for name, group in (("live", self.live), ("average", self.average), ("best", self.best)):
            for i, tensor in enumerate(group):
                tensor.copy_(tensors[f"{name}.{i}"])
        for i, weight in enumerate(self.weights):
            if f"step.{i}" in tensors:
                state = {name: tensors[f"{name}.{i}"] for name in ("exp_avg", "exp_avg_sq", "step")}
                # As the weight lies in memory: the fused step goes through all of them in that order.
                self.optimizer.state[weight] = {
                    k: torch.empty_like(weight if v.ndim else v, device=weight.device).copy_(v)
                    for k, v in state.items()
                }


def rated(weights: Sequence[nn.Parameter], learned: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
    """Groups of weights for the optimiser, each with its share of the learning rate."""
    known = {id(weight) for weight in learned}
    new, old = ([w for w in weights if (id(w) in known) == wanted] for wanted in (False, True))
    return [{"params": new, "share": 1.0}, {"params": old, "share": REFINING}]


@contextmanager
def ctrl_c_flag() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that a step is never cut in two; the second one interrupts."""
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
    """bfloat16 where the processor computes in it, else None (float32)."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device.type != "cpu":
        return None
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("arm_bf16")
    return torch.bfloat16 if native else None
