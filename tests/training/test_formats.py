"""Every format is written, read back by its own runtime, and gives the same; or nothing is left."""

from pathlib import Path

import numpy as np
import pytest

from app.registry import store
from tests.support.images import handwritten
from tests.support.training import run_here
from tests.support.versions import SHIPPED
from training import formats
from training.commands.versions import FORMATS
from training.errors import TrainingError

VERSION = SHIPPED / str(store.current(SHIPPED))


def images(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    random = np.random.default_rng(0)
    return np.stack([handwritten(n % 10, random) for n in range(count)])


def test_the_command_line_knows_every_format() -> None:
    assert set(FORMATS) == set(formats.FORMATS)


@pytest.mark.filterwarnings("ignore")  # the exporters and runtimes of others warn of each other's versions
@pytest.mark.parametrize("name", FORMATS)
def test_written_and_read_back(name: str, tmp_path: Path) -> None:
    output = tmp_path / f"network{formats.FORMATS[name].suffix}"
    compared, difference = formats.convert(VERSION, name, output, images(100))
    assert compared == 100
    assert difference < 1e-4
    digits = formats.FORMATS[name].read(output)(images(30)[..., None]).argmax(axis=1)
    assert (digits == np.arange(30) % 10).mean() > 0.9
    assert list(tmp_path.iterdir()) == [output]
    with pytest.raises(TrainingError, match="there already"):
        formats.convert(VERSION, name, output, images(2))


def test_what_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that reads the wrong thing must be noticed."""
    chosen = formats.FORMATS["keras-json-h5"]
    wrong = formats.Format(chosen.write, lambda path: lambda batch: np.full((len(batch), 10), 0.1, np.float32))
    monkeypatch.setitem(formats.FORMATS, "keras-json-h5", wrong)
    with pytest.raises(TrainingError, match="differs"):
        formats.convert(VERSION, "keras-json-h5", tmp_path / "network", images(10))
    assert list(tmp_path.iterdir()) == []


def test_mistakes(tmp_path: Path) -> None:
    models = ["--models", str(SHIPPED)]
    assert "invalid choice" in run_here(tmp_path, "export", "1", "--format", "excel", *models, status=2)
    assert "number of a version" in run_here(tmp_path, "export", "x.keras", "--format", "onnx", *models, status=2)
    assert "999" in run_here(tmp_path, "export", "999", "--format", "openvino", *models, status=2)
    unwritable = run_here(tmp_path, "export", "1", "--format", "openvino", "--output", "/proc/x/y", *models, status=2)
    assert "/proc/x" in unwritable.splitlines()[-1]
