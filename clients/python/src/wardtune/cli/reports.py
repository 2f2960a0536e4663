"""Reported outputs: the customer's `report`, and the provider's triage and export."""

from pathlib import Path

import click

from wardtune.cli.context import Options, command, print_json
from wardtune.cli.tables import state_text, time_text
from wardtune.client import Client
from wardtune.v1 import output_report_service_pb2 as pb

_STATES = {
    "open": pb.OutputReport.STATE_OPEN,
    "confirmed": pb.OutputReport.STATE_CONFIRMED,
    "dismissed": pb.OutputReport.STATE_DISMISSED,
    "all": pb.OutputReport.STATE_UNSPECIFIED,
}
_EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def add_customer_commands(group: click.Group) -> None:
    command(group, "report")(_report)


def add_provider_commands(admin: click.Group) -> None:
    command(admin, "reports")(_reports)
    command(admin, "resolve-report")(_resolve_report)
    command(admin, "export-reports")(_export_reports)


@click.argument("source")
@click.option("--category", required=True, help="The kind of harm, a lower-case word.")
@click.option("--prompt", help="What the adapter was asked.")
@click.option("--prompt-file", type=_EXISTING_FILE, help="The same from a file.")
@click.option("--output", help="What it answered.")
@click.option("--output-file", type=_EXISTING_FILE, help="The same from a file.")
@click.option("--comment", default="", help="Why it is harmful, for the provider.")
@click.option("--request-id", default="", help="UUID: the same one never makes a second report.")
def _report(
    client: Client,
    options: Options,
    source: str,
    category: str,
    prompt: str | None,
    prompt_file: Path | None,
    output: str | None,
    output_file: Path | None,
    comment: str,
    request_id: str,
) -> None:
    """Report a harmful output of SOURCE, an adapter's name or its job's, to the provider."""
    report = client.reports.create(
        source,
        category=category,
        prompt=_text("--prompt", prompt, prompt_file),
        output=_text("--output", output, output_file),
        comment=comment,
        request_id=request_id,
    )
    if options.json_output:
        print_json(report)
    else:
        click.echo(report.name)


def _text(flag: str, text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise click.UsageError(f"give either {flag} or {flag}-file")
    try:
        return file.read_text(encoding="utf-8") if file else text
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{flag}-file {file}: not UTF-8: {error}") from None


@click.option("--state", type=click.Choice(list(_STATES)), default="open", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
def _reports(client: Client, options: Options, state: str, limit: int) -> None:
    """Show the reported outputs of all tenants, the oldest first."""
    listing = client.admin.list_output_reports(_STATES[state])
    found = [report for report, _ in zip(listing, range(limit), strict=False)]
    if options.json_output:
        print_json(found)
        return
    for report in found:
        _print_report(report)


def _print_report(report: pb.OutputReport) -> None:
    category = report.category
    if report.confirmed_category not in ("", report.category):
        category = f"{category}, corrected to {printable(report.confirmed_category)}"
    state = state_text(pb.OutputReport.State, report.state)
    click.echo(f"{report.name}  {state}  {time_text(report.create_time)}  {category}")
    click.echo(f"  {report.adapter} on {report.base_model.removeprefix('baseModels/')}")
    texts = {"prompt": report.prompt, "output": report.output}
    for label, text in (*texts.items(), ("comment", report.comment), ("note", report.note)):
        if text:
            click.echo(f"  {label}:")
            click.echo("".join(f"    {line}\n" for line in printable(text).split("\n")), nl=False)


def printable(text: str) -> str:
    """Another's text, with what would steer the terminal or turn its writing around escaped."""
    return "".join(
        c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


@click.argument("report")
@click.option("--confirm/--dismiss", default=None, help="Harmful, or not to be learned from.")
@click.option("--category", default="", help="The right kind of harm, where the tenant's is not.")
@click.option("--note", required=True, help="Why; the tenant and the audit trail show it.")
def _resolve_report(
    client: Client, options: Options, report: str, confirm: bool | None, category: str, note: str
) -> None:
    """Resolve REPORT, tenants/.../outputReports/..., once and for all."""
    if confirm is None:
        raise click.UsageError("give either --confirm or --dismiss")
    state = _STATES["confirmed" if confirm else "dismissed"]
    resolved = client.admin.resolve_output_report(report, state, note=note, category=category)
    if options.json_output:
        print_json(resolved)
    else:
        click.echo(f"{resolved.name} is {state_text(pb.OutputReport.State, resolved.state)}")


@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The JSONL file."
)
@click.option("--after", default="", help="What the export before printed: gives only what is new.")
@click.option("--reason", required=True, help="For the audit trail.")
def _export_reports(
    client: Client, options: Options, output: Path, after: str, reason: str
) -> None:
    """Write the confirmed reports as rows for a security vector; print where they end.

    The file appears once it is whole, and not at all when nothing is new.
    """
    part = output.with_name(f".{output.name}.part")
    count = 0
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            for row in client.admin.export_output_reports(reason=reason, after=after):
                file.write(f"{row.row}\n")
                after = row.cursor
                count += 1
        if count:
            part.replace(output)
    finally:
        part.unlink(missing_ok=True)
    if options.json_output:
        print_json({"rows": count, "after": after})
    else:
        click.echo(after)
        click.echo(f"{count} rows", err=True)
