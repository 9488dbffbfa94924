"""A noise model from a first denoised version, where the noise of an image cannot be measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from noisewise import methods
from noisewise.axes import Layout
from noisewise.calibration.bootstrap import bootstrap
from noisewise.io.base import Source
from noisewise.noise.base import Noise
from noisewise.workflow.training import Training

FIRST_PASS_TILE = {2: 512, 3: 128}  # pixels along each side
FIRST_PASS_STEPS = 300  # of a Noise2Void whose result stands for the signal


def from_first_pass(sources: Sequence[Source], seed: int, device: str) -> Callable[[], list[Noise]]:
    """Makes a noise model for each channel from the first image and its result with a short Noise2Void."""

    def noise_models() -> list[Noise]:
        training = Training(methods.get("n2v")(), sources, seed=seed, device=device)
        model = training.run(steps=FIRST_PASS_STEPS)
        # Tiles of a fixed size, so that not even rounding depends on the free memory.
        signal = model.posterior(sources[0], tile=FIRST_PASS_TILE[model.spec.dims]).mean
        layout = Layout(sources[0].axes, "YX")
        noisy, denoised = (layout.to_network(image) for image in (sources[0].read(), signal))
        found = [bootstrap(noisy[:, c], denoised[:, c], axes="TYX") for c in range(noisy.shape[1])]
        for noise_model in found:
            noise_model.provenance["first_pass_steps"] = FIRST_PASS_STEPS
        return found

    return noise_models
