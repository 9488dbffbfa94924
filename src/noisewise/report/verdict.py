"""A verdict in words from the checks of a result: believe, look here, or do not believe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from noisewise.evaluate.finished import LIMITS, Finding

Word = Literal["believe", "look here", "do not believe"]
MUCH = 3.0  # times the limit: the image as a whole is not believed
WHOLE = ("amount", "scale", "shift", "blurred", "sharpened", "structure")  # checks of the image as a whole
MARKED = 24  # pixels: side of a marked region

SENTENCES = {
    "amount": "The residual has {value:+.0%} of the power of the noise more than it should: {more}.",
    "scale": "Contrasts are wrong by {value:+.1%}: bright parts of the result differ from those of the image.",
    "blocks": "A region is brighter or darker than in the image, by {value:.1f} standard errors of its mean.",
    "shift": "The result is shifted by {value:+.2f} pixels.",
    "blurred": "Fine structure is lost: up to {value:.0%} of the image's contrast at one scale.",
    "sharpened": "The result is sharper than the image, by up to {value:.0%} at one scale.",
    "structure": "What was removed has structure: its neighbouring pixels are correlated by {value:.2f}.",
    "spots": "A spot of the image was removed: {value:.1f} standard deviations of the noise.",
    "invented": "A spot of the result is not in the image: {value:.1f} standard deviations of the noise.",
    "stripes": "A row or column differs from its neighbours along all of its length, as if noise were left.",
}


@dataclass(frozen=True)
class Verdict:
    """word: believe, look here, or do not believe. reasons: sentences. places: (Y, X) of what to look at."""

    word: Word
    reasons: tuple[str, ...]
    places: tuple[tuple[int, int], ...]


def verdict_of(findings: Sequence[Finding], others: Sequence[str] = ()) -> Verdict:
    """The verdict of all checks. others: what else speaks against the result, one sentence each."""
    found = [one for one in findings if one.excess > 1]
    bad = any(one.check in WHOLE and one.excess > MUCH for one in found)
    word: Word = "do not believe" if bad else "look here" if found or others else "believe"
    places = tuple(one.place for one in found if one.place is not None)
    return Verdict(word, (*map(sentence, found), *others), places)


def sentence(finding: Finding) -> str:
    """A finding in words, with its number."""
    more = "structure was removed with the noise" if finding.value > 0 else "noise is left"
    return SENTENCES[finding.check].format(value=finding.value, more=more)


def table(findings: Sequence[Finding]) -> list[dict[str, object]]:
    """Every check with its value, limit and result, ready for JSON."""
    return [
        {
            "check": one.check,
            "value": one.value,
            "limit": LIMITS[one.check],
            "passed": one.excess <= 1,
            "place": one.place,
        }
        for one in findings
    ]
