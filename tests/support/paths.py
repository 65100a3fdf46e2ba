"""Where things lie in the checkout."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

# Pictures of digits, each named for what it shows.
IMAGES = ROOT / "tests" / "images"

# Real test images of MNIST, see tests/data/README.md.
MNIST_200 = ROOT / "tests" / "data" / "mnist-200.npz"
