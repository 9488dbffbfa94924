"""Candidates for denoising an image, and the choice between their results by an expected error that needs no truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from noisewise import methods
from noisewise.errors import counted
from noisewise.evaluate.expected_gain import Weights
from noisewise.io.write import WriteOptions
from noisewise.methods.base import Method
from noisewise.model import Model
from noisewise.noise.base import Noise
from noisewise.workflow.choose import make_method
from noisewise.workflow.judge import Explanation, Judge, Judgement
from noisewise.workflow.neighbours import choose_spatial
from noisewise.workflow.noise_model import MeasuredNoise, measured_noise_models
from noisewise.workflow.training import Training

WORSE_HELD_OUT = 1.15  # of the least error of hidden pixels: a candidate above this is not taken
UNCERTAIN, LOWER = 0.2, (1.0, 2.0)  # error of the logarithm of the variance; by how many of them less is tried
LIKELY_LOSS, LIKELY_IF_UNSURE = 0.16, 0.05  # probability of a loss; where there are several explanations of the noise
SHARE = 0.5  # of the time that is left, for a candidate that is trained because those before are in doubt
LAST_RESORT = "unchanged"
KINDS = {"rows": "row noise", "columns": "column noise", "none": "no noise"}


@dataclass(frozen=True)
class Candidate:
    """A method with its noise models; about: in what they differ from those of the first candidate."""

    method: Method
    noise_models: tuple[Noise, ...]
    about: str = ""

    @property
    def name(self) -> str:
        """The name of the method."""
        return methods.name_of(self.method)


@dataclass(frozen=True)
class Trial:
    """A candidate in training, and what is expected of its result now, after some steps."""

    candidate: Candidate
    training: Training
    judgement: Judgement
    steps: int

    @property
    def trained(self) -> bool:
        """Whether it was trained."""
        return self.steps > 0


def explanations(measured: MeasuredNoise, first: Candidate) -> list[Explanation]:
    """Explanations of the noise of all channels, the most probable one first.

    A channel with a single explanation keeps it. first: the candidate for the first explanation, with its noise models.

    Errors: `UserError` where the noise of a channel cannot be measured.
    """
    checkups, simulated = measured.checkups, methods.get("simulated")()
    noise_models = first.noise_models or measured.of_all_channels([one.noise for one in checkups])
    found = [Explanation(noise_models, tuple(checkups))]
    if any(one.other for one in checkups):
        others = [one.other or one for one in checkups]
        models = measured_noise_models(others, simulated)
        found.append(Explanation(measured.of_all_channels(models), tuple(others)))
    return found


def other_candidates(
    first: Candidate, explained: Sequence[Explanation], write: WriteOptions, measured: MeasuredNoise
) -> Iterator[Candidate]:
    """What is compared with the first candidate: each plane on its own, other explanations of the noise, and the image
    itself.
    """
    simulated = methods.get("simulated")()
    if first.method.traits.neighbours:
        spatial = choose_spatial(first.method, measured.sources, measured.checkup)
        if len(spatial) > 2:
            alone = make_method(first.method, {"spatial": spatial, "neighbours": False})
            yield Candidate(alone, first.noise_models, "plane by plane")
    for one in explained[1:]:
        if set(one.kinds) <= set(simulated.traits.removes):
            yield Candidate(simulated, one.noise_models, kind_in_words(one.kinds[0]))
    if write.mean_alone and first.name != LAST_RESORT:
        yield Candidate(methods.get(LAST_RESORT)(), ())


def reserve(
    first: Candidate, measured: MeasuredNoise, explained: Sequence[Explanation], write: WriteOptions
) -> Iterator[Candidate]:
    """What is tried where none of these can be believed: less noise, and a method that needs no noise model."""
    simulated = methods.get("simulated")()
    for one in explained:
        if one.log_variance_error < UNCERTAIN or not set(one.kinds) <= set(simulated.traits.removes):
            continue
        for factor in (math.exp(-lower * one.log_variance_error) for lower in LOWER):
            weaker = [part.with_variance(factor) for part in one.checkups]
            if all(part.kind == "none" for part in weaker):
                break
            noise_models = measured.of_all_channels(measured_noise_models(weaker, simulated))
            yield Candidate(
                simulated, noise_models, f"{kind_in_words(one.kinds[0])} of {factor:.2f} times the variance"
            )
    if write.mean_alone and first.name != "n2v":
        yield Candidate(methods.get("n2v")(spatial=getattr(first.method, "spatial", "auto")), ())


def choose_and_train(
    candidates: Sequence[Candidate], spare: Iterator[Candidate], explained: Sequence[Explanation],
    measured: MeasuredNoise, begin: Callable[[Candidate], Training], run: Callable[[Training, float], Model],
    untrained: bool = False,
) -> Model:  # fmt: skip
    """Train the first candidate; or if there are several, the one whose result has the highest expected gain.

    spare: more candidates, tried until a result can be believed. explained: explanations of the noise. begin: builds
    the network of a candidate. run: trains it for a share of the time that is left. untrained: nothing is trained.
    Pretrained networks are judged before they are trained, and so is the image itself. Where a training is interrupted,
    its model is returned.
    """
    if len(candidates) == 1:
        return run(begin(candidates[0]), 1.0)
    highest_values = [one.pixel_values.high for one in measured.checkups]
    limits = {c: limit.value for c, limit in zip(measured.light, highest_values, strict=True) if limit is not None}
    judge = Judge(measured.sources, explained, limits)
    trials: list[Trial] = []
    for candidate in chain(candidates, until(lambda: believed(trials, explained), spare)):
        training = begin(candidate)
        if untrained and candidate.method.traits.usable_untrained:
            training.ready = True  # its result is judged, however unlike those of its training the image is
        if not training.ready and not run(training, SHARE).train_state.finished:
            return training.model  # interrupted
        trials.append(trial(judge, candidate, training))
    if not all(one.training.ready for one in trials):  # some need no noise model: compared without one too
        trials = [with_held_out(judge, one) for one in trials]
    best = highest(trials, explained)
    if not best.trained:
        trained = run(best.training, 1.0)
        if not trained.train_state.finished:
            return trained
        if trained.train_state.step:
            again = trial(judge, best.candidate, best.training)
            trials.append(again if trials[0].judgement.held_out is None else with_held_out(judge, again))
            best = highest(trials, explained)
    model = finished(best, begin)
    weights = weights_of(trials, explained)
    gains = [weights.expected_gain(one.judgement.powers) for one in trials]
    sentence = reason(best, trials, gains, measured)
    model.provenance["choice"] = {"reason": sentence, "candidates": [record(one, weights) for one in trials]}
    model.notes.append(sentence)
    return model


def until(enough: Callable[[], bool], candidates: Iterator[Candidate]) -> Iterator[Candidate]:
    """Candidates, made one by one, until there are enough."""
    while not enough():
        candidate = next(candidates, None)
        if candidate is None:
            return
        yield candidate


def weights_of(trials: Sequence[Trial], explained: Sequence[Explanation]) -> Weights:
    """Probabilities of the explanations, by what the results tell."""
    powers = [one.judgement.powers for one in trials]
    return Weights.found([one.probability for one in explained], [one.log_variance_error for one in explained], powers)


def reason(best: Trial, trials: Sequence[Trial], gains: Sequence[float], measured: MeasuredNoise) -> str:
    """What was chosen and why, in one sentence."""
    expected = [f"{label(one)} {gain:+.1f}" for one, gain in zip(trials, gains, strict=True) if one is not best]
    found = f"expected gain {gains[trials.index(best)]:+.1f} dB{'; ' + ', '.join(expected) if expected else ''}"
    return f"{noise_of(measured)}: {label(best)} ({found})"


def kind_in_words(kind: str) -> str:
    """A kind of noise in words."""
    return KINDS.get(kind, f"{kind} noise")


def without_choice(measured: MeasuredNoise, model: Model) -> str:
    """What is said of a method that was taken without a comparison."""
    name, steps = model.provenance["method"], model.train_state.step
    trained = f"trained for {counted(steps, 'step')}" if steps else "not trained"
    return f"{noise_of(measured)}: {name}, {trained}"


def noise_of(measured: MeasuredNoise) -> str:
    """The noise of the first channel in words."""
    checkup = measured.checkup
    if checkup is None:
        return "noise not measured"
    gain = checkup.gain_adu_per_e
    return f"{kind_in_words(checkup.kind)}{f', gain {gain.value:.2g} ADU/e⁻' if gain else ''}"


def label(one: Trial) -> str:
    """The method of a trial, and how long it was trained."""
    if one.candidate.name == LAST_RESORT:
        return "the image unchanged"
    trained = f"trained for {counted(one.steps, 'step')}" if one.trained else "not trained"
    return ", ".join(filter(None, (one.candidate.name, one.candidate.about, trained)))


def trial(judge: Judge, candidate: Candidate, training: Training) -> Trial:
    """What is expected of a candidate now."""
    model = training.model
    judgement = judge.judge(model.method, model.net, model.spec.spatial)
    return Trial(candidate, training, judgement, model.train_state.step)


def finished(one: Trial, begin: Callable[[Candidate], Training]) -> Model:
    """The model of a trial, as it was judged: a network that training made worse is begun again, and not trained."""
    state = one.training.model.train_state
    if state.finished and state.step == one.steps:
        return one.training.model
    training = begin(one.candidate) if state.finished else one.training
    return training.run(steps=0)


def with_held_out(judge: Judge, one: Trial) -> Trial:
    """The trial with its error of hidden pixels."""
    model = one.training.model
    held_out = judge.held_out(model.method, model.net, model.spec.spatial)
    return replace(one, judgement=replace(one.judgement, held_out=held_out))


def record(one: Trial, weights: Weights) -> dict[str, object]:
    """What was found of a candidate, as JSON values."""
    found = one.judgement
    return {
        "method": one.candidate.name, "noise": one.candidate.about, "steps": one.steps,
        "expected_gain_db": weights.expected_gain(found.powers),
        "probability_of_loss": weights.probability_of_loss(found.powers),
        "relative_risks": [power.relative_risk() for power in found.powers],
        "held_out_error": found.held_out, "inconsistent": found.inconsistent,
    }  # fmt: skip


def believable(trials: Sequence[Trial], weights: Weights) -> list[Trial]:
    """Results that are consistent with the noise, and hardly ever worse than the image; and the image itself."""
    likely = LIKELY_LOSS if len(weights.probability) == 1 else LIKELY_IF_UNSURE
    return [
        one for one in trials
        if one.candidate.name == LAST_RESORT
        or (not one.judgement.inconsistent and weights.probability_of_loss(one.judgement.powers) < likely)
    ]  # fmt: skip


def believed(trials: Sequence[Trial], explained: Sequence[Explanation]) -> bool:
    """Whether there is a result to believe beside the image itself."""
    found = believable(trials, weights_of(trials, explained))
    return any(one.candidate.name != LAST_RESORT for one in found)


def highest(trials: Sequence[Trial], explained: Sequence[Explanation]) -> Trial:
    """The trial with the highest expected gain, of those that can be believed, and predict hidden pixels about as well
    as any. Where none can be believed, of all.
    """
    least = min((one.judgement.held_out for one in trials if one.judgement.held_out is not None), default=None)
    weights = weights_of(trials, explained)

    def fair(one: Trial) -> bool:
        error = one.judgement.held_out
        return least is None or error is None or error <= WORSE_HELD_OUT * least or one.candidate.name == LAST_RESORT

    chosen = [one for one in believable(trials, weights) if fair(one)] or list(trials)
    return max(chosen, key=lambda one: weights.expected_gain(one.judgement.powers))
