"""The gate: what passes, what does not, and in what words."""

import dataclasses
import math

import pytest

from app.retraining.gate import Paired, judge

EVEN = Paired(
    images=10_000,
    candidate=9_960,
    current=9_960,
    only_candidate=10,
    only_current=10,
    candidate_nll=0.0110,
    current_nll=0.0120,
)


def paired(images: int, candidate: int, current: int) -> Paired:
    """Where one side is better, it alone reads the difference."""
    return Paired(
        images=images,
        candidate=candidate,
        current=current,
        only_candidate=max(0, candidate - current),
        only_current=max(0, current - candidate),
        candidate_nll=0.1,
        current_nll=0.1,
    )


def test_better_feedback_and_as_good_on_mnist_passes() -> None:
    verdict = judge(EVEN, paired(60, 57, 20))
    assert (verdict.publish, verdict.passed, verdict.forced) == (True, True, False)
    assert "57 of 60 correct; current version: 20" in verdict.reason


def test_no_better_on_feedback_is_rejected() -> None:
    verdict = judge(EVEN, paired(60, 20, 20))
    assert not verdict.publish
    assert "not better on feedback (20 of 60 correct; current version: 20)" in verdict.reason


def test_significantly_worse_on_mnist_is_rejected_however_good_on_feedback() -> None:
    worse = dataclasses.replace(EVEN, candidate=9_940, only_candidate=10, only_current=30)
    verdict = judge(worse, paired(60, 60, 0))
    assert not verdict.publish
    assert "significantly worse on MNIST (9,940 of 10,000 correct; current version: 9,960)" in verdict.reason


def test_a_little_worse_on_mnist_may_be_chance() -> None:
    little = dataclasses.replace(EVEN, candidate=9_956, only_candidate=10, only_current=14)
    assert judge(little, paired(60, 57, 20)).publish
    assert not judge(little, None).publish  # but without feedback there must be something better


def test_without_feedback_it_must_be_better_on_mnist() -> None:
    assert judge(EVEN, None).publish  # as many right, and surer of them
    assert not judge(dataclasses.replace(EVEN, candidate_nll=0.0120), None).publish
    assert judge(dataclasses.replace(EVEN, candidate=9_961, candidate_nll=0.02), None).publish
    assert judge(EVEN, paired(0, 0, 0)).feedback is None


def test_force_publishes_and_says_so() -> None:
    verdict = judge(paired(10_000, 5_000, 9_960), None, force=True)
    assert (verdict.publish, verdict.passed, verdict.forced) == (True, False, True)
    assert "significantly worse" in verdict.reason
    assert not judge(EVEN, paired(60, 57, 20), force=True).forced  # it needed no force


@pytest.mark.parametrize(("only_candidate", "only_current"), [(0, 4), (0, 5), (3, 12), (10, 20), (40, 60)])
def test_the_chance_is_that_of_the_binomial(only_candidate: int, only_current: int) -> None:
    """Against a sum of its own, term by term through logarithms."""
    count = only_candidate + only_current
    terms = [
        math.exp(math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) - count * math.log(2))
        for k in range(only_candidate + 1)
    ]
    found = judge(dataclasses.replace(EVEN, only_candidate=only_candidate, only_current=only_current), None)
    assert found.chance == pytest.approx(sum(terms), rel=1e-9)
    assert (found.chance < 0.05) == ("significantly" in found.reason)


def test_images_that_the_current_version_knows_by_heart_are_not_held_against_a_new_network() -> None:
    learned = dataclasses.replace(EVEN, current=10_000, only_candidate=0, only_current=40, learned_by_current=True)
    assert not judge(learned, None).publish
    verdict = judge(learned, None, (9_955, 10_000))
    assert verdict.publish
    assert "9,955 of 10,000 in its manifest" in verdict.reason
    assert not judge(learned, None, (9_990, 10_000)).publish
    assert judge(learned, None, (9_990, 10_000)).chance < 0.01
    # One that was fine-tuned from it has learned them too: the two are compared image by image.
    both = dataclasses.replace(learned, learned_by_candidate=True)
    assert not judge(both, None, (9_955, 10_000)).publish


def test_what_was_known_by_heart_may_be_forgotten_but_not_more() -> None:
    """Both have learned these images, the candidate longer ago, while it learned the corrections."""
    feedback = paired(60, 57, 20)
    little = dataclasses.replace(EVEN, candidate=9_978, current=9_986, only_candidate=2, only_current=10)
    assert not judge(little, feedback).publish
    by_heart = dataclasses.replace(little, learned_by_candidate=True, learned_by_current=True)
    assert judge(by_heart, feedback).publish
    much = dataclasses.replace(by_heart, candidate=9_966, only_current=22)
    assert not judge(much, feedback).publish


def test_nothing_to_tell_two_samples_apart() -> None:
    all_right = Paired(100, 100, 100, 0, 0, 0.0, 0.0, learned_by_current=True)
    assert judge(all_right, None, (100, 100)).chance == 1.0
