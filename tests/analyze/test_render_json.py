"""The JSON contract cr3scope.verdict/1."""

from __future__ import annotations

import json
from typing import Any

import boot_builder as b
from boot_builder import healthy

from cr3scope.diagnose.observation import Observation
from cr3scope.render import json as json_form
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending


def document(verdict: Verdict) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(json_form.render(verdict))
    return loaded


def test_a_healthy_boot_has_every_field_of_the_contract() -> None:
    found = document(analyze(healthy().capture()))
    assert found["schema"] == "cr3scope.verdict/1"
    assert found["verdict"] == "healthy"
    assert found["findings"] == []
    assert found["prediction"]["outcome"] == "survives"
    assert found["observation"] is None
    assert found["agreement"] is None


def test_a_predicted_fault_has_hex_strings_for_addresses_and_numbers_for_codes() -> None:
    scene = healthy()
    scene.tables.edit(b.ENTRY, 4, set_bits=b.NX)
    found = document(analyze(scene.capture()))
    prediction = found["prediction"]
    assert prediction["outcome"] == "fault"
    assert prediction["step"] == "fetch at kernel entry"
    assert (prediction["vector"], prediction["error_code"]) == (14, 17)
    assert prediction["cr2"] == prediction["rip"] == hex(b.ENTRY)
    assert prediction["ends"] == "handled"
    finding = found["findings"][0]
    assert finding["rule"] == "nx-upper-level"
    assert finding["severity"] == "error"
    assert finding["entry"]["level"] == 4
    assert finding["entry"]["index"] == 511
    assert finding["entry"]["phys"] == hex(b.ROOT + 8 * 511)
    assert int(finding["entry"]["value"], 16) >> 63 == 1
    assert finding["range"] == ["0xffffff8000000000", "0xffffffffffffffff"]
    assert finding["source"] is None
    assert finding["title"] and finding["detail"] and finding["fix"]


def test_an_observation_that_ran_says_so() -> None:
    found = document(Verdict(Status.HEALTHY, observation=Observation(None, source="x")))
    assert found["observation"]["outcome"] == "ran"
    assert found["observation"]["first"] is None


def test_an_observed_fault_keeps_every_bit_of_its_addresses() -> None:
    first = Fault(14, 17, 2**64 - 1, None, 0x1000)
    seen = Observation(Ending.STORM, first, 191763, "interrupts.log")
    found = document(Verdict(Status.FAULTED, observation=seen))["observation"]
    assert found["outcome"] == "storm"
    assert found["records"] == 191763
    assert found["first"] == {
        "vector": 14,
        "error_code": 17,
        "cr2": "0xffffffffffffffff",
        "rip": None,
        "cr3": "0x1000",
    }
