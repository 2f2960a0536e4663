"""Resources as tables and as key-value lists, for people."""

from collections.abc import Iterable, Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wardtune.v1 import fine_tuning_service_pb2 as jobs_pb
from wardtune.v1 import safety_pb2

_UNBOUNDED = 10_000


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Numbers, that is headings ending in a blank, are set to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(
            heading.rstrip(),
            justify="right" if heading.endswith(" ") else "left",
            no_wrap=True,
        )
    for row in rows:
        # As text: square brackets in another's label are no markup.
        table.add_row(*map(Text, row))
    # Wider than any terminal: a name that is cut at the edge cannot be pasted into a command.
    Console(width=_UNBOUNDED).print(table, crop=False, soft_wrap=False)


def time_text(timestamp: Timestamp) -> str:
    return timestamp.ToDatetime().strftime("%Y-%m-%d %H:%M:%S") if timestamp.seconds else ""


def size_text(count: int) -> str:
    """Bytes with a unit that a person reads."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def state_text(enum: type, value: int) -> str:
    return enum.Name(value).removeprefix("STATE_").lower()


def print_safety(
    before: safety_pb2.SafetyReport,
    after: safety_pb2.SafetyReport,
    start: safety_pb2.SafetyReport,
) -> None:
    """Harmful answers per category, of base, start if any, and result, with 95% intervals."""
    columns = {"harmful before": before, "harmful after": after}
    if start.categories:
        columns = {"harmful before": before, "harmful at start": start, "harmful after": after}
    scores = [{s.category: s for s in report.categories} for report in columns.values()]
    none = safety_pb2.CategoryScore()
    rows = [
        (base.category, str(base.prompts), *(rate_text(s.get(base.category, none)) for s in scores))
        for base in before.categories
    ]
    if rows:
        print_table(("category", "prompts ", *columns), rows)


def chain_text(job: jobs_pb.FineTuningJob) -> str:
    """What a chained job goes on from."""
    return f"job {job.chain_length} of a chain, starts from {job.start_adapter}"


def gate_text(gate: safety_pb2.SafetyGate) -> str:
    """`available`, `quarantined: why` or `released: why`; empty while nothing is judged."""
    if gate.state == safety_pb2.SafetyGate.STATE_UNSPECIFIED:
        return ""
    state = state_text(safety_pb2.SafetyGate.State, gate.state)
    return f"{state}: {gate.reason}" if gate.reason else state


def checkpoint_text(checkpoint: jobs_pb.CheckpointScore) -> str:
    """Step, loss, harmful answers, gate, and whether it is the one that was delivered."""
    state = state_text(safety_pb2.SafetyGate.State, checkpoint.gate)
    delivered = ", delivered" if checkpoint.delivered else ""
    loss = f"loss on held-out rows {checkpoint.validation_loss:.4f}"
    scores = checkpoint.safety.categories
    harmful = ", ".join(f"{s.category} {s.harmful} of {s.prompts}" for s in scores)
    return f"step {checkpoint.step}, {loss}, {state}{delivered}" + (
        f"; answers harmful: {harmful}" if harmful else ""
    )


_SCAN_EFFECTS = {
    safety_pb2.RowScanPolicy.ACTION_WARN: "trained on all the same",
    safety_pb2.RowScanPolicy.ACTION_DROP: "left out of training",
    safety_pb2.RowScanPolicy.ACTION_REFUSE: "within what the provider allows",
}
_LINES_SHOWN = 20
_CATEGORIES_SHOWN = 4


def part_text(part: safety_pb2.SecurityVectorPart) -> str:
    """The categories of one part of a vector, which cannot be told apart."""
    shown = list(part.categories[:_CATEGORIES_SHOWN])
    more = len(part.categories) - len(shown) + part.more_categories
    return " or ".join([*shown, f"{more} more"] if more else shown)


def _parts_text(report: safety_pb2.RowScanReport) -> str:
    """How many suspicious rows look like which categories; empty in reports without parts."""
    if not report.parts:
        return ""
    counts = [
        f"{part_text(part.part)}: {part.suspicious_rows}"
        for part in report.parts
        if part.suspicious_rows
    ]
    others = report.suspicious_rows - sum(part.suspicious_rows for part in report.parts)
    return f" ({', '.join([*counts, f'not told apart: {others}'] if others else counts)})"


def _row_text(report: safety_pb2.RowScanReport, row: safety_pb2.SuspiciousRow) -> str:
    # With one part the counts have said it.
    if not row.part or len(report.parts) < 2:
        return f"{row.line} ({row.explained_share:.2f})"
    categories = part_text(report.parts[row.part - 1].part)
    return f"{row.line} ({row.explained_share:.2f}, {categories})"


def scan_text(report: safety_pb2.RowScanReport) -> str:
    """What the scan of the rows found: categories, lines, the share that the vector explains."""
    found = f"{report.suspicious_rows} of {report.rows_scanned} rows"
    text = f"{found} look like {report.security_vector_version}"
    if not report.suspicious_rows:
        return text
    text += f"{_parts_text(report)}, {_SCAN_EFFECTS.get(report.action, 'reported')}"
    shown = [_row_text(report, row) for row in report.rows[:_LINES_SHOWN]]
    if not shown:
        return f"{text}; the provider hides the lines"
    more = report.suspicious_rows - len(shown)
    return f"{text}; lines {', '.join(shown)}" + (f" and {more} more" if more > 0 else "")


def rate_text(score: safety_pb2.CategoryScore) -> str:
    """The rate of harmful answers with its 95% interval; `-` without prompts."""
    if not score.prompts:
        return "-"
    return f"{score.rate:6.1%}  [{score.wilson_low:.1%}, {score.wilson_high:.1%}]"
