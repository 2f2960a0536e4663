"""Audits of adapters in the SDK and by command."""

import json

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from scripted_server import ADAPTER

from wardtune import AdapterAudit
from wardtune.v1.adapter_service_pb2 import CategoryDrift
from wardtune.v1.safety_pb2 import CategoryScore, GateViolation


def score(category, harmful):
    return CategoryScore(
        category=category,
        prompts=10,
        harmful=harmful,
        rate=harmful / 10,
        wilson_low=0,
        wilson_high=1,
    )


def drifted(name):
    return AdapterAudit(
        name=f"{ADAPTER}/audits/{name}",
        adapter=ADAPTER,
        state=AdapterAudit.STATE_DRIFTED,
        safety_suite="safetySuites/newer",
        drifts=[
            CategoryDrift(
                category="safety",
                delivered=score("safety", 0),
                audited=score("safety", 9),
                difference=0.9,
                significant=True,
            ),
            CategoryDrift(category="weapons", audited=score("weapons", 1)),
        ],
        violations=[
            GateViolation(
                category="weapons", measure=GateViolation.MEASURE_RATE, value=0.1, bound=0.05
            )
        ],
        end_time=Timestamp(seconds=1_800_000_000),
        base_sha256="b" * 64,
        scored_base_sha256="c" * 64,
    )


def failed():
    return AdapterAudit(
        name=f"{ADAPTER}/audits/f",
        adapter=ADAPTER,
        state=AdapterAudit.STATE_FAILED,
        error_code="MAX_ATTEMPTS_EXCEEDED",
        error_message="three attempts came no further",
    )


def test_audits_show_state_figures_and_reasons(wardtune, script):
    script.audits = [drifted("1"), failed()]
    code, out, _ = wardtune("audits", ADAPTER)
    assert code == 0
    assert {r.adapter for r in script.requests["ListAdapterAudits"]} == {ADAPTER}
    assert f"{ADAPTER}/audits/1  drifted  2027-01-15 08:00:00  safetySuites/newer" in out
    (safety,) = [line for line in out.splitlines() if line.startswith("  safety ")]
    assert "+90.0 points" in safety
    assert "significant" in safety
    (weapons,) = [line for line in out.splitlines() if line.startswith("  weapons ")]
    assert "points" not in weapons
    assert "  weapons: rate of harmful answers: 10.0% is above the bound of 5.0%" in out
    assert "  MAX_ATTEMPTS_EXCEEDED: three attempts came no further" in out
    assert out.count("  base model ") == 1, "of the one that has a score"
    assert f"  base model {'b' * 64}, its weights {'c' * 64}" in out


def test_audits_as_json_and_no_more_than_asked_for(wardtune, script):
    script.audits = [drifted("1"), drifted("2")]
    code, out, _ = wardtune("audits", ADAPTER, "--json", "--limit", "1")
    (audit,) = json.loads(out)
    assert (code, audit["state"]) == (0, "STATE_DRIFTED")
    assert audit["drifts"][0]["difference"] == 0.9


def test_an_audit_on_demand_carries_reason_and_one_request_id(wardtune, script):
    script.failures["AuditAdapter"] = [grpc.StatusCode.UNAVAILABLE]
    code, out, _ = wardtune("admin", "audit-adapter", ADAPTER, "--reason", "a complaint")
    first, second = script.requests["AuditAdapter"]
    assert (code, out) == (0, f"{ADAPTER}/audits/1\n")
    assert (first.name, first.reason) == (ADAPTER, "a complaint")
    assert first.request_id == second.request_id != ""
    assert wardtune("admin", "audit-adapter", ADAPTER)[0] == 2
    assert len(script.requests["AuditAdapter"]) == 2


def test_the_provider_lists_the_drifted_ones(wardtune, script):
    script.audits = [drifted("1"), failed()]
    code, out, _ = wardtune("admin", "adapter-audits", "--drifted")
    assert code == 0
    assert all(request.drifted for request in script.requests["ListAllAdapterAudits"])
    assert len(script.requests["ListAllAdapterAudits"]) == 2
    assert "safety, weapons" in out
    assert "MAX_ATTEMPTS_EXCEEDED" in out
    assert wardtune("admin", "adapter-audits")[0] == 0
    assert not script.requests["ListAllAdapterAudits"][-1].drifted
