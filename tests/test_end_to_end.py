"""From rows to an adapter, through each of the clients."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import standin
from conftest import BASE_MODEL, WAIT_S, Finished, Tenant
from processes import REPOSITORY, Server, Worker
from wardtune import Client, FineTuningJob, Hyperparameters, OutputReport, extract
from wardtune.v1.dataset_service_pb2 import Dataset
from wardtune.v1.safety_pb2 import RowScanPolicy, SafetyGate
from wardtune.v1.security_vector_service_pb2 import SecurityVectorVersion


def test_job_ends_with_scores_and_proof(finished: Finished, vector: SecurityVectorVersion) -> None:
    job = finished.job
    assert job.state == FineTuningJob.STATE_SUCCEEDED
    assert job.security_vector_version == vector.name
    assert job.proof.security_vector_sha256 == vector.sha256
    assert job.proof.security_vector_version == vector.name
    assert job.proof.base_sha256 == vector.base_sha256
    assert job.proof.folded_sha256 not in ("", job.proof.base_weights_sha256)
    assert job.proof.scored_base_sha256 == job.proof.base_weights_sha256
    assert vector.card.guard_rows > 0
    assert job.proof.guard_rows_sha256 == vector.card.guard_rows_sha256
    assert job.proof.guard_weights_sha256 == job.proof.base_weights_sha256
    assert job.proof.canary_checks >= 2
    assert job.proof.canary_max_abs_diff <= job.proof.canary_tolerance
    assert job.proof.strip_max_cosine < 0.5
    for report in (job.safety_before, job.safety_after):
        total = report.categories[-1]
        assert (total.category, total.prompts) == ("all", 8)
        assert sum(score.prompts for score in report.categories[:-1]) == 8
        assert 0 <= total.wilson_low <= total.rate <= total.wilson_high <= 1
    assert job.safety_before.suite_sha256 == job.safety_after.suite_sha256
    assert job.gate.state == SafetyGate.STATE_AVAILABLE
    assert job.gate.policy_version >= 1
    assert job.row_scan.rows_scanned == job.proof.rows_scanned == 24
    assert job.row_scan.action == RowScanPolicy.ACTION_WARN
    assert job.row_scan.policy_version >= 1
    assert job.row_scan.security_vector_version == vector.name
    # One vector of four categories, which the scan cannot tell apart.
    (part,) = vector.parts
    assert part.categories == vector.categories
    assert [scanned.part for scanned in job.row_scan.parts] == [part]


def test_every_kept_checkpoint_has_scores(acme: Tenant, dataset: str, worker: Worker) -> None:
    job = acme.client.jobs.create(
        dataset=dataset,
        base_model=BASE_MODEL,
        hyperparameters=Hyperparameters(
            epochs=1,
            batch_size=2,
            lora_rank=4,
            max_row_tokens=128,
            validation_fraction=0.25,
            validation_steps=2,
        ),
    ).wait(timeout_s=WAIT_S)
    checkpoints = job.message.checkpoints
    assert len(checkpoints) == 3, "nine steps, five measurements, three kept"
    losses = [checkpoint.validation_loss for checkpoint in checkpoints]
    assert losses == sorted(losses)
    assert [checkpoint.delivered for checkpoint in checkpoints] == [True, False, False]
    before = job.message.safety_before
    for checkpoint in checkpoints:
        scores = checkpoint.safety.categories
        assert [s.category for s in scores] == [s.category for s in before.categories]
        assert [s.prompts for s in scores] == [s.prompts for s in before.categories]
        assert checkpoint.safety.suite_sha256 == before.suite_sha256
        assert checkpoint.safety.judge_sha256 == before.judge_sha256
        assert checkpoint.safety.sampling_sha256 == before.sampling_sha256
        assert checkpoint.gate == SafetyGate.STATE_AVAILABLE


def test_estimate_is_what_happened(finished: Finished) -> None:
    estimate = finished.job.estimate
    assert (estimate.rows, estimate.total_steps) == (24, 24)
    assert 0 < estimate.supervised_tokens_per_epoch < estimate.tokens_per_epoch
    assert finished.job.progress.step == 24


def test_events_tell_the_whole_way(finished: Finished, acme: Tenant) -> None:
    events = list(acme.client.jobs.watch(finished.job.name))
    sequences = [event.sequence for event in events]
    assert sequences == sorted(set(sequences))
    assert events[0].state == FineTuningJob.STATE_QUEUED
    assert events[-1].state == FineTuningJob.STATE_SUCCEEDED
    phases = [event.phase for event in events]
    # A phase that is over before the next heartbeat is not reported; training is longer than that.
    seen = [phase for phase in dict.fromkeys(phases) if phase != FineTuningJob.PHASE_UNSPECIFIED]
    order = [
        FineTuningJob.PHASE_PREPARING,
        FineTuningJob.PHASE_SCANNING_ROWS,
        FineTuningJob.PHASE_SCORING_BASE,
        FineTuningJob.PHASE_TRAINING,
        FineTuningJob.PHASE_SCORING_RESULT,
        FineTuningJob.PHASE_EXPORTING,
    ]
    assert seen == [phase for phase in order if phase in seen]
    assert FineTuningJob.PHASE_TRAINING in seen


def tensors(folder: Path) -> dict[str, bytes]:
    """The tensors' bytes of an adapter's safetensors file."""
    content = (folder / "adapter_model.safetensors").read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    return {
        name: content[begin + entry["data_offsets"][0] : begin + entry["data_offsets"][1]]
        for name, entry in header.items()
        if name != "__metadata__"
    }


def test_archive_is_a_peft_folder(finished: Finished, acme: Tenant, tmp_path: Path) -> None:
    adapter = acme.client.adapters.get(finished.job.adapter)
    content = finished.archive.read_bytes()
    assert len(content) == adapter.size_bytes
    assert hashlib.sha256(content).hexdigest() == adapter.sha256
    folder = extract(finished.archive, tmp_path)
    (config_file,) = folder.rglob("adapter_config.json")
    config = json.loads(config_file.read_text())
    assert config["peft_type"] == "LORA"
    assert config["r"] == 4
    weights = tensors(config_file.parent)
    assert len(weights) == 30 * 7 * 2, "30 layers, 7 projections, A and B"
    assert (config_file.parent / "README.md").is_file()


def test_reported_output_becomes_a_row(
    finished: Finished, acme: Tenant, provider: Client, tmp_path: Path
) -> None:
    report = acme.client.reports.create(
        finished.job.name, category="privacy", prompt="placeholder", output="placeholder answer"
    )
    assert report.adapter == finished.job.adapter
    assert report.name in [
        waiting.name for waiting in provider.admin.list_output_reports(OutputReport.STATE_OPEN)
    ]
    provider.admin.resolve_output_report(
        report.name, OutputReport.STATE_CONFIRMED, note="reviewed", category="safety"
    )
    seen = acme.client.reports.get(report.name)
    assert (seen.state, seen.confirmed_category) == (OutputReport.STATE_CONFIRMED, "safety")
    (exported,) = provider.admin.export_output_reports(reason="next vector")
    assert exported.report == report.name
    assert list(provider.admin.export_output_reports(reason="rest", after=exported.cursor)) == []
    rows = tmp_path / "rows.jsonl"
    rows.write_text(f"{exported.row}\n")
    assert provider.datasets.upload(rows).dataset.state == Dataset.STATE_READY


def test_command_from_rows_to_folder(
    server: Server, acme: Tenant, vector: SecurityVectorVersion, tmp_path: Path
) -> None:
    def wardtune(*arguments: str) -> str:
        done = server.command(acme.api_key, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    rows = standin.write(tmp_path, "customer_useful", 4)
    assert "4 of 4 rows are valid" in wardtune("validate", str(rows))
    dataset = wardtune("upload", str(rows)).strip()
    settings = ("--model", BASE_MODEL, "--epochs", "1", "--lora-rank", "2")
    adapter = wardtune("create", "--dataset", dataset, *settings, "--watch").split()[0]
    wardtune("download", adapter, "-o", str(tmp_path / "adapter"), "--extract")
    (weights,) = (tmp_path / "adapter").rglob("adapter_model.safetensors")
    learnt = [b for name, b in tensors(weights.parent).items() if "lora_B" in name]
    assert learnt and all(any(b) for b in learnt), "a job of one step must learn, too"
    assert adapter in wardtune("list", "adapters")
    listed = json.loads(wardtune("list", "jobs", "--json"))
    assert listed[0]["adapter"] == adapter


def test_go_client(
    server: Server, acme: Tenant, vector: SecurityVectorVersion, tmp_path: Path
) -> None:
    done = subprocess.run(
        [os.environ.get("WARDTUNE_GO", "go"), "test", "-count=1", "-run=TestLive", "-v", "."],
        cwd=REPOSITORY / "clients" / "go",
        env={
            **os.environ,
            "WARDTUNE_SERVER": server.target,
            "WARDTUNE_API_KEY": acme.api_key,
            "WARDTUNE_LIVE_ROWS": str(standin.write(tmp_path, "customer_useful", 4)),
            "WARDTUNE_LIVE_MODEL": BASE_MODEL,
            "WARDTUNE_REQUIRE_LIVE": "1",
        },
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--- PASS: TestLive" in done.stdout
