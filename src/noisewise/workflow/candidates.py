"""Candidates for denoising an image, and the choice between their results by an expected error that needs no truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from noisewise import methods
from noisewise.errors import counted
from noisewise.estimate.report import NoiseReport
from noisewise.io.write import WriteOptions
from noisewise.methods.base import Method
from noisewise.model import Model
from noisewise.noise.base import Noise
from noisewise.workflow.judge import Explanation, Judge, Judgement
from noisewise.workflow.noise_model import MeasuredNoise, measured_noise_models, refined
from noisewise.workflow.training import Training

WORSE_HELD_OUT = 1.15  # of the least error of hidden pixels: a candidate above this is not taken
SHARE = 0.5  # of the time that is left, for a candidate that is trained because those before are in doubt
LAST_RESORT = "unchanged"


@dataclass(frozen=True)
class Candidate:
    """A method with its noise models."""

    method: Method
    noise_models: tuple[Noise, ...]

    @property
    def name(self) -> str:
        """The name of the method."""
        return methods.name_of(self.method)


@dataclass(frozen=True)
class Trial:
    """A candidate in training, and what is expected of its result now; weights: those of now."""

    candidate: Candidate
    training: Training
    judgement: Judgement
    weights: dict[str, Tensor]
    trained: bool


def explanations(measured: MeasuredNoise, first: Candidate) -> list[Explanation]:
    """Explanations of the noise of all channels, the most probable one first.

    A channel with a single explanation keeps it. first: the candidate for the first explanation, with its noise models.

    Errors: `UserError` where the noise of a channel cannot be measured.
    """
    checkups, simulated = measured.checkups, methods.get("simulated")()
    noise_models = first.noise_models or measured.of_all_channels([one.noise for one in checkups])
    found = [explanation(checkups, noise_models)]
    if any(one.other for one in checkups):
        others = [one.other or one for one in checkups]
        models = measured_noise_models(refined(measured, others, simulated), simulated)
        found.append(explanation(others, measured.of_all_channels(models)))
    return found


def explanation(checkups: Sequence[NoiseReport], noise_models: tuple[Noise, ...]) -> Explanation:
    """An explanation with these check-ups and noise models."""
    kinds = tuple(one.kind for one in checkups)
    return Explanation(noise_models, min(one.probability for one in checkups), kinds)


def other_candidates(
    first: Candidate, explained: Sequence[Explanation], write: WriteOptions
) -> Iterator[Candidate]:  # fmt: skip
    """What else may denoise images, if the result of the first candidate is in doubt; the image itself at last.

    explained: all explanations of the noise, that of the first candidate first.
    """
    simulated = methods.get("simulated")()
    for one in explained[1:]:
        if set(one.kinds) <= set(simulated.traits.removes):
            yield Candidate(simulated, one.noise_models)
    for name in ("n2v", LAST_RESORT):
        if name != first.name and not write.std:
            yield Candidate(methods.get(name)(), ())


def choose_and_train(
    candidates: Sequence[Candidate], explained: Sequence[Explanation], measured: MeasuredNoise,
    begin: Callable[[Candidate], Training], run: Callable[[Training, float], Model],
) -> Model:  # fmt: skip
    """Train the first candidate; or if there are several, the one whose result has the lowest expected error.

    explained: explanations of the noise. begin: builds the network of a candidate. run: trains it for a share of the
    time that is left. A pretrained network is judged before it is trained, for each explanation; other candidates
    follow where all of them are in doubt.
    """
    if len(candidates) == 1:
        return run(begin(candidates[0]), 1.0)
    limits = [None if one.pixel_values.high is None else one.pixel_values.high.value for one in measured.checkups]
    judge = Judge(measured.sources, explained, limits)
    trials: list[Trial] = []
    for number, candidate in enumerate(candidates, 1):
        training = begin(candidate)
        if not training.ready:
            run(training, SHARE)
        trials.append(trial(judge, candidate, training))
        if number >= len(explained) and not all(one.judgement.in_doubt for one in trials):
            break
    best = lowest(trials)
    if not best.trained:
        run(best.training, 1.0)
        best = lowest([trial(judge, best.candidate, best.training), best])
    model = best.training.model
    model.net.load_state_dict(best.weights)
    model.provenance["choice"] = {"reason": reason(best, trials, measured), "candidates": list(map(record, trials))}
    if len(trials) > 1:
        model.notes.append(model.provenance["choice"]["reason"])
    return model


def reason(best: Trial, trials: Sequence[Trial], measured: MeasuredNoise) -> str:
    """What was chosen and why, in one sentence."""
    checkup = measured.checkup
    gain = None if checkup is None else checkup.gain_adu_per_e
    noise = "noise not measured" if checkup is None else f"{checkup.kind} noise"
    what = f"{noise}, gain {gain.value:.2g} ADU/e⁻" if gain else noise
    steps = counted(best.training.model.train_state.step, "step")
    how = f"{best.candidate.name}, trained for {steps}" if best.trained else f"{best.candidate.name}, not trained"
    losers = [f"{one.candidate.name} {one.judgement.risk:.2g}" for one in trials if one.candidate is not best.candidate]
    error = f"expected squared error {best.judgement.risk:.2g} of the noise variance"
    return f"{what}: {how} ({error}{'; ' + ', '.join(losers) if losers else ''})"


def trial(judge: Judge, candidate: Candidate, training: Training) -> Trial:
    """What is expected of a candidate now."""
    model = training.model
    judgement = judge.judge(model.method, model.net, model.spec.spatial)
    weights = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    return Trial(candidate, training, judgement, weights, model.train_state.step > 0)


def record(one: Trial) -> dict[str, object]:
    """What was found of a candidate, as JSON values."""
    found = one.judgement
    return {
        "method": one.candidate.name, "trained": one.trained, "expected_error": found.risk,
        "expected_error_std": found.error, "held_out_error": found.held_out, "in_doubt": found.in_doubt,
    }  # fmt: skip


def lowest(trials: Sequence[Trial]) -> Trial:
    """The trial with the lowest expected error, of those that predict hidden pixels about as well as any."""
    least = min((one.judgement.held_out for one in trials if one.judgement.held_out is not None), default=None)

    def fair(one: Trial) -> bool:
        error = one.judgement.held_out
        return least is None or error is None or error <= WORSE_HELD_OUT * least or one.candidate.name == LAST_RESORT

    return min(filter(fair, trials), key=lambda one: one.judgement.risk)
