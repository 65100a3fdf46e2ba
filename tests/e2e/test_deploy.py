"""What watches the service asks for what the service tells."""

import json
import re

import httpx

from tests.support.images import SEVEN
from tests.support.paths import ROOT


def test_the_dashboard_shows_metrics_that_there_are(client: httpx.Client) -> None:
    client.post("/predict", files={"file": SEVEN})
    told = set(re.findall(r"^(\w+)", client.get("/metrics").text, re.MULTILINE))
    dashboard = json.loads((ROOT / "deploy/grafana/digits.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert {name for query in asked for name in re.findall(r"\bdigits_\w+", query)} <= told
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    source = re.findall(r"uid: (\w+)", (ROOT / "deploy/grafana/datasources.yml").read_text())
    assert {target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel["targets"]} == set(source)
