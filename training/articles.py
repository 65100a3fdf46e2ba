"""Five published tutorials: what each claims of its network, and how we train it to find out."""

import dataclasses
from dataclasses import dataclass

from training import recipes
from training.errors import TrainingError
from training.recipes import Recipe


@dataclass(frozen=True)
class Variant:
    """One way to train an article's network.

    Attributes:
        name: of its folders and pictures.
        label: of its row in the table.
        recipe: all settings.
    """

    name: str
    label: str
    recipe: Recipe


@dataclass(frozen=True)
class Article:
    """A tutorial.

    Attributes:
        name: of its recipe.
        source: its title, and its year where that is known.
        claim: its figures.
        remark: what to know about its figures, or the mistake in it.
        variants: the ways to train its network.
        seeds: networks that are trained of each variant.
        training_images: measure on the training images too, as the claim is about those.
        first_ten: show the answers to the first ten test images.
        folds: of a cross-validation of the first variant; 0 for none.
        leaking: cross-validate also as the article does, with one network through all folds.
        claimed: a share of the test images; the page tells after which epoch a single network reached it.
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


def _plain(name: str) -> tuple[Variant, ...]:
    recipe = recipes.find(name)
    return (Variant(name, f"{recipe.epochs} epochs", recipe),)


def _feed_forward() -> tuple[Variant, ...]:
    plain = recipes.find("feed-forward")
    # The article's loss is -p, of the probability p of the true digit. The mean absolute error of ten probabilities is
    # (1 - p) / 5, so that five times the learning rate gives the article's steps.
    rate = 5 * plain.optimiser.learning_rate
    by_article = dataclasses.replace(
        plain, loss="mean_absolute_error", optimiser=dataclasses.replace(plain.optimiser, learning_rate=rate)
    )
    variants = []
    for epochs in (2, 20):
        name = f"feed-forward-{epochs}-epochs"
        variants.append(Variant(name, f"{epochs} epochs, cross-entropy", plain.with_epochs(epochs)))
        label = f"{epochs} epochs, the article's loss"
        variants.append(Variant(f"{name}-article-loss", label, by_article.with_epochs(epochs)))
    return tuple(variants)


def _all() -> tuple[Article, ...]:
    return (
        Article(
            "seven-conv",
            "Introduction to Deep Learning with Computer Vision — MNIST Handwritten digit recognition hands-on (2019)",
            "about 99.2 % of the test images",
            "25,348,362 parameters for ten digits. The three networks that ship with Digits have 523,886. In "
            "mixed_bfloat16 another run of ten epochs ended at 99.04 %, and was at 99.15 % at best.",
            _plain("seven-conv"),
            seeds=1,
            claimed=0.992,
        ),
        Article(
            "dense-512",
            "an article on developing a basic deep-learning model for handwritten digits",
            "98.91 % of the training images (loss 0.0363), 97.83 % of the test images; "
            "five folds, the first 98 %, the others over 99 %",
            "The article trains one and the same network further through all folds, so that from the second fold on it "
            "is measured on images that it has learned: that is where its 99 % come from. Otherwise every fold begins "
            "with a fresh network here.",
            _plain("dense-512"),
            training_images=True,
            folds=5,
            leaking=True,
        ),
        Article(
            "feed-forward",
            "A Simple Introduction to Deep Learning — Recognising Handwritten Digits (2019, PyTorch)",
            "no figure; it trains for 2 epochs and suggests 20",
            "The article gives probabilities to a loss that is made for their logarithms, so it maximises the "
            "probability of the true digit instead of its logarithm: the more certain an error is, the less the "
            "network learns from it. Otherwise the loss is cross-entropy here.",
            _feed_forward(),
            training_images=True,
        ),
        Article(
            "two-conv",
            "CNN for handwritten digit recognition problem on MNIST dataset",
            "99.04 % of the test images, loss 0.0296",
            "Adadelta at the rate of 1.0 that Keras had then; with today's default of 0.001 it would learn next to "
            "nothing in ten epochs.",
            _plain("two-conv"),
            folds=5,
        ),
        Article(
            "hello-dense",
            "Hello World of Deep Learning — Classify Handwritten digits problem with NN",
            "96 % of the training images",
            "The network and the settings of dense-512, so their figures are the same seed by seed; the articles "
            "differ in how they write the labels.",
            _plain("hello-dense"),
            training_images=True,
            first_ten=True,
        ),
    )


ARTICLES = {article.name: article for article in _all()}


def find(name: str) -> Article:
    """The article whose recipe has this name.

    Raises:
        TrainingError: when there is none; it lists all names.
    """
    try:
        return ARTICLES[name]
    except KeyError:
        raise TrainingError(f"there is no article {name!r}; there are: {', '.join(ARTICLES)}") from None
