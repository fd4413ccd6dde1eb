"""What a benchmark leaves: the parts that it did not run stay, and each says when it was measured; and a formula."""

import json

import pytest

from bench import results, skt

PARTS = ("latency", "goodput", "skt")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "bench.json"


def test_a_run_keeps_what_it_did_not_measure(file):
    assert results.keep(file, {"latency": {"a": 1}, "skt": {"b": 1}}, PARTS, "one") == []
    before = json.loads(file.read_text())
    kept = results.keep(file, {"skt": {"c": 2}}, PARTS, "other")
    after = json.loads(file.read_text())
    assert kept == [f"latency, measured {before['measured']['latency']['at']}"]
    assert (after["latency"], after["skt"]) == ({"a": 1}, {"c": 2})
    assert after["measured"]["latency"] == before["measured"]["latency"]
    assert [after["measured"][part]["machine"] for part in ("latency", "skt")] == ["one", "other"]
    assert list(after) == ["latency", "skt", "measured"]


def test_results_without_times_say_so_and_what_is_no_result_goes(file):
    file.write_text(json.dumps({"machine": "old", "latency": {"a": 1}, "gone": 3}))
    assert results.keep(file, {"skt": {}}, PARTS, "new") == ["latency, measured at a time that it does not say"]
    after = json.loads(file.read_text())
    assert after["measured"]["latency"]["machine"] == "old"
    assert set(after) == {"latency", "skt", "measured"}


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_what_cannot_be_read_is_begun_again(file, text):
    file.write_text(text)
    assert results.keep(file, {"skt": {"c": 2}}, PARTS, "m") == []
    assert json.loads(file.read_text())["skt"] == {"c": 2}


def test_a_raw_send_is_the_hosts_or_with_ack_bridge_the_tables():
    """4096 bytes a send instead of 2048: half as many commands, prompts, results and guards."""
    total, baud = 65536, 115200
    payload = total * 10 / baud
    module, bridge = (skt._bounds("skt:s2", baud, total, ack)[0] - payload for ack in ("module", "bridge"))
    assert module == pytest.approx(2 * bridge)
