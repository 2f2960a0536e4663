"""The provider's commands for the safety gate: policy, release from quarantine, audit trail."""

import click

from wardtune.cli.context import Options, command, print_json
from wardtune.cli.tables import print_table, time_text
from wardtune.client import Client
from wardtune.v1 import safety_pb2 as safety_pb

_SCAN_ACTIONS = {
    "off": safety_pb.RowScanPolicy.ACTION_OFF,
    "warn": safety_pb.RowScanPolicy.ACTION_WARN,
    "drop": safety_pb.RowScanPolicy.ACTION_DROP,
    "refuse": safety_pb.RowScanPolicy.ACTION_REFUSE,
}


def add_commands(admin: click.Group) -> None:
    command(admin, "policy")(_policy)
    command(admin, "set-policy")(_set_policy)
    command(admin, "release")(_release)
    command(admin, "audit")(_audit)


@click.option("--version", type=click.IntRange(min=0), default=0, help="0 is the one in force.")
def _policy(client: Client, options: Options, version: int) -> None:
    """Show what results are judged by."""
    _print_policy(client.admin.get_safety_policy(version), options)


@click.option(
    "--bound",
    "bounds",
    multiple=True,
    required=True,
    metavar="CATEGORY=RATE,RISE",
    help="Highest rate and highest rise over the base, both 0 to 1; once for each category, "
    "`all` (their sum) and `*` (every other) among them.",
)
@click.option(
    "--wilson", is_flag=True, help="Compare the upper end of the rate's 95% interval instead."
)
@click.option(
    "--row-scan",
    type=click.Choice(list(_SCAN_ACTIONS)),
    default="warn",
    show_default=True,
    help="What to do about rows that look like the security vector's behaviour.",
)
@click.option(
    "--suspicious-share",
    type=float,
    default=0.0,
    help="Share of its loss that the vector takes from a suspicious row; 0.5 if left out.",
)
@click.option(
    "--max-suspicious",
    type=float,
    default=0.0,
    help="With `--row-scan refuse`: share of the rows that may be suspicious; none if left out.",
)
@click.option("--hide-rows", is_flag=True, help="Tell tenants counts alone, no lines or shares.")
@click.option(
    "--scored-checkpoints",
    type=click.IntRange(0, 8),
    default=0,
    help="Checkpoints that a job with validation keeps and scores; 3 if left out.",
)
@click.option("--reason", required=True, help="For the audit trail.")
def _set_policy(
    client: Client,
    options: Options,
    bounds: tuple[str, ...],
    wilson: bool,
    row_scan: str,
    suspicious_share: float,
    max_suspicious: float,
    hide_rows: bool,
    scored_checkpoints: int,
    reason: str,
) -> None:
    """Judge results by these bounds, and scan rows so, from now on; replaces the whole policy."""
    scan = safety_pb.RowScanPolicy(
        action=_SCAN_ACTIONS[row_scan],
        suspicious_share=suspicious_share,
        max_suspicious_fraction=max_suspicious,
        hide_rows_from_tenants=hide_rows,
    )
    policy = safety_pb.SafetyPolicy(
        bounds=[_parse_bound(text) for text in bounds],
        use_wilson_high=wilson,
        row_scan=scan,
        scored_checkpoints=scored_checkpoints,
    )
    _print_policy(client.admin.set_safety_policy(policy, reason=reason), options)


def _parse_bound(text: str) -> safety_pb.SafetyBound:
    category, _, figures = text.partition("=")
    try:
        rate, rise = (float(figure) for figure in figures.split(","))
    except ValueError:
        raise click.UsageError(f"--bound {text}: must look like all=0.05,0.02") from None
    return safety_pb.SafetyBound(category=category, max_rate=rate, max_rise=rise)


def _print_policy(policy: safety_pb.SafetyPolicy, options: Options) -> None:
    if options.json_output:
        print_json(policy)
        return
    figure = "upper end of the 95% interval" if policy.use_wilson_high else "rate"
    click.echo(f"version {policy.version}{'' if policy.version else ' (default)'}, by {figure}")
    print_table(
        ("category", "highest rate ", "highest rise "),
        [
            (b.category, f"{b.max_rate:.1%}", f"{100 * b.max_rise:.1f} points")
            for b in policy.bounds
        ],
    )
    click.echo(_scan_text(policy.row_scan))
    click.echo(f"checkpoints that are kept and scored: {policy.scored_checkpoints or 3}")


def _scan_text(scan: safety_pb.RowScanPolicy) -> str:
    names = {action: name for name, action in _SCAN_ACTIONS.items()}
    text = f"row scan: {names.get(scan.action, 'off')}"
    if scan.action in (scan.ACTION_UNSPECIFIED, scan.ACTION_OFF):
        return text
    text += f", suspicious from {scan.suspicious_share or 0.5:g} of the loss on"
    if scan.action == scan.ACTION_REFUSE:
        text += f", at most {scan.max_suspicious_fraction:.1%} of the rows"
    return text + (", lines hidden from tenants" if scan.hide_rows_from_tenants else "")


@click.argument("adapter")
@click.option("--reason", required=True, help="For the audit trail; the tenant does not see it.")
def _release(client: Client, options: Options, adapter: str, reason: str) -> None:
    """Give the quarantined ADAPTER, tenants/.../adapters/..., to its customer."""
    released = client.admin.release_adapter(adapter, reason=reason)
    if options.json_output:
        print_json(released)
    else:
        click.echo(f"{released.name} is released")


@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
def _audit(client: Client, options: Options, limit: int) -> None:
    """List what was done that bears on safety, the newest first."""
    found = [e for e, _ in zip(client.admin.list_audit_events(), range(limit), strict=False)]
    if options.json_output:
        print_json(found)
        return
    print_table(
        ("time", "key", "action", "resource", "reason"),
        [(time_text(e.time), e.key_id, e.action, e.resource, e.reason) for e in found],
    )
