"""The choice between methods by an expected error that needs no truth: never worse than the image itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import noisewise as nw
from noisewise import methods
from noisewise.evaluate.consistency import ChannelNoise, check_consistency
from noisewise.evaluate.expected_gain import Power, Weights
from noisewise.evaluate.held_out import held_out_errors, neighbour_mean
from noisewise.io import open_source
from noisewise.noise.models.gaussian import Gaussian
from noisewise.posterior import Point, Posterior
from noisewise.scenes import draw
from noisewise.workflow import noise_model as noise_model_file
from noisewise.workflow.candidates import Candidate, Trial, explanations, finished, highest
from noisewise.workflow.judge import Explanation, Judge, Judgement
from noisewise.workflow.noise_model import MeasuredNoise, find_noise_models
from noisewise.workflow.training import Interrupted, Training

SIGMA, SPREAD = 3.0, 4.0


def independent_pixels(shape: tuple[int, ...] = (1, 1, 256, 256)) -> tuple[Tensor, Tensor]:
    """Signals N(0, SPREAD²), each pixel for itself, and noisy images of noise N(0, SIGMA²)."""
    generator = torch.Generator().manual_seed(0)
    signal = SPREAD * torch.randn(shape, generator=generator)
    return signal, signal + SIGMA * torch.randn(shape, generator=generator)


def shrinking(kept: float) -> Any:
    def denoise(noisy: Tensor) -> Posterior[Tensor]:
        return Point(kept * noisy)

    return denoise


@pytest.mark.parametrize("kept", [0.2, 0.64, 1.0, 1.3])
def test_the_expected_error_is_the_error(kept: float) -> None:
    signal, noisy = independent_pixels()
    found = check_consistency(noisy, Gaussian(SIGMA), shrinking(kept), stability=False)
    error = float(((kept * noisy - signal) ** 2).mean()) / SIGMA**2
    assert found.risk == pytest.approx(error, abs=4 * found.risk_error)
    assert found.noise == pytest.approx(1.0, abs=0.02)
    assert found.risk_error < 0.03


def test_each_channel_has_its_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = ChannelNoise([Gaussian(1.0), Gaussian(5.0)])
    signal = torch.zeros(2, 2, 64, 64)
    assert noise.mean_var(signal)[1].mean((0, 2, 3)).tolist() == pytest.approx([1.0, 25.0])
    assert noise.sample(signal, generator).std((0, 2, 3)).tolist() == pytest.approx([1.0, 5.0], rel=0.05)


def test_hidden_pixels_are_not_seen() -> None:
    """Their error is that of a prediction from the neighbours, plus the noise."""
    _, noisy = independent_pixels()
    errors = held_out_errors(noisy, shrinking(1.0))
    expected = (neighbour_mean(noisy) - noisy) ** 2
    scored = errors.isfinite()
    assert float(scored.float().mean()) == pytest.approx(0.25)
    torch.testing.assert_close(errors[scored], expected[scored])
    assert float(errors[scored].mean()) == pytest.approx((SPREAD**2 + SIGMA**2) * 9 / 8, rel=0.03)


def test_the_expected_error_with_more_noise_follows_from_that_with_less() -> None:
    """For noise of c times the variance, n is √c times as large, and a linear denoiser keeps the same part of it."""
    _, noisy = independent_pixels()
    weight = torch.ones_like(noisy)
    found = [
        Power.of(check_consistency(noisy, Gaussian(std), shrinking(0.64), stability=False, weight=weight))
        for std in (SIGMA, 2 * SIGMA)
    ]
    assert found[0].relative_risk(4.0) == pytest.approx(found[1].relative_risk(), abs=1e-4)
    assert found[0].likelihood(1.0) == 1.0
    strong = Power.of(check_consistency(noisy, Gaussian(SIGMA), shrinking(0.2), stability=False, weight=weight))
    assert strong.likelihood(8.0) < 1e-6  # 16 were removed, less than 80 % of a variance of 72


def power(risk: float) -> Power:
    """Of a posterior mean with this squared error; above 1, of one that removed too much."""
    kept = min(risk, 0.2) if risk > 1 else risk
    return Power(removed=risk + 1 - 2 * kept, noise=1.0, kept=kept, error=0.01)


def test_an_uncertain_variance_favours_results_that_remove_less() -> None:
    strong, weak, unchanged = power(0.1), Power(0.2, 1.0, 0.5, 0.01), power(1.0)
    certain = Weights.found([1.0], [0.05], [[strong], [weak], [unchanged]])
    assert certain.expected_gain([strong]) > certain.expected_gain([weak]) > 1
    assert certain.probability_of_loss([strong]) == 0
    uncertain = Weights.found([1.0], [1.0], [[strong], [weak], [unchanged]])
    assert uncertain.probability_of_loss([strong]) > 0.1 > uncertain.probability_of_loss([weak])
    assert uncertain.expected_gain([unchanged]) == pytest.approx(0, abs=1e-9)


def test_a_negative_expected_error_refutes_a_noise_model() -> None:
    """Whatever the denoiser: a squared error is not negative."""
    results = [[Power(0.5, 1.0, 0.05, 0.01), Power(0.5, 0.6, 0.05, 0.01)]]
    probability = Weights.found([0.9, 0.1], [0.0, 0.0], results).probability.sum(1)
    assert probability[1] > 0.99


def trial(name: str, risk: float, held_out: float | None) -> Any:
    judgement = Judgement((power(risk),), False, held_out)
    return Trial(Candidate(methods.get(name)(), ()), None, judgement, 0)  # type: ignore[arg-type]


def test_the_highest_expected_gain_is_taken_of_those_that_predict_hidden_pixels() -> None:
    noisy = np.random.default_rng(0).normal(100, 1, (64, 64)).astype(np.float32)
    explained = [Explanation((Gaussian(1.0),), (nw.measure(noisy),))]

    def chosen(*trials: Any) -> str:
        return highest(trials, explained).candidate.name

    assert chosen(trial("simulated", 0.3, 1.2), trial("n2v", 0.2, 1.25)) == "n2v"
    assert chosen(trial("simulated", 0.1, 1.9), trial("n2v", 0.2, 1.2)) == "n2v"
    assert chosen(trial("simulated", 1.4, 1.3), trial("unchanged", 1.0, 9.0)) == "unchanged"


def test_a_judge_prefers_the_denoiser_to_the_image_and_the_image_to_harm() -> None:
    signal = 100 + 100 * draw("mixed", (96, 96), 3)
    noisy = (signal + 15 * torch.randn(96, 96, generator=torch.Generator().manual_seed(0))).numpy()
    judge = Judge([open_source(noisy)], [Explanation((Gaussian(15.0),), (nw.measure(noisy),))])
    found, held_out = {}, {}
    for name, std in (("simulated", 15.0), ("harm", 60.0), ("unchanged", 15.0)):
        method = methods.get("unchanged" if name == "unchanged" else "simulated")()
        model = nw.train(method, noisy, noise=None if name == "unchanged" else Gaussian(std), steps=0)
        found[name] = judge.judge(method, model.net, "YX")
        held_out[name] = judge.held_out(method, model.net, "YX")
    risk = {name: one.powers[0].relative_risk() for name, one in found.items()}
    assert risk["simulated"] < 0.4 < risk["unchanged"] == pytest.approx(1.0, abs=0.02)
    assert not found["simulated"].inconsistent and found["harm"].inconsistent
    assert held_out["simulated"] is not None and held_out["harm"] is not None
    assert held_out["simulated"] < held_out["harm"]


def test_unchanged_returns_the_image(tmp_path: Any) -> None:
    image = np.random.default_rng(0).poisson(50, (64, 64)).astype(np.uint16)
    image[10:12, 10], image[20, 30], image[40, 41] = 0, 900, 3000  # hot pixels stay too
    result = nw.denoise(image, method="unchanged")
    np.testing.assert_array_equal(result.mean, image)
    result.model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(nw.load(tmp_path / "m.safetensors").predict(image).mean, image)


def test_an_image_without_noise_comes_back_untouched() -> None:
    image = np.rint(1000 + 2000 * draw("nuclei", (96, 96), 3).numpy()).astype(np.uint16)
    result = nw.denoise(image, steps=0)
    np.testing.assert_array_equal(result.mean, image)
    assert result.model.provenance["method"] == "unchanged"


def test_channels_may_have_noise_of_different_kinds() -> None:
    scene = 80 * draw("nuclei", (96, 96), 3).numpy()
    cameras = [nw.Camera(gain=2, read_noise=2, offset=100, row_noise_e=rows) for rows in (0, 8)]
    image = np.stack([camera.expose(scene, seed=seed) for seed, camera in enumerate(cameras)])
    assert [nw.measure(image, axes="CYX", channel=c).kind for c in (0, 1)] == ["white", "rows"]
    result = nw.denoise(image, axes="CYX", steps=0)
    assert result.model.provenance["method"] == "simulated"
    assert all(np.std(result.mean[c] - 100 - 2 * scene) < 0.7 * np.std(image[c] - 100 - 2 * scene) for c in (0, 1))


def test_a_channel_that_cannot_be_measured_leaves_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its noise model comes from a first denoised version, as without the choice."""
    scene = 80 * draw("nuclei", (96, 96), 3).numpy()
    white = nw.Camera(gain=2, read_noise=2, offset=100).expose(scene, seed=0)
    measure = noise_model_file.measure

    def first_alone(image: Any, *, channel: int = 0) -> nw.NoiseReport:
        if channel:
            raise nw.UserError("cannot be measured")
        return measure(image, channel=channel)

    monkeypatch.setattr(noise_model_file, "measure", first_alone)
    monkeypatch.setattr("noisewise.workflow.first_pass.FIRST_PASS_STEPS", 5)
    result = nw.denoise(np.stack([white, white]), axes="CYX", steps=0)
    assert result.model.provenance["method"] == "simulated" and "choice" not in result.model.provenance


def test_a_network_that_needs_training_is_never_used_without(monkeypatch: pytest.MonkeyPatch) -> None:
    image = nw.Camera(gain=2, read_noise=2, offset=100).expose(60 * draw("nuclei", (96, 96), 3).numpy(), seed=1)
    monkeypatch.setattr("noisewise.workflow.denoise.choose_method", lambda *_: "n2v")
    with pytest.raises(nw.UserError, match="at least 1 training step"):
        nw.denoise(image, steps=0)


def test_an_image_with_a_hole_in_the_middle_is_denoised() -> None:
    """As a mosaic with a gap: the part from the middle on which results are compared holds nothing."""
    clean = 60 * draw("nuclei", (320, 320), 3).numpy()
    noisy = nw.Camera(gain=2, read_noise=2, offset=100).expose(clean, seed=1).astype(np.float32)
    noisy[24:296, 24:296] = np.nan
    result = nw.denoise(noisy, steps=0).mean
    assert np.array_equal(np.isnan(result), np.isnan(noisy))
    assert np.nanmean((result - 100 - 2 * clean) ** 2) < np.nanmean((noisy - 100 - 2 * clean) ** 2)


def test_an_image_with_too_few_whole_blocks_cannot_be_measured() -> None:
    noisy = np.random.default_rng(0).poisson(50, (320, 320)).astype(np.float32)
    noisy[8:312] = np.nan
    with pytest.raises(nw.UserError, match="too little to measure noise"):
        nw.measure(noisy)


def test_a_network_that_training_made_worse_is_used_as_it_was() -> None:
    """Another candidate may then have the highest gain, or the same one without training: each is a finished model."""

    noisy = nw.Camera(gain=2, read_noise=2, offset=100).expose(60 * draw("nuclei", (96, 96), 3).numpy(), seed=1)
    candidate = Candidate(methods.get("simulated")(), (nw.measure(noisy).noise,))

    def begin(one: Candidate) -> Training:
        return Training(one.method, [open_source(noisy)], noise_models=one.noise_models)

    judgement = Judgement((power(0.1),), False)
    trained, waiting = begin(candidate), begin(candidate)
    trained.run(steps=2)
    as_it_was = finished(Trial(candidate, trained, judgement, 0), begin)
    never_run = finished(Trial(candidate, waiting, judgement, 0), begin)
    for model in (as_it_was, never_run):
        assert model.train_state.finished and model.train_state.calibrated and model.provenance["steps"] == 0
    for one, other in zip(as_it_was.net.parameters(), never_run.net.parameters(), strict=True):
        assert torch.equal(one, other)
    assert finished(Trial(candidate, trained, judgement, 2), begin) is trained.model


def test_less_noise_is_tried_from_the_measured_variance() -> None:
    noisy = nw.Camera(gain=2, read_noise=2, offset=100).expose(60 * draw("nuclei", (128, 128), 3).numpy(), seed=1)
    measured = MeasuredNoise([open_source(noisy)])
    first = Candidate(methods.get("simulated")(), find_noise_models(methods.get("simulated")(), measured))
    (found,) = explanations(measured, first)
    assert found.checkups == tuple(measured.checkups)
    signal = torch.tensor([150.0])
    variance = found.noise_models[0].mean_var(signal)[1] + found.noise_models[0].quantization.rounding_variance
    assert float(variance) == pytest.approx(float(measured.checkups[0].line(150.0)), rel=0.1)


SPARSE = pytest.mark.xfail(
    reason="the noise of this sparse scene is measured as correlated, and the image comes back unchanged", strict=True
)


@pytest.mark.parametrize("photons", [5, 20])
@pytest.mark.parametrize(
    ("scene", "seed"), [("regions", 4), ("regions", 5), ("nuclei", 4), pytest.param("nuclei", 5, marks=SPARSE)]
)
def test_counts_of_few_photons_are_denoised(scene: str, seed: int, photons: float) -> None:
    """Their noise takes a few values, whose shares are not those of the result's noise exactly."""
    clean = draw(scene, (192, 192), seed).numpy()
    rate = photons * clean / clean.mean()
    counts = np.random.default_rng(0).poisson(rate).astype(np.uint16)
    result = nw.denoise(counts, steps=0, float32=True).mean
    assert ((result - rate) ** 2).mean() < 0.4 * ((counts - rate) ** 2).mean()


def test_an_offset_changes_nothing() -> None:
    """Also where the noise is that of a mixture, which states no read noise."""
    rate = 10 * draw("nuclei", (160, 160), 5).numpy()
    rng = np.random.default_rng(0)
    noisy = (2 * rng.poisson(rate) + rng.normal(0, 3, rate.shape)).astype(np.float32)
    results = [nw.denoise(noisy + offset, steps=0).mean - offset for offset in (0, 100, -200)]
    errors = [((one - 2 * rate) ** 2).mean() for one in results]
    assert max(errors) < 1.15 * min(errors)


def test_an_interrupted_training_is_returned_as_it_is() -> None:
    noisy = nw.Camera(gain=2, read_noise=2, offset=100).expose(60 * draw("nuclei", (96, 96), 3).numpy(), seed=1)

    def stop(stage: nw.Stage) -> None:
        if stage.progress is not None and stage.progress.step >= 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        nw.denoise(noisy, steps=50, report=stop)
    assert not stopped.value.model.train_state.finished and stopped.value.model.train_state.step >= 3


def test_masked_arrays_and_empty_names_are_refused() -> None:
    with pytest.raises(nw.UserError, match="masked array"):
        nw.denoise(np.ma.masked_array(np.zeros((64, 64)), False), steps=0)
    for name in ("", " "):
        with pytest.raises(nw.UserError, match="empty"):
            nw.denoise(name, steps=0)
    for wrong in ({"steps": "3"}, {"seed": 1.5}, {"method": 3}):
        with pytest.raises(nw.UserError):
            nw.denoise(np.random.default_rng(0).poisson(9, (64, 64)), **wrong)
