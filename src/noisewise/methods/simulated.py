"""Simulated: learns from drawn scenes, seen through the noise that was measured, as from a recorded truth."""

from __future__ import annotations

from dataclasses import dataclass

from noisewise.methods._scenes import SceneTaught


@dataclass(frozen=True, kw_only=True)
class Simulated(SceneTaught):
    """Draws scenes s from a wide prior p(s), noise from the measured p(x|s), and regresses s on x: f(x) = E[s | x].

    Let T be the transform under which the noise has unit variance, v the variance itself. The network corrects T(x),
    f(x) = T⁻¹(T(x) − g(x)), and is told the law: how few the photons are, read noise, rounding, correlation, rows.
    loss = mean (f(x) − s)² / v(f(x)) with the weight held fixed, so that the least is at E[s | x] in image units.
    A second map σ(x) is fitted to what remains, as in `care`.

    Where each pixel has its noise for itself, the image teaches too: of half of the patches a share α is taken out, as
    in `r2r`; of the others pixels are hidden, as in `n2v`, and teach where σ says that they tell little of themselves:
    ∂f/∂x = Var[s|x] / v, below a tenth.

    Sources: Achddou et al. 2021 (drawn scenes); Mäkitalo and Foi 2011 (transforms and their inverses); for σ Nix and
    Weigend 1994; Pang et al. 2021 and Monroy et al. 2025 (the image's share); Miyasawa 1961 (∂f/∂x).
    """

    @property
    def ready_as_built(self) -> bool:
        return self.starts_from_prior
