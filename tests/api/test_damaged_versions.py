"""A version that is damaged is never served: what serves goes on, the fault is told, and a sound version follows."""

import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from app.inference import manager
from app.registry import store
from tests.support.calls import check, metric
from tests.support.damage import Damage, empty, flip_bit, halve, lengthen, remove
from tests.support.images import SEVEN, pixels
from tests.support.servers import served
from tests.support.versions import add, answer, describe, point, shipped
from tests.support.waiting import wait_for

IMAGE = np.array(pixels(), np.uint8)


def taken_from_another(*names: str) -> Damage:
    def damage(version: Path) -> None:
        for name in names:
            shutil.copy(version.parent / "1" / name, version / name)

    return damage


def another_source(version: Path) -> None:
    """Right digests throughout, but a graph that was made from another model.keras."""
    graph, source = version / store.GRAPH, store.read_manifest(version).files[store.KERAS]
    graph.write_text(graph.read_text().replace(source, "0" * 64))
    describe(version)


def nonsense_graph(version: Path) -> None:
    """Right digests throughout, and nothing that the runtime can read."""
    (version / store.GRAPH).write_text("<net>hello</net>")
    describe(version)


def other_input(version: Path) -> None:
    """Right digests and source, but a graph that takes no 28x28 images."""
    graph = version / store.GRAPH
    text = graph.read_text()
    assert 'shape="?,28,28,1"' in text
    graph.write_text(text.replace('shape="?,28,28,1"', 'shape="?,27,28,1"'))
    describe(version)


def no_numbers(version: Path) -> None:
    """Right digests and source, but weights that are no numbers."""
    (version / store.WEIGHTS).write_bytes(b"\xff" * (version / store.WEIGHTS).stat().st_size)
    describe(version)


def without_digest(version: Path) -> None:
    manifest = json.loads((version / store.MANIFEST).read_text())
    del manifest["files"][store.WEIGHTS]
    (version / store.MANIFEST).write_text(json.dumps(manifest))


FILES = (store.KERAS, store.GRAPH, store.WEIGHTS, store.MANIFEST)
DAMAGES: dict[str, Damage] = {
    **{f"{name} missing": remove(name) for name in FILES},
    **{f"{name} empty": empty(name) for name in FILES},
    **{f"{name} halved": halve(name) for name in FILES},
    **{f"{name} longer": lengthen(name) for name in FILES[:3]},
    **{f"{name} flipped at {share}": flip_bit(name, share) for name in FILES[:3] for share in (0, 0.31, 0.77, 1)},
    "model.keras flipped in the middle": flip_bit(store.KERAS),
    "manifest's brace flipped": flip_bit(store.MANIFEST, 0),
    "another version's network": taken_from_another(store.WEIGHTS, store.GRAPH),
    "another version's manifest": taken_from_another(store.MANIFEST),
    "another version's all": taken_from_another(*FILES),
    "another number": lambda version: describe(version, version=999),
    "a graph from another network": another_source,
    "a graph that is none": nonsense_graph,
    "a graph for other images": other_input,
    "weights that are no numbers": no_numbers,
    "no digest of the weights": without_digest,
    "no folder": lambda version: shutil.rmtree(version),
    "a file for a folder": lambda version: (shutil.rmtree(version), version.write_text("x"), None)[-1],
    "a folder for a file": lambda version: (
        (version / store.WEIGHTS).unlink(),
        (version / store.WEIGHTS).mkdir(),
        None,
    )[-1],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of versions, of which the first is sound."""
    return shipped(tmp_path_factory.mktemp("damaged") / "digits")


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[httpx.Client]:
    """Of one service for all damages. It looks at CURRENT more often than others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manager, "POLL_SECONDS", 0.02)
        with served(models.parent / "state", models) as client:
            yield client


@pytest.fixture(scope="module")
def sound(models: Path) -> NDArray[np.float32]:
    """What the first version says, whatever becomes of the second."""
    return answer(models, 1, IMAGE)


def fault(client: httpx.Client) -> dict[str, Any] | None:
    """What /models says of a version that does not load."""
    found = client.get("/models").json()["fault"]
    assert found is None or list(found) == ["version", "reason"]
    return found  # type: ignore[no-any-return]


def serves(client: httpx.Client) -> int:
    """The version that answers."""
    return client.get("/health/ready").raise_for_status().json()["model"]["version"]  # type: ignore[no-any-return]


def told(client: httpx.Client, name: str) -> float:
    """The value of a metric."""
    return metric(client.get("/metrics").text, name)


def activate(client: httpx.Client, version: int) -> httpx.Response:
    """Ask for a version by its number."""
    return client.post(f"/models/{version}/activate")


def back_to_the_first(client: httpx.Client, models: Path) -> None:
    """As an operator undoes it."""
    point(models, "1\n")
    wait_for(lambda: fault(client) is None and serves(client) == 1, "the first version")


def recovers(client: httpx.Client, models: Path, number: int) -> None:
    """With a sound version that is not the one before."""
    add(models, number)
    point(models, f"{number}\n")
    wait_for(lambda: serves(client) == number, "recovery")
    assert fault(client) is None
    assert told(client, "digits_model_behind") == 0
    back_to_the_first(client, models)


# The versions that the tests add, each with a number of its own.
numbers = itertools.count(2)

RECOVERS_AFTER = ("model.keras missing", "a graph that is none", "no folder")


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_version_is_never_served(
    client: httpx.Client, models: Path, sound: NDArray[np.float32], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    back_to_the_first(client, models)  # so that nothing of the test before is counted any more
    number, before = next(numbers), store.current(models)
    version = add(models, number)
    DAMAGES[name](version)
    # Asked for by name it is refused, and CURRENT stays as it was.
    reply = activate(client, number)
    if version.is_dir():
        problem = check(reply, 409)
        assert problem["type"] == "urn:digits:problem:version-unusable"
    else:
        problem = check(reply, 404, str(number))
    assert store.current(models) == before

    failures = told(client, "digits_model_load_failures_total")
    point(models, f"{number}\n")
    wait_for(lambda: (found := fault(client)) is not None and found["version"] == number, "the fault")
    found = fault(client)
    assert found
    assert found["reason"].startswith(f"{number}/")
    assert str(models.parent) not in found["reason"]
    assert found["reason"] in problem["detail"] or not version.is_dir()
    assert f"goes on serving: {models}/{found['reason']}" in caplog.text
    assert told(client, "digits_model_behind") == 1
    assert told(client, "digits_model_load_failures_total") == failures + 1
    assert told(client, 'digits_model_version{name="digits"}') == 1
    reply = client.post("/predict", files={"file": SEVEN})
    assert reply.json()["model"]["version"] == 1
    assert np.allclose(reply.json()["probabilities"], sound, atol=1e-5)
    shutil.rmtree(version, ignore_errors=True)
    version.unlink(missing_ok=True)
    if name in RECOVERS_AFTER:
        recovers(client, models, next(numbers))


def test_nonsense_in_current(client: httpx.Client, models: Path) -> None:
    back_to_the_first(client, models)
    for content in ("", "two\n", "../1", "999\n"):
        point(models, content)
        wait_for(lambda: fault(client) is not None, "the fault")
        found = fault(client)
        assert found, content
        assert found["version"] == (999 if content == "999\n" else None), content
        assert found["reason"].startswith("999/card.json" if content == "999\n" else "CURRENT"), content
        assert str(models.parent) not in found["reason"], content
        assert serves(client) == 1, content
        back_to_the_first(client, models)


def test_current_is_missing_or_no_file(client: httpx.Client, models: Path, caplog: pytest.LogCaptureFixture) -> None:
    back_to_the_first(client, models)
    (models / store.CURRENT).unlink()
    wait_for(lambda: fault(client) is not None, "the fault")
    (models / store.CURRENT).mkdir()
    reply = activate(client, 1)  # it cannot be replaced then
    problem = check(reply, 503, "CURRENT")
    assert problem["type"] == "urn:digits:problem:models-not-writable"
    assert str(models.parent) not in reply.text
    assert "Traceback" not in caplog.text
    assert serves(client) == 1
    (models / store.CURRENT).rmdir()
    assert activate(client, 1).status_code == 200
    assert fault(client) is None


def test_a_version_that_is_mended_serves(
    client: httpx.Client, models: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, look = Counter[Path](), store.current

    def counted(folder: Path) -> int:
        looks[folder] += 1
        return look(folder)

    monkeypatch.setattr(store, "current", counted)
    back_to_the_first(client, models)
    number = next(numbers)
    version = add(models, number)
    weights = (version / store.WEIGHTS).read_bytes()
    (version / store.WEIGHTS).write_bytes(weights[:-1])
    point(models, f"{number}\n")
    wait_for(lambda: fault(client) is not None, "the fault")
    seen = looks[models]
    wait_for(lambda: looks[models] > seen + 5, "more looks")
    assert caplog.text.count("goes on serving") == 1  # not at every look
    (version / store.WEIGHTS).write_bytes(weights)
    wait_for(lambda: serves(client) == number, "the mended version")
    assert fault(client) is None

    # Damage to what serves by now is told, and touches nothing that runs.
    os.truncate(version / store.WEIGHTS, 0)
    wait_for(lambda: fault(client) is not None, "the fault")
    reply = client.post("/predict", files={"file": SEVEN}).json()
    assert reply["model"]["version"] == number
    (version / store.WEIGHTS).write_bytes(weights)
    wait_for(lambda: fault(client) is None, "that all is well")
    assert np.allclose(reply["probabilities"], answer(models, number, IMAGE), atol=1e-5)
    back_to_the_first(client, models)
    shutil.rmtree(version)


def test_a_damaged_version_hides_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    models = shipped(tmp_path / "digits")
    for other, change in (
        (7, {"version": 7, "recipe": {"layers": []}}),
        (8, {"version": 8, "files": {"x": None}}),
        (9, {}),  # the manifest of another version
    ):
        shutil.copytree(models / "1", models / str(other))
        manifest = json.loads((models / "1" / store.MANIFEST).read_text())
        (models / str(other) / store.MANIFEST).write_text(json.dumps(manifest | change))
    with served(tmp_path / "state", models) as client:
        assert [model["version"] for model in client.get("/models").json()["models"]] == [1]
        for other in (7, 8, 9):
            problem = check(client.get(f"/models/{other}"), 500)
            assert problem["type"] == "urn:digits:problem:damaged-version"
            assert str(tmp_path) not in problem["detail"]
            assert f"{models}/{other}/{store.MANIFEST}" in caplog.text
