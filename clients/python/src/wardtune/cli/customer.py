"""The customer's commands."""

from collections.abc import Callable
from pathlib import Path

import click

from wardtune.adapters import extract, require_empty
from wardtune.cli import audits, progress, reports
from wardtune.cli.context import (
    EXIT_REFUSED,
    INT32,
    INT64,
    Options,
    command,
    print_json,
    to_json,
)
from wardtune.cli.tables import (
    chain_text,
    checkpoint_text,
    gate_text,
    print_safety,
    print_table,
    scan_text,
    size_text,
    state_text,
    time_text,
)
from wardtune.client import Client
from wardtune.errors import (
    AbortedError,
    DeadlineExceededError,
    JobFailedError,
    UnavailableError,
)
from wardtune.jobs import Job, failure_text
from wardtune.v1 import dataset_service_pb2 as datasets_pb
from wardtune.v1 import fine_tuning_service_pb2 as jobs_pb
from wardtune.v1 import output_report_service_pb2 as reports_pb
from wardtune.v1 import safety_pb2 as safety_pb

_SCHEDULES = {
    "linear": jobs_pb.Hyperparameters.SCHEDULE_LINEAR,
    "cosine": jobs_pb.Hyperparameters.SCHEDULE_COSINE,
    "constant": jobs_pb.Hyperparameters.SCHEDULE_CONSTANT,
}
_METHODS = {
    "lora": jobs_pb.Hyperparameters.METHOD_LORA,
    "full-parameter": jobs_pb.Hyperparameters.METHOD_FULL_PARAMETER,
}
_SCAN_PLANS = {
    safety_pb.RowScanPolicy.ACTION_WARN: "reported",
    safety_pb.RowScanPolicy.ACTION_DROP: "left out",
    safety_pb.RowScanPolicy.ACTION_REFUSE: "refused",
}
_EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def add_commands(group: click.Group) -> None:
    command(group, "upload")(_upload)
    command(group, "validate")(_validate)
    command(group, "create")(_create)
    command(group, "watch")(_watch)
    command(group, "list")(_list)
    command(group, "get")(_get)
    command(group, "cancel")(_cancel)
    command(group, "download")(_download)
    audits.add_customer_commands(group)
    reports.add_customer_commands(group)


@click.argument("file", type=_EXISTING_FILE)
@click.option("--name", default="", help="A label for people; the file's name if left out.")
@click.option("--resume", default="", metavar="DATASET", help="Go on with an unfinished upload.")
def _upload(client: Client, options: Options, file: Path, name: str, resume: str) -> None:
    """Upload a JSONL FILE and validate it on the way."""
    dataset = resume or client.datasets.create(name or file.name).name
    try:
        with progress.byte_progress("uploading") as show:
            result = client.datasets.upload(file, progress=show, resume=dataset)
    except (UnavailableError, DeadlineExceededError, AbortedError, KeyboardInterrupt):
        if not options.json_output:
            click.echo(f"to go on with it: --resume {dataset}", err=True)
        raise
    if options.json_output:
        print_json({"dataset": to_json(result.dataset), "report": to_json(result.report)})
        return
    click.echo(result.dataset.name)
    click.echo(
        f"{result.report.valid_rows} rows, {result.report.supervised_turns} answers to learn from, "
        f"{size_text(result.dataset.received_bytes)}",
        err=True,
    )


@click.argument("file", type=_EXISTING_FILE)
def _validate(client: Client, options: Options, file: Path) -> None:
    """Check a JSONL FILE on the server and store nothing."""
    with progress.byte_progress("validating") as show:
        report = client.datasets.validate(file, progress=show)
    if options.json_output:
        print_json(report)
    else:
        _print_report(report)
    if report.error_count:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _print_report(report: datasets_pb.ValidationReport) -> None:
    for error in report.errors:
        column = f":{error.column}" if error.column else ""
        click.echo(f"line {error.line}{column}: {error.code}: {error.message}")
    hidden = report.error_count - len(report.errors)
    if hidden > 0:
        click.echo(f"and {hidden} more errors")
    click.echo(
        f"{report.valid_rows} of {report.rows} rows are valid, "
        f"{report.supervised_turns} answers to learn from"
    )


@click.option("--dataset", required=True, help="tenants/.../datasets/..., as upload printed it.")
@click.option("--model", required=True, help="Id of the base model; see `wardtune list models`.")
@click.option(
    "--start-adapter",
    default="",
    metavar="ADAPTER",
    help="tenants/.../adapters/... of an earlier job to train on from; LoRA's options are its.",
)
@click.option("--name", default="", help="A label for people.")
@click.option(
    "--method",
    type=click.Choice(list(_METHODS)),
    help="Train a LoRA adapter, the default, or the weights themselves: a whole model comes back.",
)
@click.option("--epochs", type=INT32, default=0, help="Passes over the data.")
@click.option("--learning-rate", type=float, default=0.0, help="Peak learning rate.")
@click.option("--batch-size", type=INT32, default=0, help="Rows in one optimizer step.")
@click.option("--lora-rank", type=INT32, default=0, help="Rank of the LoRA matrices.")
@click.option("--lora-alpha", type=float, default=0.0, help="LoRA's alpha.")
@click.option("--target-module", "target_modules", multiple=True, help="May be given repeatedly.")
@click.option("--warmup-ratio", type=float, default=None, help="Share of steps that warm up.")
@click.option("--schedule", type=click.Choice(list(_SCHEDULES)), help="How the rate falls.")
@click.option("--weight-decay", type=float, default=0.0)
@click.option("--max-grad-norm", type=float, default=0.0)
@click.option("--max-row-tokens", type=INT32, default=0, help="Longer rows are cut.")
@click.option("--seed", type=INT64, default=0)
@click.option(
    "--validation-fraction",
    type=float,
    default=0.0,
    help="Share of the rows held out; of what passes the gate the lowest loss is delivered.",
)
@click.option(
    "--validation-steps", type=INT32, default=0, help="Steps between two measurements; 0: an epoch."
)
@click.option(
    "--early-stopping-patience",
    type=INT32,
    default=0,
    help="Measurements without a lower loss after which training ends; 0: never.",
)
@click.option("--request-id", default="", help="UUID: the same one never makes a second job.")
@click.option("--dry-run", is_flag=True, help="Check and estimate, queue nothing.")
@click.option("--watch", "watch_it", is_flag=True, help="Stay until the job has ended.")
def _create(
    client: Client,
    options: Options,
    dataset: str,
    model: str,
    start_adapter: str,
    name: str,
    method: str | None,
    schedule: str | None,
    request_id: str,
    dry_run: bool,
    watch_it: bool,
    **settings: object,
) -> None:
    """Queue a fine-tuning job. What is left out gets the server's default."""
    hyperparameters = jobs_pb.Hyperparameters(
        **settings,
        method=_METHODS.get(method or "", 0),
        schedule=_SCHEDULES.get(schedule or "", 0),
    )
    job = client.jobs.create(
        dataset=dataset,
        base_model=base_model_name(model),
        start_adapter=start_adapter,
        hyperparameters=hyperparameters,
        display_name=name,
        request_id=request_id,
        validate_only=dry_run,
    )
    if watch_it and not dry_run:
        click.echo(job.name, err=True)
        _follow(job, options)
    elif options.json_output:
        print_json(job.message)
    else:
        if not dry_run:
            click.echo(job.name)
        if job.message.start_adapter:
            click.echo(chain_text(job.message), err=True)
        _print_estimate(job.message.estimate)


def _print_estimate(estimate: jobs_pb.JobEstimate) -> None:
    click.echo(
        f"{estimate.rows} rows, {estimate.tokens_per_epoch} tokens an epoch "
        f"({estimate.supervised_tokens_per_epoch} learned from), {estimate.total_steps} steps",
        err=True,
    )
    if estimate.truncated_rows:
        click.echo(
            f"{estimate.truncated_rows} rows are cut, "
            f"{estimate.rows_without_supervision} of them teach nothing",
            err=True,
        )
    if estimate.row_scan in _SCAN_PLANS:
        click.echo(
            "when the job starts, its rows are scanned by the security vector; "
            f"suspicious ones are {_SCAN_PLANS[estimate.row_scan]}",
            err=True,
        )


@click.argument("job")
def _watch(client: Client, options: Options, job: str) -> None:
    """Follow JOB to its end. With --json: one event a line."""
    if not options.json_output:
        _follow(client.jobs.get(job), options)
        return
    for event in client.jobs.watch(job):
        print_json(event, indent=None)
    ended = client.jobs.get(job).message
    if ended.state != jobs_pb.FineTuningJob.STATE_SUCCEEDED:
        raise JobFailedError(failure_text(ended), reason=ended.error_code)


def _follow(job: Job, options: Options) -> None:
    job.wait(progress=True)
    if options.json_output:
        print_json(job.message)
        return
    click.echo(job.adapter)
    if job.message.start_adapter:
        click.echo(chain_text(job.message))
    print_safety(job.message.safety_before, job.message.safety_after, job.message.safety_start)
    if job.message.HasField("row_scan"):
        click.echo(f"row scan: {scan_text(job.message.row_scan)}")
    for checkpoint in job.message.checkpoints:
        click.echo(f"checkpoint: {checkpoint_text(checkpoint)}")
    if job.message.HasField("gate"):
        click.echo(f"safety gate: {gate_text(job.message.gate)}")


@click.argument("kind", type=click.Choice(["datasets", "jobs", "adapters", "reports", "models"]))
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
def _list(client: Client, options: Options, kind: str, limit: int) -> None:
    """List datasets, jobs, adapters or reports, the newest first, or models by name."""
    listing, headings, row = _listings(client)[kind]
    found = [message for message, _ in zip(listing(), range(limit), strict=False)]
    if options.json_output:
        print_json(found)
    else:
        print_table(headings, [row(message) for message in found])


def _listings(client: Client) -> dict[str, tuple[Callable, tuple[str, ...], Callable]]:
    return {
        "datasets": (
            client.datasets.list,
            ("name", "state", "rows ", "size ", "created", "label"),
            lambda d: (
                d.name,
                state_text(datasets_pb.Dataset.State, d.state),
                str(d.row_count),
                size_text(d.received_bytes),
                time_text(d.create_time),
                d.display_name,
            ),
        ),
        "jobs": (
            lambda: (job.message for job in client.jobs.list()),
            ("name", "state", "done ", "model", "created", "label"),
            lambda j: (
                j.name,
                progress.stage(j),
                f"{progress.job_percent(j):.0f}%",
                j.base_model.removeprefix("baseModels/"),
                time_text(j.create_time),
                j.display_name,
            ),
        ),
        "adapters": (
            client.adapters.list,
            ("name", "model", "trained", "jobs ", "size ", "created", "safety gate"),
            lambda a: (
                a.name,
                a.base_model.removeprefix("baseModels/"),
                "all weights" if a.method == _METHODS["full-parameter"] else "LoRA",
                str(a.chain_length),
                size_text(a.size_bytes),
                time_text(a.create_time),
                gate_text(a.gate),
            ),
        ),
        "reports": (
            client.reports.list,
            ("name", "state", "category", "adapter", "created", "provider's note"),
            lambda r: (
                r.name,
                state_text(reports_pb.OutputReport.State, r.state),
                r.confirmed_category or r.category,
                r.adapter,
                time_text(r.create_time),
                r.note,
            ),
        ),
        "models": (
            client.models.list,
            ("name", "architecture", "parameters ", "context ", "security vector"),
            lambda m: (
                m.name.removeprefix("baseModels/"),
                m.architecture,
                str(m.parameter_count),
                str(m.context_length),
                m.security_vector_version or "none: no job can be created",
            ),
        ),
    }


@click.argument("name")
def _get(client: Client, options: Options, name: str) -> None:
    """Show one resource by its NAME, as JSON."""
    readers: dict[str, Callable] = {
        "datasets": client.datasets.get,
        "fineTuningJobs": lambda job: client.jobs.get(job).message,
        "adapters": client.adapters.get,
        "outputReports": client.reports.get,
        "baseModels": client.models.get,
        "versions": client.security_vectors.get,
    }
    parts = name.split("/")
    reader = readers.get(parts[-2]) if len(parts) > 1 else None
    if reader is None:
        raise click.UsageError(
            f"{name!r} is not a resource's name, for example tenants/acme/datasets/123"
        )
    print_json(reader(name))


@click.argument("job")
def _cancel(client: Client, options: Options, job: str) -> None:
    """Cancel JOB."""
    cancelled = client.jobs.cancel(job)
    if options.json_output:
        print_json(cancelled.message)
    else:
        click.echo(f"{job} is {progress.stage(cancelled.message)}")


@click.argument("adapter")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path(),
    help="A file, or a folder; the current one if left out.",
)
@click.option(
    "--extract",
    "unpack",
    is_flag=True,
    help="Unpack into the output, a new or empty folder; by default one of the adapter's id.",
)
def _download(client: Client, options: Options, adapter: str, output: Path, unpack: bool) -> None:
    """Download ADAPTER, checked; an interrupted download goes on where it broke off."""
    adapter_id = adapter.rsplit("/", 1)[-1]
    if unpack and output == Path():
        output = Path(adapter_id)
    if unpack:
        require_empty(output)  # before the download
        output.parent.mkdir(parents=True, exist_ok=True)
    target = output.parent / f".{adapter_id}.tar" if unpack else output
    with progress.byte_progress("downloading") as show:
        archive = client.adapters.download(adapter, target, progress=show)
    where = extract(archive, output) if unpack else archive
    if unpack:
        archive.unlink()
    if options.json_output:
        print_json({"adapter": adapter, "path": str(where)})
    else:
        click.echo(where)


def base_model_name(model: str) -> str:
    """Lets people leave the collection's name out."""
    return model if model.startswith("baseModels/") else f"baseModels/{model}"
