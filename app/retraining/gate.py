"""Whether a candidate may take the place of the version that serves. Pure."""

import math
from dataclasses import asdict, dataclass
from typing import Any

# A candidate is worse when chance alone would make as bad a showing less often than this.
SIGNIFICANCE = 0.05

# Share of the images that a candidate may lose where it and the current version have both learned them, the candidate
# longer ago: those that were known by heart. Fine-tuning version 1 with no corrections at all lost 6 of 10,000.
MEMORISED_SHARE = 0.001


@dataclass(frozen=True)
class Paired:
    """Candidate and current version on the same held-back images, measured through the service.

    candidate, current: images read right. only_candidate, only_current: right by that one alone.
    learned_by_*: that one has learned these very images.
    """

    images: int
    candidate: int
    current: int
    only_candidate: int
    only_current: int
    candidate_nll: float
    current_nll: float
    learned_by_candidate: bool = False
    learned_by_current: bool = False

    @property
    def better(self) -> bool:
        """More right; among equals, surer of what is right."""
        return (self.candidate, -self.candidate_nll) > (self.current, -self.current_nll)


@dataclass(frozen=True)
class Verdict:
    """publish: what is done. passed: what the figures say; the two differ only where it was forced."""

    publish: bool
    passed: bool
    forced: bool
    reason: str
    chance: float
    mnist: Paired
    feedback: Paired | None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def judge(
    mnist: Paired, feedback: Paired | None, known: tuple[int, int] | None = None, *, force: bool = False
) -> Verdict:
    """The verdict on a candidate: not significantly worse on MNIST, and better on feedback or, without any, on MNIST.

    known: images read right of how many, which the current version had never learned, from its manifest. They take the
    place of its own result where it has learned the MNIST images here and the candidate has not: on images that one
    side knows by heart the two cannot be compared.
    """
    reasons = []
    unfair = mnist.learned_by_current and not mnist.learned_by_candidate
    if unfair and known is not None:
        chance = _chance_of_two(mnist.candidate, mnist.images, *known)
        better = mnist.candidate / mnist.images > known[0] / known[1]
        beside = f"{known[0]:,} of {known[1]:,} in the serving version's card, which has learned the images used here"
    else:
        forgiven = round(MEMORISED_SHARE * mnist.images) if mnist.learned_by_current else 0
        chance = _chance_of_pairs(mnist.only_candidate, max(0, mnist.only_current - forgiven))
        better = mnist.better
        beside = f"{mnist.current:,}"
    on_mnist = f"on MNIST {mnist.candidate:,} of {mnist.images:,} right beside {beside}"
    not_worse = chance >= SIGNIFICANCE
    if not not_worse:
        reasons.append(f"significantly worse {on_mnist} (chance {chance:.2g})")
    if feedback is not None and feedback.images:
        on_feedback = f"on feedback {feedback.candidate:,} of {feedback.images:,} right beside {feedback.current:,}"
        better = feedback.better
        if not better:
            reasons.append(f"not better {on_feedback}")
        good = f"better {on_feedback}, not significantly worse {on_mnist}"
    else:
        feedback = None
        if not_worse and not better:
            reasons.append(f"not better {on_mnist}")
        good = f"better {on_mnist}"
    passed = not_worse and better
    reason = good if passed else "; ".join(reasons)
    return Verdict(passed or force, passed, force and not passed, reason, chance, mnist, feedback)


def _chance_of_pairs(only_candidate: int, only_current: int) -> float:
    """Probability that so few of the images which just one side reads fall to the candidate, were both equally good.

    The exact one-sided sign test on discordant pairs (McNemar 1947, with the binomial in place of chi-squared).
    """
    discordant = only_candidate + only_current
    ways = sum(math.comb(discordant, count) for count in range(only_candidate + 1))
    return float(ways / 2**discordant)


def _chance_of_two(right: int, images: int, known_right: int, known_images: int) -> float:
    """The same for two independent samples: the one-sided z-test on two proportions, with pooled variance."""
    pooled = (right + known_right) / (images + known_images)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / images + 1 / known_images))
    if not spread:
        return 1.0
    z = (right / images - known_right / known_images) / spread
    return 0.5 * math.erfc(-z / math.sqrt(2))
