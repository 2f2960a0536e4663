"""A delivered adapter is scored again when a newer suite comes, and drift shows everywhere."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import standin
from conftest import AUDIT_ENDED, BASE_MODEL, Finished, Tenant, eventually
from processes import WAIT_S, Server
from wardtune import AdapterAudit, Client, Hyperparameters, NotFoundError
from wardtune.v1.safety_pb2 import SafetyGate

# Harmful is whatever is said at all.
STRICTEST = json.dumps({"version": 1, "harmful_patterns": ["."]}).encode()


@pytest.fixture(scope="module")
def auditing(server: Server) -> Iterator[Server]:
    """The run's server, looking for what is due. The interval is longer than any test."""
    server.stop()
    server.start("--audit-interval=1000h", "--metrics-listen=127.0.0.1:0")
    yield server
    server.stop()
    server.start()


def test_a_stricter_suite_shows_drift(
    auditing: Server, provider: Client, acme: Tenant, rival: Tenant, finished: Finished
) -> None:
    adapter = finished.job.adapter
    delivered = finished.job.safety_after
    assert delivered.categories[-1].harmful == 0, "the test needs a harmless result"
    assert list(acme.client.adapters.audits(adapter)) == []

    suite = provider.suites.create(
        "stricter",
        prompts=standin.rows("heldout_harmful", 8),
        rules=STRICTEST,
        general_prompts=standin.rows("heldout_general", 4),
    )

    def audits() -> list[AdapterAudit]:
        return list(acme.client.adapters.audits(adapter))

    eventually(lambda: any(audit.state in AUDIT_ENDED for audit in audits()), auditing)
    (audit,) = audits()
    assert audit.state == AdapterAudit.STATE_DRIFTED, audit.error_message
    assert audit.safety_suite == suite.name
    assert audit.safety.suite_sha256 == suite.prompts_sha256
    assert audit.safety.judge_sha256 == suite.rules_sha256
    assert audit.safety.sampling_sha256 == delivered.sampling_sha256
    proof = finished.job.proof
    assert audit.base_sha256 == proof.base_sha256
    assert audit.scored_base_sha256 == proof.scored_base_sha256, "the same worker, the same type"
    total = audit.drifts[-1]
    assert (total.category, total.significant) == ("all", True)
    assert (total.delivered.harmful, total.audited.harmful) == (0, 8)
    assert total.difference == 1
    assert [drift.category for drift in audit.drifts] == [c.category for c in delivered.categories]

    # Nothing else changes: the provider decides.
    message = acme.client.adapters.get(adapter)
    assert message.gate.state == SafetyGate.STATE_AVAILABLE
    assert message.safety_after == delivered
    with pytest.raises(NotFoundError):
        list(rival.client.adapters.audits(adapter))
    assert adapter in [a.adapter for a in provider.admin.list_adapter_audits(drifted=True)]

    def drifted_adapters() -> int:
        prefix = "wardtune_audit_drifted_adapters "
        lines = [line for line in auditing.metrics().splitlines() if line.startswith(prefix)]
        return int(lines[0].removeprefix(prefix))

    eventually(lambda: drifted_adapters() > 0, auditing)
    assert "acme" not in auditing.metrics()
    assert '"adapter_audit_ended"' in auditing.log.read_text()

    # On demand, too.
    asked = provider.admin.audit_adapter(adapter, reason="a complaint")
    eventually(lambda: audits()[0].state in AUDIT_ENDED, auditing)
    assert audits()[0].name == asked.name
    assert audits()[0].safety == audit.safety
    event = next(provider.admin.list_audit_events())
    assert (event.action, event.resource) == ("audit_adapter", adapter)

    shown = auditing.command(acme.api_key, "audits", adapter, "--limit", "1")
    assert shown.returncode == 0, shown.stderr
    assert f"{asked.name}  drifted" in shown.stdout
    (line,) = [line for line in shown.stdout.splitlines() if line.startswith("  all ")]
    assert "+100.0 points" in line
    assert "significant" in line


def scored_audit(auditing: Server, acme: Tenant, finished: Finished, suite: str) -> AdapterAudit:
    """The newest audit by the suite, once it has ended with a score."""

    def ended() -> list[AdapterAudit]:
        audits = acme.client.adapters.audits(finished.job.adapter)
        return [a for a in audits if a.safety_suite == suite and a.state in AUDIT_ENDED]

    eventually(lambda: len(ended()) > 0, auditing)
    audit = ended()[0]
    assert audit.state != AdapterAudit.STATE_FAILED, audit.error_message
    return audit


# A worker's score by a judge with an adapter was refused, so nothing of such a suite ever ended.
def test_a_judge_that_the_service_trained_scores(
    auditing: Server, provider: Client, acme: Tenant, finished: Finished, tmp_path: Path
) -> None:
    rows = standin.write(tmp_path, "judge_rows", 16)
    job = provider.jobs.create(
        dataset=provider.datasets.upload(rows).dataset.name,
        base_model=BASE_MODEL,
        hyperparameters=Hyperparameters(epochs=1, batch_size=4, lora_rank=4),
    ).wait(timeout_s=WAIT_S)
    suite = provider.suites.create(
        "judged",
        prompts=standin.rows("heldout_harmful", 8),
        rules=standin.language_model_rules(),
        general_prompts=standin.rows("heldout_general", 4),
        judge_adapter=job.adapter,
    )

    audit = scored_audit(auditing, acme, finished, suite.name)
    assert audit.safety.judge == "causal_lm/1"
    assert audit.safety.judge_sha256 not in ("", suite.rules_sha256)


# Such a score was refused, too, and the work of every such suite failed after its training.
def test_a_judge_by_refusal_phrases_scores(
    auditing: Server, provider: Client, acme: Tenant, finished: Finished
) -> None:
    general = [json.loads(line) for line in standin.rows("heldout_general", 4).splitlines()]
    # Every answer has one of these: later audits by this suite, the newest one, find no harm.
    rules = {"version": 1, "judge": "refusal", "refusal_phrases": ["a", "e", "i", "o", "u", " "]}
    suite = provider.suites.create(
        "refusals",
        prompts=standin.rows("heldout_harmful", 8),
        rules=json.dumps(rules).encode(),
        general_prompts="\n".join(json.dumps(row | {"rule": "STEP"}) for row in general).encode(),
    )

    audit = scored_audit(auditing, acme, finished, suite.name)
    assert (audit.safety.judge, audit.safety.judge_sha256) == ("refusal/1", suite.rules_sha256)
    assert audit.safety.categories[-1].harmful == 0
