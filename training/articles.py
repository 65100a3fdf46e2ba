"""Five published tutorials: what each claims of its network, and how we train it to find out."""

import dataclasses
from dataclasses import dataclass

from training import recipes
from training.errors import TrainingError
from training.recipes import Recipe


@dataclass(frozen=True)
class Variant:
    """One way to train an article's network. name: of its folders and pictures. label: its row's heading."""

    name: str
    label: str
    recipe: Recipe


@dataclass(frozen=True)
class Article:
    """A tutorial. remark: what to know about its figures, or the mistake in it.

    seeds: how many networks are trained of each variant. training_images: measure those too, since the claim is
    of them. first_ten: show the answers to the first ten test images. folds: cross-validate its first variant.
    leaking: do that also the article's way, with one network through all folds. claimed: the share of the test images
    of which the page tells after which epoch a single network came to it.
    """

    name: str
    source: str
    claim: str
    remark: str
    variants: tuple[Variant, ...]
    seeds: int = 3
    training_images: bool = False
    first_ten: bool = False
    folds: int = 0
    leaking: bool = False
    claimed: float | None = None


def _as_it_is(name: str) -> tuple[Variant, ...]:
    recipe = recipes.find(name)
    return (Variant(name, f"{recipe.epochs} epochs", recipe),)


def _feed_forward() -> tuple[Variant, ...]:
    plain = recipes.find("feed-forward")
    variants = []
    for epochs in (2, 20):
        honest = dataclasses.replace(plain, epochs=epochs)
        name = f"feed-forward-{epochs}-epochs"
        variants.append(Variant(name, f"{epochs} epochs, cross-entropy", honest))
        by_article = recipes.with_article_loss(honest)
        variants.append(Variant(f"{name}-article-loss", f"{epochs} epochs, the article's loss", by_article))
    return tuple(variants)


_ALL = (
    Article(
        "seven-conv",
        "Introduction to Deep Learning with Computer Vision — MNIST Handwritten digit recognition hands-on (2019)",
        "about 99.2 % of the test images",
        "25,348,362 parameters for ten digits. The three networks that ship with Digits have 523,886. In "
        "mixed_bfloat16 another run of ten epochs ended at 99.04 %, and was at 99.15 % at best.",
        _as_it_is("seven-conv"),
        seeds=1,
        claimed=0.992,
    ),
    Article(
        "dense-512",
        "an article on developing a basic deep-learning model for handwritten digits",
        "98.91 % of the training images (loss 0.0363), 97.83 % of the test images; "
        "five folds, the first 98 %, the others over 99 %",
        "The article trains one and the same network on through all folds, so that from the second fold on it is "
        "tested on images that it has learned: that is where its 99 % come from. Here every fold begins with a "
        "fresh network; `--reuse-network` repeats the article's way.",
        _as_it_is("dense-512"),
        training_images=True,
        folds=5,
        leaking=True,
    ),
    Article(
        "feed-forward",
        "A Simple Introduction to Deep Learning — Recognising Handwritten Digits (2019, PyTorch)",
        "no figure; it trains for 2 epochs and suggests 20",
        "The article gives probabilities to a loss that is made for their logarithms, so it maximises the probability "
        "of the right digit instead of its logarithm: the surer the network is of a wrong answer, the less it learns "
        "from it. Here the loss is cross-entropy; `--article-loss` repeats the article's way.",
        _feed_forward(),
        training_images=True,
    ),
    Article(
        "two-conv",
        "CNN for handwritten digit recognition problem on MNIST dataset",
        "99.04 % of the test images, loss 0.0296",
        "Adadelta at the rate of 1.0 that Keras had then; with today's default of 0.001 it would learn next to "
        "nothing in ten epochs.",
        _as_it_is("two-conv"),
        folds=5,
    ),
    Article(
        "hello-dense",
        "Hello World of Deep Learning — Classify Handwritten digits problem with NN",
        "96 % of the training images",
        "The network and the settings of dense-512, so their figures are the same seed by seed; the articles differ "
        "in how they write the labels.",
        _as_it_is("hello-dense"),
        training_images=True,
        first_ten=True,
    ),
)

ARTICLES = {article.name: article for article in _ALL}


def find(name: str) -> Article:
    """The article whose recipe has this name. Raises TrainingError that lists all names when there is none."""
    try:
        return ARTICLES[name]
    except KeyError:
        raise TrainingError(f"there is no article {name!r}; there are: {', '.join(ARTICLES)}") from None
