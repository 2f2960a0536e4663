"""Reported outputs in the SDK and by command."""

import json

import grpc
from scripted_server import ADAPTER, JOB, REPORT

from wardtune import OutputReport
from wardtune.cli.reports import printable

TEXTS = ("--category", "privacy", "--prompt", "a prompt", "--output", "an output")


def report(**fields):
    defaults = {
        "name": REPORT,
        "adapter": ADAPTER,
        "base_model": "baseModels/tiny",
        "category": "privacy",
        "prompt": "a prompt",
        "output": "an output",
        "state": OutputReport.STATE_OPEN,
    }
    return OutputReport(**(defaults | fields))


def test_report_sends_what_was_asked_and_answered(wardtune, script):
    code, out, _ = wardtune("report", ADAPTER, *TEXTS, "--comment", "why")
    (request,) = script.requests["ReportOutput"]
    assert (code, out) == (0, f"{REPORT}\n")
    assert request.WhichOneof("source") == "adapter"
    assert (request.adapter, request.category, request.comment) == (ADAPTER, "privacy", "why")
    assert (request.prompt, request.output) == ("a prompt", "an output")
    assert request.request_id


def test_a_job_is_reported_as_a_job(wardtune, script):
    assert wardtune("report", JOB, *TEXTS)[0] == 0
    (request,) = script.requests["ReportOutput"]
    assert request.WhichOneof("source") == "job"
    assert request.job == JOB


def test_report_reads_files_as_they_are(wardtune, script, tmp_path):
    file = tmp_path / "output.txt"
    file.write_text("two\nlines ä\n", encoding="utf-8")
    arguments = ("--category", "privacy", "--prompt", "p", "--output-file", str(file))
    assert wardtune("report", ADAPTER, *arguments)[0] == 0
    assert script.requests["ReportOutput"][0].output == "two\nlines ä\n"
    file.write_bytes(b"\xff")
    assert wardtune("report", ADAPTER, *arguments)[0] == 2


def test_report_needs_each_text_once(wardtune, script, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("p")
    assert wardtune("report", ADAPTER, *TEXTS, "--prompt-file", str(file))[0] == 2
    assert wardtune("report", ADAPTER, "--category", "privacy", "--prompt", "p")[0] == 2
    assert not script.requests["ReportOutput"]


def test_a_report_is_tried_again_under_one_request_id(client, script):
    script.failures["ReportOutput"] = [grpc.StatusCode.UNAVAILABLE]
    client.reports.create(ADAPTER, category="privacy", prompt="p", output="o")
    first, second = script.requests["ReportOutput"]
    assert first.request_id == second.request_id != ""


def test_the_tenant_sees_state_and_note(wardtune, script):
    script.reports = [
        report(
            state=OutputReport.STATE_CONFIRMED,
            confirmed_category="safety",
            note="reviewed [/by] us",
        )
    ]
    code, out, _ = wardtune("list", "reports")
    assert code == 0
    assert "confirmed" in out
    assert "safety" in out
    assert "reviewed [/by] us" in out
    code, out, _ = wardtune("get", REPORT)
    assert json.loads(out)["note"] == "reviewed [/by] us"


def test_triage_shows_all_pages_with_their_texts(wardtune, script):
    script.reports = [report(), report(name=f"{REPORT}b", output="line 1\nline \x1b[2J2")]
    code, out, _ = wardtune("admin", "reports")
    assert code == 0
    states = {request.state for request in script.requests["ListAllOutputReports"]}
    assert states == {OutputReport.STATE_OPEN}
    assert f"{REPORT}  open" in out
    assert f"{ADAPTER} on tiny" in out
    assert "    a prompt\n" in out
    assert "    line 1\n    line \\x1b[2J2\n" in out
    wardtune("admin", "reports", "--state", "all", "--limit", "1")
    assert script.requests["ListAllOutputReports"][-1].state == OutputReport.STATE_UNSPECIFIED


def test_printable_keeps_words_and_escapes_what_steers():
    assert printable("ä\tb\nc") == "ä\tb\nc"
    assert printable("\x1b\r\u202e\x9b") == "\\x1b\\r\\u202e\\x9b"


def test_resolve_sends_state_note_and_category(wardtune, script):
    code, out, _ = wardtune(
        "admin", "resolve-report", REPORT, "--confirm", "--category", "safety", "--note", "seen"
    )
    assert (code, out) == (0, f"{REPORT} is confirmed\n")
    assert wardtune("admin", "resolve-report", REPORT, "--dismiss", "--note", "no harm")[0] == 0
    first, second = script.requests["ResolveOutputReport"]
    assert first.state == OutputReport.STATE_CONFIRMED
    assert (first.name, first.category, first.note) == (REPORT, "safety", "seen")
    assert first.request_id
    assert second.state == OutputReport.STATE_DISMISSED
    assert wardtune("admin", "resolve-report", REPORT, "--note", "undecided")[0] == 2
    assert len(script.requests["ResolveOutputReport"]) == 2


def test_export_writes_rows_and_prints_where_they_end(wardtune, script, tmp_path):
    script.rows = ['{"n":1}', '{"n":2}', '{"n":3}']
    target = tmp_path / "rows.jsonl"
    arguments = ("admin", "export-reports", "-o", str(target), "--reason", "next vector")
    code, out, err = wardtune(*arguments, "--after", "1")
    assert (code, out, err) == (0, "3\n", "2 rows\n")
    assert target.read_text() == '{"n":2}\n{"n":3}\n'
    assert script.requests["ExportOutputReports"][0].reason == "next vector"
    # Nothing new: the file of the export before stays, and so does the cursor.
    code, out, _ = wardtune(*arguments, "--after", "3", "--json")
    assert (code, json.loads(out)) == (0, {"rows": 0, "after": "3"})
    assert target.read_text() == '{"n":2}\n{"n":3}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_broken_export_goes_on_behind_the_last_row(client, script):
    script.rows = ["1", "2", "3"]
    script.break_export_after = [2]
    rows = [row.row for row in client.admin.export_output_reports(reason="next vector")]
    assert rows == ["1", "2", "3"]
    assert [r.after for r in script.requests["ExportOutputReports"]] == ["", "2"]


def test_an_export_that_is_refused_leaves_no_file(wardtune, script, tmp_path):
    script.failures["ExportOutputReports"] = [grpc.StatusCode.PERMISSION_DENIED]
    target = tmp_path / "rows.jsonl"
    assert wardtune("admin", "export-reports", "-o", str(target), "--reason", "x")[0] == 4
    assert list(tmp_path.iterdir()) == []
