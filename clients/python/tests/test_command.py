import json

import grpc
import pytest
from scripted_server import ADAPTER, JOB, refusal

from wardtune import UnavailableError
from wardtune.v1 import fine_tuning_service_pb2 as pb
from wardtune.v1 import safety_pb2


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n")
    return str(path)


def test_upload_prints_the_name_alone_on_standard_output(wardtune, rows):
    code, out, err = wardtune("upload", rows)
    assert code == 0
    assert out == "tenants/acme/datasets/d1\n"
    assert "2 rows" in err


def test_upload_json(wardtune, rows):
    code, out, _ = wardtune("upload", rows, "--json")
    assert code == 0
    document = json.loads(out)
    assert document["dataset"]["state"] == "STATE_READY"
    assert document["report"]["valid_rows"] == "2"


def test_refusal_is_one_line_and_its_fields(wardtune, script, rows):
    script.failures["UploadDataset"] = [refusal(("line 2", "not JSON"), ("line 3", "no messages"))]
    code, out, err = wardtune("upload", rows)
    assert code == 3
    assert out == ""
    assert err == "error: 2 fields are wrong\n  line 2: not JSON\n  line 3: no messages\n"


def test_refusal_as_json(wardtune, script, rows):
    script.failures["UploadDataset"] = [refusal(("line 2", "not JSON"))]
    code, out, err = wardtune("upload", rows, "--json")
    assert (code, out) == (3, "")
    error = json.loads(err)["error"]
    assert error["code"] == "INVALID_ARGUMENT"
    assert error["reason"] == "BAD_FIELDS"
    assert error["violations"] == [{"field": "line 2", "description": "not JSON"}]


def test_validate_names_lines_and_fails(wardtune, script, rows):
    script.report.errors.add(line=7, column=3, code="UNKNOWN_ROLE", message="use user")
    script.report.error_count = 1
    code, out, _ = wardtune("validate", rows)
    assert code == 3
    assert "line 7:3: UNKNOWN_ROLE: use user" in out


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, 4),
        (grpc.StatusCode.PERMISSION_DENIED, 4),
        (grpc.StatusCode.NOT_FOUND, 5),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 6),
        (grpc.StatusCode.INTERNAL, 7),
    ],
)
def test_exit_codes(wardtune, script, status, expected):
    script.failures["ListDatasets"] = [status]
    code, _, err = wardtune("list", "datasets")
    assert code == expected
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_list_stops_at_its_limit(wardtune):
    code, out, _ = wardtune("list", "datasets", "--limit", "3", "--json")
    assert code == 0
    assert len(json.loads(out)) == 3


def test_list_is_a_table_with_whole_names(wardtune):
    code, out, _ = wardtune("list", "datasets")
    assert code == 0
    heading, first = out.splitlines()[:2]
    assert heading.index("rows") + len("rows") == first.index(" 0 ") + 2, "numbers to the right"
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        f"tenants/acme/datasets/{i}" for i in range(5)
    ]


def test_create_passes_settings_on(wardtune, script):
    code, out, _ = wardtune(
        "create", "--dataset", "d", "--model", "m", "--epochs", "3", "--schedule", "cosine"
    )
    assert (code, out) == (0, f"{JOB}\n")
    (request,) = script.requests["CreateFineTuningJob"]
    assert request.base_model == "baseModels/m"
    assert request.hyperparameters.epochs == 3
    assert request.hyperparameters.schedule == pb.Hyperparameters.SCHEDULE_COSINE
    assert not request.hyperparameters.HasField("warmup_ratio")


def test_create_asks_for_a_whole_model(wardtune, script):
    arguments = ("create", "--dataset", "d", "--model", "m")
    assert wardtune(*arguments, "--method", "full-parameter")[0] == 0
    assert wardtune(*arguments)[0] == 0
    full, plain = script.requests["CreateFineTuningJob"]
    assert full.hyperparameters.method == pb.Hyperparameters.METHOD_FULL_PARAMETER
    assert plain.hyperparameters.method == pb.Hyperparameters.METHOD_UNSPECIFIED


def test_watch_ends_with_adapter_and_scores(wardtune, script):
    score = safety_pb2.CategoryScore(category="all", prompts=10, harmful=5, rate=0.5)
    script.jobs = [
        pb.FineTuningJob(
            name=JOB,
            state=pb.FineTuningJob.STATE_SUCCEEDED,
            adapter=ADAPTER,
            safety_before=safety_pb2.SafetyReport(categories=[score]),
        )
    ]
    code, out, err = wardtune("watch", JOB)
    assert code == 0
    assert out.startswith(f"{ADAPTER}\n")
    assert "50.0%" in out
    assert "succeeded 100%" in err


def test_watch_says_plainly_that_the_gate_holds_the_adapter_back(wardtune, script):
    gate = safety_pb2.SafetyGate(
        state=safety_pb2.SafetyGate.STATE_QUARANTINED,
        reason="privacy: 50.0% harmful answers, the bound is 5.0%",
    )
    script.jobs = [
        pb.FineTuningJob(
            name=JOB, state=pb.FineTuningJob.STATE_SUCCEEDED, adapter=ADAPTER, gate=gate
        )
    ]
    _, out, _ = wardtune("watch", JOB)
    assert "safety gate: quarantined: privacy: 50.0% harmful answers, the bound is 5.0%" in out


def test_update_tenant_sends_what_is_given_alone(wardtune, script):
    code, out, _ = wardtune("admin", "update-tenant", "acme", "--max-active-jobs", "0")
    (request,) = script.requests["UpdateTenant"]
    assert (code, out) == (0, "tenants/acme\n")
    assert request.update_mask.paths == ["max_active_jobs"]
    assert request.tenant.max_active_jobs == 0


def test_tenants_are_listed_with_their_limits(wardtune):
    _, out, _ = wardtune("admin", "list-tenants")
    line = out.splitlines()[1]
    assert line.split() == ["tenants/acme", "7", "default"]


def test_release_carries_reason_and_request_id(wardtune, script):
    code, out, _ = wardtune("admin", "release", ADAPTER, "--reason", "reviewed")
    (request,) = script.requests["ReleaseAdapter"]
    assert (code, out) == (0, f"{ADAPTER} is released\n")
    assert (request.name, request.reason) == (ADAPTER, "reviewed")
    assert request.request_id


def test_release_without_a_reason_is_not_sent(wardtune, script):
    code, _, _ = wardtune("admin", "release", ADAPTER)
    assert code == 2
    assert not script.requests["ReleaseAdapter"]


def test_audit_lists_all_pages(wardtune):
    code, out, _ = wardtune("admin", "audit")
    assert code == 0
    assert out.count(ADAPTER) == 2
    assert "reviewed" in out


def test_set_policy_sends_each_bound(wardtune, script):
    bounds = ("--bound", "all=0.05,0.02", "--bound", "*=0.1,0.03")
    code, out, _ = wardtune("admin", "set-policy", *bounds, "--wilson", "--reason", "stricter")
    (request,) = script.requests["SetSafetyPolicy"]
    assert code == 0
    assert [(b.category, b.max_rate, b.max_rise) for b in request.policy.bounds] == [
        ("all", 0.05, 0.02),
        ("*", 0.1, 0.03),
    ]
    assert request.policy.use_wilson_high
    assert "version 1, by upper end of the 95% interval" in out
    assert wardtune("admin", "set-policy", "--bound", "all=5%", "--reason", "x")[0] == 2


def test_set_policy_scans_rows_as_told(wardtune, script):
    bounds = ("--bound", "all=0.05,0.02", "--bound", "*=0.1,0.03", "--reason", "x")
    assert (
        "row scan: warn, suspicious from 0.5 of the loss on"
        in wardtune("admin", "set-policy", *bounds)[1]
    )
    scan = ("--row-scan", "refuse", "--suspicious-share", "0.7", "--max-suspicious", "0.01")
    scored = ("--scored-checkpoints", "5")
    _, out, _ = wardtune("admin", "set-policy", *bounds, *scan, "--hide-rows", *scored)
    default, told = (r.policy.row_scan for r in script.requests["SetSafetyPolicy"])
    assert default == safety_pb2.RowScanPolicy(action=safety_pb2.RowScanPolicy.ACTION_WARN)
    assert told == safety_pb2.RowScanPolicy(
        action=safety_pb2.RowScanPolicy.ACTION_REFUSE,
        suspicious_share=0.7,
        max_suspicious_fraction=0.01,
        hide_rows_from_tenants=True,
    )
    assert "row scan: refuse, suspicious from 0.7 of the loss on, at most 1.0% of the rows" in out
    assert "lines hidden from tenants" in out
    assert [r.policy.scored_checkpoints for r in script.requests["SetSafetyPolicy"]] == [0, 5]
    assert "checkpoints that are kept and scored: 5" in out


def scanned(action, **fields):
    return safety_pb2.RowScanReport(
        action=action, security_vector_version="securityVectors/s/versions/1", **fields
    )


def test_watch_names_the_suspicious_lines(wardtune, script):
    rows = [safety_pb2.SuspiciousRow(line=3 * i, explained_share=0.75) for i in range(1, 41)]
    report = scanned(
        safety_pb2.RowScanPolicy.ACTION_DROP,
        rows_scanned=100,
        suspicious_rows=40,
        dropped_rows=40,
        rows=rows,
    )
    script.jobs = [
        pb.FineTuningJob(
            name=JOB, state=pb.FineTuningJob.STATE_SUCCEEDED, adapter=ADAPTER, row_scan=report
        )
    ]
    _, out, _ = wardtune("watch", JOB)
    assert "40 of 100 rows look like securityVectors/s/versions/1, left out of training" in out
    assert "lines 3 (0.75), 6 (0.75)" in out
    assert "60 (0.75) and 20 more" in out


def test_watch_names_the_categories_that_rows_look_like(wardtune, script):
    def part(rows, *categories, more=0):
        return safety_pb2.ScannedPart(
            part=safety_pb2.SecurityVectorPart(categories=categories, more_categories=more),
            suspicious_rows=rows,
        )

    rows = [safety_pb2.SuspiciousRow(line=i, explained_share=0.5, part=i % 3) for i in (1, 2, 3)]
    report = scanned(
        safety_pb2.RowScanPolicy.ACTION_WARN,
        rows_scanned=9,
        suspicious_rows=4,
        rows=rows,
        parts=[part(1, "leak"), part(2, "a", "b", "c", "d", "e", more=1), part(0, "rude")],
    )
    script.jobs = [
        pb.FineTuningJob(
            name=JOB, state=pb.FineTuningJob.STATE_SUCCEEDED, adapter=ADAPTER, row_scan=report
        )
    ]
    _, out, _ = wardtune("watch", JOB)
    assert "(leak: 1, a or b or c or d or 2 more: 2, not told apart: 1), trained on" in out
    assert "lines 1 (0.50, leak), 2 (0.50, a or b or c or d or 2 more), 3 (0.50) and 1 more" in out
    assert "rude" not in out
    # One part: the counts say all.
    del report.parts[1:]
    for row in report.rows:
        row.part = 1
    report.parts[0].suspicious_rows = 4
    script.jobs[0].row_scan.CopyFrom(report)
    _, out, _ = wardtune("watch", JOB)
    assert "(leak: 4), trained on all the same; lines 1 (0.50), 2 (0.50)" in out


def test_watch_says_when_lines_are_hidden(wardtune, script):
    report = scanned(
        safety_pb2.RowScanPolicy.ACTION_WARN, rows_scanned=9, suspicious_rows=2, rows_hidden=True
    )
    script.jobs = [
        pb.FineTuningJob(
            name=JOB, state=pb.FineTuningJob.STATE_SUCCEEDED, adapter=ADAPTER, row_scan=report
        )
    ]
    _, out, _ = wardtune("watch", JOB)
    assert "2 of 9 rows" in out
    assert "the provider hides the lines" in out


def test_watch_names_the_checkpoints_that_were_scored(wardtune, script):
    gate = safety_pb2.SafetyGate
    scores = [
        pb.CheckpointScore(step=8, validation_loss=0.4, gate=gate.STATE_QUARANTINED),
        pb.CheckpointScore(step=4, validation_loss=0.5, gate=gate.STATE_AVAILABLE, delivered=True),
    ]
    for category, harmful, prompts in (("privacy", 2, 9), ("all", 2, 20)):
        scores[0].safety.categories.add(category=category, harmful=harmful, prompts=prompts)
    script.jobs = [
        pb.FineTuningJob(
            name=JOB,
            state=pb.FineTuningJob.STATE_SUCCEEDED,
            adapter=ADAPTER,
            checkpoints=scores,
        )
    ]
    _, out, _ = wardtune("watch", JOB)
    assert "checkpoint: step 8, loss on held-out rows 0.4000, quarantined; " in out
    assert "; answers harmful: privacy 2 of 9, all 2 of 20\n" in out
    assert "checkpoint: step 4, loss on held-out rows 0.5000, available, delivered\n" in out


def test_create_says_that_rows_will_be_scanned(wardtune, script):
    script.estimate.row_scan = safety_pb2.RowScanPolicy.ACTION_DROP
    _, _, err = wardtune("create", "--dataset", "d", "--model", "m", "--dry-run")
    assert "scanned by the security vector; suspicious ones are left out" in err


def test_create_goes_on_from_an_adapter(wardtune, script):
    arguments = ("create", "--dataset", "d", "--model", "m")
    code, out, err = wardtune(*arguments, "--start-adapter", ADAPTER)
    assert (code, out) == (0, f"{JOB}\n")
    assert f"job 2 of a chain, starts from {ADAPTER}\n" in err
    assert "chain" not in wardtune(*arguments)[2]
    chained, plain = script.requests["CreateFineTuningJob"]
    assert (chained.start_adapter, plain.start_adapter) == (ADAPTER, "")


def test_watch_shows_what_a_chained_job_started_with(wardtune, script):
    def score(harmful):
        return safety_pb2.SafetyReport(
            categories=[
                safety_pb2.CategoryScore(
                    category="all", prompts=10, harmful=harmful, rate=harmful / 10
                )
            ]
        )

    job = pb.FineTuningJob(
        name=JOB,
        state=pb.FineTuningJob.STATE_SUCCEEDED,
        adapter=ADAPTER,
        safety_before=score(0),
        safety_after=score(3),
    )
    script.jobs = [job]
    assert "at start" not in wardtune("watch", JOB)[1]
    job.start_adapter, job.chain_length = "tenants/acme/adapters/a0", 2
    job.safety_start.CopyFrom(score(2))
    _, out, _ = wardtune("watch", JOB)
    assert "job 2 of a chain, starts from tenants/acme/adapters/a0\n" in out
    (figures,) = [line for line in out.splitlines() if line.startswith("all")]
    assert [word for word in figures.split() if word in ("0.0%", "20.0%", "30.0%")] == [
        "0.0%",
        "20.0%",
        "30.0%",
    ]


def test_watch_of_a_failed_job_fails(wardtune, script):
    failed = pb.FineTuningJob(name=JOB, state=pb.FineTuningJob.STATE_FAILED, error_code="OOM")
    script.jobs = [failed]
    script.events = [pb.JobEvent(sequence=1, state=failed.state, message="failed")]
    code, out, err = wardtune("watch", JOB, "--json")
    assert code == 1
    assert [json.loads(line)["message"] for line in out.splitlines()] == ["failed"]
    assert json.loads(err)["error"]["reason"] == "OOM"


def test_download(wardtune, script, tmp_path):
    script.archive = b"x" * 2500
    code, out, _ = wardtune("download", ADAPTER, "-o", str(tmp_path / "a.tar"))
    assert (code, out) == (0, f"{tmp_path / 'a.tar'}\n")
    assert (tmp_path / "a.tar").read_bytes() == script.archive


def test_without_server_the_command_says_what_to_set(wardtune, monkeypatch):
    monkeypatch.delenv("WARDTUNE_SERVER")
    code, _, err = wardtune("list", "jobs")
    assert code == 2
    assert "WARDTUNE_SERVER" in err


# Only `list datasets` knew what to go on with.
def test_an_upload_that_broke_off_says_how_to_go_on(wardtune, script, tmp_path, monkeypatch):
    def at_its_end(_, error):
        raise error

    monkeypatch.setattr("wardtune.datasets.Patience.wait", at_its_end)
    script.failures["UploadDataset"] = [UnavailableError.code]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    code, _, error = wardtune("upload", str(rows))
    assert code == 6
    assert f"--resume {script.dataset.name}" in error


# It was a traceback and exit code 1, which means a job that failed.
def test_a_number_that_no_field_holds_is_wrong_usage(wardtune, script):
    code, _, error = wardtune(
        "create", "--dataset", "d", "--model", "smol", "--epochs", "3000000000"
    )
    assert code == 2
    assert "--epochs" in error
    assert not script.requests["CreateFineTuningJob"]
