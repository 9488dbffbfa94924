"""Training a method on images: everything that is decided before the first step, and what follows the last."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from math import prod
from pathlib import Path
from typing import Any

import torch

from noisewise import methods, threads
from noisewise.axes import Layout
from noisewise.data.images import TrainingImage, nbytes
from noisewise.data.patches import PatchSource
from noisewise.data.planned import memory_notes, plan_bytes
from noisewise.data.repeats import pairs_of
from noisewise.errors import NeedsTraining, UserError, counted
from noisewise.estimate.report import NoiseReport
from noisewise.evaluate.mismatch import mismatch_warnings
from noisewise.io.base import Source
from noisewise.io.files import Draft, user_path
from noisewise.io.scan_lines import aligned
from noisewise.methods.base import ImageSpec, Method, Traits
from noisewise.model import Model, check_size
from noisewise.nets.planes import REACH
from noisewise.noise.base import Noise
from noisewise.noise.ops.photon_counts import gain_and_offset
from noisewise.predict.device import pick_device
from noisewise.predict.memory import free_bytes
from noisewise.predict.run import Predictor
from noisewise.progress import Progress, Report, Stage, quiet
from noisewise.train.loop import fit
from noisewise.train.state import TrainState
from noisewise.version import __version__
from noisewise.workflow.budget import WORTH_TRAINING
from noisewise.workflow.calibrate_std import calibrate
from noisewise.workflow.choose import check_targets, suitability_warnings
from noisewise.workflow.neighbours import choose_spatial

ENOUGH_PHOTONS = 5000  # in all images together: from fewer, a pretrained network learns their noise
CALIBRATED_ON = 8  # batches of patches, on which standard deviations are compared with errors
FITTED_ON = 8 * 64**2  # pixels, of which samples are compared with standard deviations
UNKNOWN_Z_SPACING = 3.0  # times the pixel size, where the file does not say
DEPTH = 16  # slices of a 3D patch
FIRST_PASS = (
    "the noise could not be measured directly; its model was made from a first denoised version ({steps} training "
    "steps), so it is less certain; calibrate the camera: noisewise calibrate FRAMES -o NOISE"
)
COLLAPSED = (
    "the latent variables carry no information about the image (a collapsed posterior), so that all samples show its "
    "mean; train longer (a budget of 10min or more), or check whether the noise model is too strong: noisewise measure "
    "IMAGE"
)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; `model` holds what was learned so far, and is usable.

    groups: of images with different noise, each with a model of its own; `model` is that of one of them.
    """

    def __init__(self, model: Model) -> None:
        super().__init__("interrupted")
        self.model, self.groups = model, 1


class Training:
    """Images, patches and network of a training; then `run`.

    notes: what was noticed before the first step. ready: whether the network is usable without any training.
    """

    def __init__(
        self, method: Method, noisy: Sequence[Source], targets: Sequence[Source] = (), *,
        noise_models: Sequence[Noise] = (), checkup: NoiseReport | None = None, seed: int = 0, device: str = "auto",
        resume: Model | None = None,
    ) -> None:  # fmt: skip
        if resume is not None:
            check_resumed(resume, noisy)
            method, noise_models = resume.method, resume.noise_models
            seed = resume.provenance.get("seed", seed)
        traits, name = method.traits, methods.name_of(method)
        check_targets(traits, name, len(noisy), len(targets))
        check_images(noisy, noise_models)
        self.seed, self.device, self.threads = seed, pick_device(device, noise_models), threads.for_training()
        spatial = choose_spatial(method, noisy, checkup) if resume is None else resume.spec.spatial
        images, pair_notes = training_images(traits, name, noisy, targets, spatial)
        dims = len(spatial)
        wanted, planned = sum(map(nbytes, images)), 0 if resume is None else resume.train_state.image_bytes
        image_bytes = plan_bytes(wanted, free_bytes(), planned)
        self.patches = PatchSource(
            images, patch_shape(method, dims), method.batch_size or traits.patches_per_step[dims - 2], seed=seed,
            memory_bytes=image_bytes, device=self.device, symmetry=traits.symmetry(noise_models, dims),
        )  # fmt: skip
        self.model = resume or self._build(method, images, spatial, noise_models)
        self.model.train_state.image_bytes = image_bytes
        self.model.to(self.device).provenance = self._provenance(name, noisy)
        warnings = self.model.net.warnings
        self.ready = traits.usable_untrained and not warnings
        spec = self.model.spec
        self.photons = count_photons(traits, noise_models, spec, sum(prod(source.shape) for source in noisy))
        self.notes = [
            *(note for source in [*noisy, *targets] for note in source.notes), *pair_notes, *warnings,
            *first_pass_notes(noise_models),
            *memory_notes(wanted, image_bytes, planned),
            *mismatch_warnings(noise_models, spec.mean, spec.std), *suitability_warnings(method, checkup, dims),
        ]  # fmt: skip

    def _build(
        self, method: Method, images: Sequence[TrainingImage], spatial: str, noise_models: Sequence[Noise]
    ) -> Model:
        spec = make_spec(images, spatial, self.patches, same_units=method.traits.needs == "pairs")
        torch.manual_seed(self.seed)
        return Model(method, spec, method.build(spec, noise_models), {}, TrainState())

    def run(
        self, *, steps: int | None = None, seconds: float | None = None, output: str | Path | None = None,
        report: Report = quiet,
    ) -> Model:  # fmt: skip
        """Train for some steps, or for as many as fit into some seconds; the model file `output` is kept up to date.

        A pretrained network is used as it is for zero steps, or seconds too few to improve it.

        Errors: `UserError` for an impossible number of steps; `Interrupted` on a second Ctrl-C, or one after the last
        step.
        """
        model, state = self.model, self.model.train_state
        least = 0 if self.ready else 1
        if steps is not None and steps < least:
            raise NeedsTraining(f"this method needs at least {counted(least, 'training step')}, not {steps}")
        too_little = seconds is not None and (seconds < WORTH_TRAINING or self.photons < ENOUGH_PHOTONS)
        trainable = any(parameter.requires_grad for parameter in model.net.parameters())
        state.untrained = self.ready and (steps == 0 or too_little or not trainable)
        if state.untrained and self.photons < ENOUGH_PHOTONS:
            self.notes.append(
                f"{self.photons:.0f} photons are too few to learn from: the packaged network is used as it is"
            )
        elif state.untrained and seconds is not None and seconds < WORTH_TRAINING and trainable:
            self.notes.append(
                f"not trained: that takes {WORTH_TRAINING - seconds:.0f} s more at least; give a longer budget to train"
            )

        def save() -> None:
            model.provenance |= {"steps": state.step, "planned_steps": state.steps}
            if output is not None:
                model.save(output)

        claim = None if output is None else Draft(user_path(output), overwrite=True)
        try:
            if self.notes:
                report(Stage("notes", 0.0, notes=self.notes))
            with threads.limited(self.threads):
                fit(
                    model.method, model.net, self.patches, steps=steps, seconds=seconds, state=state,
                    report=as_stage(report, model), save=None if output is None else save,
                )  # fmt: skip
            save()
            after = self._calibrate_std() + [COLLAPSED] * model.net.collapsed
        except KeyboardInterrupt:
            raise Interrupted(model) from None
        finally:
            self.patches.close()
            if claim is not None:
                claim.discard()
        model.notes = self.notes + self.patches.pixel_counts.notes() + state.notes() + after
        save()
        return model

    def seconds_to_predict(self, sources: Sequence[Source], average: bool) -> float:
        """How long prediction will take, measured on training patches. average: with test-time augmentation."""
        predictor, noisy = Predictor(self.model.method, self.model.net), self.patches.held_out.noisy
        predictor.mean(noisy[:1])
        start = time.perf_counter()
        predictor.mean(noisy)
        pixels_per_second = noisy.numel() / (time.perf_counter() - start)
        return sum(prod(source.shape) for source in sources) * (8 if average else 1) / pixels_per_second

    def _calibrate_std(self) -> list[str]:
        """Correct results, standard deviations and samples, after training. Returns notes for large changes."""
        model, state = self.model, self.model.train_state
        if not state.finished or state.calibrated:
            return []
        notes: list[str] = []
        if model.method.traits.std:
            batches = [self.patches.draw(state.steps + i) for i in range(CALIBRATED_ON)]
            found, notes = calibrate(model.method, model.net, batches)
            model.provenance["calibration"] = [None if one is None else one.record() for one in found]
            if model.method.traits.samples and not state.untrained:
                patches = torch.cat([batch.noisy[:1].float() for batch in batches])
                model.method.fit_samples(model.net, patches[: max(1, FITTED_ON // patches[0].numel())])
        state.calibrated = True
        return notes

    def _provenance(self, name: str, noisy: Sequence[Source]) -> dict[str, Any]:
        return {
            "software": f"noisewise {__version__}",
            "method": name,
            "seed": self.seed,
            "trained_on": [source.name for source in noisy],
            "threads": self.threads,
        }


def count_photons(traits: Traits, noise_models: Sequence[Noise], spec: ImageSpec, pixels: int) -> float:
    """Photons in images of this number of pixels; infinite for methods that are not for photon counts."""
    if not traits.counts_only:
        return math.inf
    pairs = zip(cycle(noise_models), spec.mean, spec.std, strict=False)
    scales = [(mean, *gain_and_offset(noise_model, mean, std)) for noise_model, mean, std in pairs]
    return sum((mean - offset) / gain for mean, gain, offset in scales) * pixels / len(spec.mean)


def first_pass_notes(noise_models: Sequence[Noise]) -> list[str]:
    """A note where a noise model was made from a first denoised version of the images."""
    steps = {model.provenance["first_pass_steps"] for model in noise_models if "first_pass_steps" in model.provenance}
    return [FIRST_PASS.format(steps=number) for number in steps]


def as_stage(report: Report, model: Model) -> Callable[[Progress], None]:
    """Progress of the training loop, reported as a stage of the workflow."""

    def training_progress(progress: Progress) -> None:
        def preview(image: Any, axes: str | None = None) -> Any:
            found: list[Any] = []
            assert progress.show is not None
            progress.show(lambda: found.append(model.predict(image, axes=axes, average=False, report=quiet)))
            return found[0]

        fraction = progress.step / progress.steps if progress.steps else 0.0
        report(Stage("train", fraction, progress, preview=preview))

    return training_progress


def patch_shape(method: Method, dims: int) -> tuple[int, ...]:
    """Spatial size of a training patch."""
    depth = 2 * REACH + 1 if method.traits.neighbours else DEPTH
    return (depth, method.patch_size, method.patch_size)[-dims:]


def training_images(
    traits: Traits, name: str, noisy: Sequence[Source], targets: Sequence[Source], spatial: str
) -> tuple[list[TrainingImage], list[str]]:
    """Images with their targets, and what was noticed about repeated images of one scene. Errors: `UserError`."""
    notes: list[str] = []
    paired: list[tuple[Source, Source | None]]
    if traits.needs == "pairs":
        pairs, notes = pairs_of(noisy, targets, name)
        paired = [*pairs]
    else:
        seconds: Sequence[Source | None] = targets or [None] * len(noisy)
        paired = list(zip(map(aligned, noisy) if traits.needs == "noisy" else noisy, seconds, strict=True))
    return [TrainingImage(source, Layout(source.axes, spatial), target) for source, target in paired], notes


def check_images(noisy: Sequence[Source], noise_models: Sequence[Noise]) -> None:
    """Errors: `UserError` for images with different numbers of channels, or too large for a noise model."""
    first = noisy[0]
    for source in noisy:
        if source.size_of("C") != first.size_of("C"):
            raise UserError(
                f"{source.name}: has {counted(source.size_of('C'), 'channel')}, {first.name} has {first.size_of('C')}; "
                f"denoise them separately"
            )
        check_size(source, noise_models)


def check_resumed(begun: Model, noisy: Sequence[Source]) -> None:
    """Errors: `UserError` for other images than those that the training began with."""
    names, given = begun.provenance.get("trained_on"), [source.name for source in noisy]
    if names != given:
        raise UserError(f"the training began with {names}, not {given}; give the same images in the same order")
    for source in noisy:
        begun.layout_for(source)


def make_spec(images: Sequence[TrainingImage], spatial: str, patches: PatchSource, *, same_units: bool) -> ImageSpec:
    """What the network must know of the images. same_units: whether the targets are in the units of the inputs."""
    target = patches.noisy_statistics if same_units else patches.target_statistics
    scale = images[0].noisy.scale
    pixel = scale.get("X") or 1.0
    spacing = {
        "T": UNKNOWN_Z_SPACING,
        "Z": (scale.get("Z") or pixel * UNKNOWN_Z_SPACING) / pixel,
        "Y": (scale.get("Y") or pixel) / pixel,
        "X": 1.0,
    }
    return ImageSpec(
        spatial=spatial,
        channels=images[0].noisy.size_of("C"),
        spacing=tuple(spacing[axis] for axis in spatial),
        size=tuple(min(image.size[a] for image in images) for a in range(len(spatial))),
        mean=patches.noisy_statistics.mean,
        std=patches.noisy_statistics.std,
        target_mean=target.mean,
        target_std=target.std,
    )
