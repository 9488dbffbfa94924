"""A verdict in words from the checks of a result: believe, look here, or do not believe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from noisewise.evaluate.consistency import UNSTABLE
from noisewise.evaluate.coverage import EXPECTED_QUANTILE
from noisewise.evaluate.finished import LIMITS, Finding

Word = Literal["believe", "look here", "do not believe"]
MUCH = 3.0  # times the limit: the image as a whole is not believed
WHOLE = ("missing", "amount", "structure", "scale", "shift", "blurred", "sharpened")  # checks of the image as a whole
NOT_EMPTY, TOO_NARROW = 0.35, 1.15  # part of the noise that is left; factor of intervals
MARKED = 24  # pixels: side of a marked region

SENTENCES = {
    "missing": "{value:.2%} of the pixels of the result are not numbers, where the image has light.",
    "offset": "The result is brighter or darker than the image, by {value:+.2f} standard deviations of the noise.",
    "left": "Noise is left in a region: what was removed there has {value:.0%} less power than the noise.",
    "amount": "What was removed has {size:.0%} {more}.",
    "structure": "What was removed has structure: its neighbouring pixels are correlated by {value:.2f}.",
    "scale": "Contrasts are wrong by {value:+.1%}.",
    "shift": "The result is shifted by {value:+.2f} pixels.",
    "blurred": "Fine structure is lost: up to {value:.0%} of the contrast at one scale.",
    "sharpened": "The result is sharper than the image, by up to {value:.0%} at one scale.",
    "blocks": "A region is brighter or darker than it should be, by {value:.2f} standard deviations of the noise.",
    "seam": "There is a step along a row or column, of {value:.2f} standard deviations of the noise.",
    "stripe": "A row or column differs from its neighbours, by {value:.2f} standard deviations of the noise.",
    "erased": "A spot of the image was removed: {value:.1f} standard deviations of the noise.",
    "specks": "Single pixels stick out of smooth surroundings: {value:.1f} among 1000.",
    "invented": "A spot of the result is not in the image: {value:.1f} standard deviations of the noise.",
}


@dataclass(frozen=True)
class Verdict:
    """word: believe, look here, or do not believe. reasons: sentences. places: findings that have a place."""

    word: Word
    reasons: tuple[str, ...]
    places: tuple[Finding, ...]

    @property
    def text(self) -> str:
        """The verdict, its reasons and what to do as one line."""
        return f"{self.word}: {' '.join((*self.reasons, *self.advice)) or 'no check found anything against it'}"

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do: nothing for a result that can be believed."""
        if self.word == "believe":
            return ()
        if self.word == "do not believe":
            return ("Do not measure in it; try more time (a budget of 10min) or another method (n2v).",)
        where = "the marked regions" if self.places else "it"
        return (f"Compare {where} with the noisy image before you measure there.",)


def verdict_of(findings: Sequence[Finding], others: Sequence[str] = ()) -> Verdict:
    """The verdict of all checks. others: what else speaks against the result, one sentence each."""
    found = [one for one in findings if one.excess > 1]
    bad = any(one.check in WHOLE and one.excess > MUCH for one in found)
    word: Word = "do not believe" if bad else "look here" if found or others else "believe"
    places = tuple(one for one in found if one.place is not None)
    return Verdict(word, (*map(sentence, found), *others), places)


def unusual(checks: Mapping[str, Any]) -> list[str]:
    """What speaks against a result by the checks of its model, one sentence each. checks: as in the metadata."""
    found = []
    stability = (checks.get("consistency") or {}).get("stability")
    if stability is not None and stability > UNSTABLE:
        found.append(
            f"With new noise and denoised again, the result changes by {stability:.1f} times as much as its standard "
            f"deviation says."
        )
    left = (checks.get("empty") or {}).get("std")
    if left is not None and left > NOT_EMPTY:
        found.append(f"In an empty image with the same noise, {left:.0%} of the noise is left.")
    widest = max((one["quantile"] for one in checks.get("coverage") or []), default=0.0) / EXPECTED_QUANTILE
    if widest > TOO_NARROW:
        found.append(f"Intervals from the standard deviation are too narrow, by a factor of up to {widest:.2f}.")
    return found


def sentence(finding: Finding) -> str:
    """A finding in words, with its number."""
    more = "more power than the noise: structure was removed with it"
    less = "less power than the noise: noise is left"
    return SENTENCES[finding.check].format(
        value=finding.value, size=abs(finding.value), more=more if finding.value > 0 else less
    )


def table(findings: Sequence[Finding]) -> list[dict[str, object]]:
    """Every check with its value, limit and result, ready for JSON."""
    return [
        {
            "check": one.check,
            "value": one.value,
            "limit": LIMITS[one.check],
            "passed": one.excess <= 1,
            "place": one.place,
            "plane": one.plane,
        }
        for one in findings
    ]
