"""The gate: decides whether a candidate may replace the version that serves. Pure functions."""

import math
from dataclasses import asdict, dataclass
from typing import Any

# Significance level: a candidate is worse if an equally good one would do as badly with a lower probability than this.
SIGNIFICANCE = 0.05

# Share of the images that a candidate may get wrong in addition if the current version has learned them: it has
# memorised some that the candidate forgets. Fine-tuning version 1 without corrections lost 6 of 10,000.
MEMORISED_SHARE = 0.001


@dataclass(frozen=True)
class Paired:
    """A paired comparison of the candidate and the current version on the same images, with the serving engine.

    Attributes:
        images: Number of images.
        candidate: Images that the candidate gets correct.
        current: Images that the current version gets correct.
        only_candidate: Images that only the candidate gets correct.
        only_current: Images that only the current version gets correct.
        candidate_nll: The candidate's mean negative log-likelihood.
        current_nll: The current version's mean negative log-likelihood.
        learned_by_candidate: Whether the candidate has learned these images.
        learned_by_current: Whether the current version has learned these images.
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
    def is_better(self) -> bool:
        """Whether the candidate gets more images correct, or as many with a lower negative log-likelihood."""
        return (self.candidate, -self.candidate_nll) > (self.current, -self.current_nll)


@dataclass(frozen=True)
class Verdict:
    """The decision on a candidate.

    Attributes:
        publish: Whether the candidate is published.
        passed: Whether its figures are good enough. ``publish`` differs only if it was forced.
        forced: Whether it is published although it did not pass.
        reason: The figures in words.
        chance: p-value of the test that the candidate is worse on MNIST.
        mnist: The comparison on MNIST.
        feedback: The comparison on held-out feedback, or None if there is none.
    """

    publish: bool
    passed: bool
    forced: bool
    reason: str
    chance: float
    mnist: Paired
    feedback: Paired | None

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        return asdict(self)


def judge(
    mnist: Paired, feedback: Paired | None, reported: tuple[int, int] | None = None, *, force: bool = False
) -> Verdict:
    """Decide on a candidate. It must be not significantly worse on MNIST, and better on feedback, or else on MNIST.

    Args:
        mnist: The comparison on held-out MNIST images.
        feedback: The comparison on held-out feedback, if there is any.
        reported: Correct answers and number of images in the current version's manifest, on images that it never
            learned. They are used if it has learned the MNIST images here and the candidate has not, since a version
            does better on images that it has learned.
        force: Publish the candidate in any case.
    """
    failures = []
    if mnist.learned_by_current and not mnist.learned_by_candidate and reported is not None:
        chance = _two_proportion_p_value(mnist.candidate, mnist.images, *reported)
        is_better = mnist.candidate / mnist.images > reported[0] / reported[1]
        baseline = f"{reported[0]:,} of {reported[1]:,} in its manifest, as it has learned the images used here"
    else:
        memorised = round(MEMORISED_SHARE * mnist.images) if mnist.learned_by_current else 0
        chance = _sign_test_p_value(mnist.only_candidate, max(0, mnist.only_current - memorised))
        is_better = mnist.is_better
        baseline = f"{mnist.current:,}"
    on_mnist = f"on MNIST ({mnist.candidate:,} of {mnist.images:,} correct; current version: {baseline})"
    is_worse = chance < SIGNIFICANCE
    if is_worse:
        failures.append(f"significantly worse {on_mnist}, p = {chance:.2g}")
    if feedback is not None and feedback.images:
        figures = f"{feedback.candidate:,} of {feedback.images:,} correct; current version: {feedback.current:,}"
        on_feedback = f"on feedback ({figures})"
        is_better = feedback.is_better
        if not is_better:
            failures.append(f"not better {on_feedback}")
        success = f"better {on_feedback}, not significantly worse {on_mnist}"
    else:
        feedback = None
        if not is_worse and not is_better:
            failures.append(f"not better {on_mnist}")
        success = f"better {on_mnist}"
    passed = is_better and not is_worse
    reason = success if passed else "; ".join(failures)
    return Verdict(passed or force, passed, force and not passed, reason, chance, mnist, feedback)


def _sign_test_p_value(only_candidate: int, only_current: int) -> float:
    """Return the p-value of the exact one-sided sign test on discordant pairs.

    It is the probability that an equally good candidate gets so few of the images that only one side gets correct
    (McNemar 1947, with the binomial distribution in place of chi-squared).
    """
    discordant = only_candidate + only_current
    ways = sum(math.comb(discordant, count) for count in range(only_candidate + 1))
    return float(ways / 2**discordant)


def _two_proportion_p_value(correct: int, images: int, reported_correct: int, reported_images: int) -> float:
    """Return the p-value of the one-sided z-test on two independent proportions, with pooled variance."""
    pooled = (correct + reported_correct) / (images + reported_images)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / images + 1 / reported_images))
    if not deviation:
        return 1.0
    z = (correct / images - reported_correct / reported_images) / deviation
    return 0.5 * math.erfc(-z / math.sqrt(2))
