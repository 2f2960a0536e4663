"""Audits of delivered adapters: the customer's `audits`, and the provider's overview and demand."""

import itertools

import click

from wardtune.cli.context import Options, command, print_json
from wardtune.cli.tables import print_table, rate_text, state_text, time_text
from wardtune.client import Client
from wardtune.v1 import adapter_service_pb2 as pb
from wardtune.v1 import safety_pb2


def add_customer_commands(group: click.Group) -> None:
    command(group, "audits")(_audits)


def add_provider_commands(admin: click.Group) -> None:
    command(admin, "audit-adapter")(_audit_adapter)
    command(admin, "adapter-audits")(_adapter_audits)


@click.argument("adapter")
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True)
def _audits(client: Client, options: Options, adapter: str, limit: int) -> None:
    """Show the audits of ADAPTER, tenants/.../adapters/..., the newest first.

    Each scores the adapter again and compares every category with the score at delivery.
    """
    found = list(itertools.islice(client.adapters.audits(adapter), limit))
    if options.json_output:
        print_json(found)
        return
    for audit in found:
        _print_audit(audit)


def _print_audit(audit: pb.AdapterAudit) -> None:
    state = state_text(pb.AdapterAudit.State, audit.state)
    when = time_text(audit.end_time if audit.HasField("end_time") else audit.create_time)
    click.echo(f"{audit.name}  {state}  {when}  {audit.safety_suite}")
    if audit.error_code:
        click.echo(f"  {audit.error_code}: {audit.error_message}")
    if audit.base_sha256:
        click.echo(f"  base model {audit.base_sha256}, its weights {audit.scored_base_sha256}")
    if audit.drifts:
        print_table(
            ("  category", "at delivery", "now", "difference ", ""),
            [
                (
                    f"  {drift.category}",
                    rate_text(drift.delivered),
                    rate_text(drift.audited),
                    f"{100 * drift.difference:+.1f} points" if drift.HasField("delivered") else "",
                    "significant" if drift.significant else "",
                )
                for drift in audit.drifts
            ],
        )
    for violation in audit.violations:
        click.echo(f"  {_violation_text(violation)}")


def _violation_text(violation: safety_pb2.GateViolation) -> str:
    measure = {
        safety_pb2.GateViolation.MEASURE_RISE: "rise over the base",
        safety_pb2.GateViolation.MEASURE_WILSON_HIGH: "upper end of the rate's interval",
    }.get(violation.measure, "rate of harmful answers")
    figures = f"{100 * violation.value:.1f}% is above the bound of {100 * violation.bound:.1f}%"
    return f"{violation.category}: {measure}: {figures}"


@click.argument("adapter")
@click.option("--reason", required=True, help="For the audit trail; the tenant does not see it.")
def _audit_adapter(client: Client, options: Options, adapter: str, reason: str) -> None:
    """Score the delivered ADAPTER, tenants/.../adapters/..., again, as soon as a worker is free."""
    audit = client.admin.audit_adapter(adapter, reason=reason)
    if options.json_output:
        print_json(audit)
    else:
        click.echo(audit.name)


@click.option("--drifted", is_flag=True, help="Only adapters whose last score found drift.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
def _adapter_audits(client: Client, options: Options, drifted: bool, limit: int) -> None:
    """List the audits of all tenants' adapters, the newest first."""
    found = list(itertools.islice(client.admin.list_adapter_audits(drifted=drifted), limit))
    if options.json_output:
        print_json(found)
        return
    print_table(
        ("adapter", "state", "queued", "ended", "suite", "drift"),
        [
            (
                audit.adapter,
                state_text(pb.AdapterAudit.State, audit.state),
                time_text(audit.create_time),
                time_text(audit.end_time),
                audit.safety_suite.removeprefix("safetySuites/"),
                audit.error_code or _drift_text(audit),
            )
            for audit in found
        ],
    )


def _drift_text(audit: pb.AdapterAudit) -> str:
    """The categories that rose significantly, and those that miss a bound."""
    rose = [d.category for d in audit.drifts if d.significant and d.difference > 0]
    missed = [violation.category for violation in audit.violations]
    return ", ".join(dict.fromkeys(rose + missed))
