"""The provider's commands: security vectors, suites, tenants, keys, safety gate, reports."""

from pathlib import Path

import click

from wardtune.cli import audits, reports, safety
from wardtune.cli.context import INT32, INT64, Options, command, print_json, to_json
from wardtune.cli.customer import base_model_name
from wardtune.cli.progress import vector_progress
from wardtune.cli.tables import part_text, print_table, state_text, time_text
from wardtune.client import Client
from wardtune.v1 import admin_service_pb2 as admin_pb
from wardtune.v1 import security_vector_service_pb2 as vectors_pb

_ROLES = {
    "tenant": admin_pb.ROLE_TENANT,
    "provider": admin_pb.ROLE_PROVIDER,
    "worker": admin_pb.ROLE_WORKER,
}
_EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def add_commands(group: click.Group) -> None:
    vectors = click.Group("sv", help="Security vectors (provider's key).")
    command(vectors, "train")(_sv_train)
    command(vectors, "list")(_sv_list)
    command(vectors, "cancel")(_sv_cancel)
    command(vectors, "activate")(_sv_activate)
    suites = click.Group("suite", help="Safety suites (provider's key).")
    command(suites, "create")(_suite_create)
    command(suites, "list")(_suite_list)
    admin = click.Group(
        "admin",
        help="Tenants, API keys, safety gate, audits of adapters, reported outputs, audit trail "
        "(provider's key).",
    )
    command(admin, "create-tenant")(_create_tenant)
    command(admin, "update-tenant")(_update_tenant)
    command(admin, "list-tenants")(_list_tenants)
    command(admin, "create-key")(_create_key)
    command(admin, "list-keys")(_list_keys)
    command(admin, "revoke-key")(_revoke_key)
    safety.add_commands(admin)
    audits.add_provider_commands(admin)
    reports.add_provider_commands(admin)
    for subgroup in (vectors, suites, admin):
        group.add_command(subgroup)


@click.argument("vector_id", metavar="ID")
@click.option("--model", required=True, help="The base model to train for.")
@click.option("--harmful", required=True, metavar="DATASET", help="The data set of harmful rows.")
@click.option("--general", required=True, metavar="DATASET", help="The data set of general rows.")
@click.option("--suite", required=True, help="The suite that jobs of this model are scored on.")
@click.option("--epochs", type=INT32, default=0)
@click.option("--learning-rate", type=float, default=0.0)
@click.option("--batch-size", type=INT32, default=0)
@click.option("--lora-rank", type=INT32, default=0)
@click.option("--lora-alpha", type=float, default=0.0)
@click.option("--general-batch-size", type=INT32, default=0, help="General rows of a step.")
@click.option("--kl-weight", type=float, default=None, help="Weight of KL(base || base + vector).")
@click.option("--seed", type=INT64, default=0)
@click.option("--guard-rows", type=INT32, default=None, help="Beside 8 customer's rows; 0: none.")
@click.option(
    "--guard-refusal",
    "guard_refusals",
    multiple=True,
    help="Teach the delivered model to refuse, in these words; repeat it for several. Left out: "
    "what the base answers is held.",
)
@click.option("--add-to", "added_to", default="", metavar="VERSION", help="Sum it with VERSION.")
@click.option(
    "--category",
    "categories",
    multiple=True,
    help="Category of harm in the harmful rows, for the scan of customers' rows; repeat it for "
    "several. Left out: those of the suite that VERSION lacks.",
)
@click.option("--watch", "watch_it", is_flag=True, help="Stay until it is trained and measured.")
def _sv_train(
    client: Client,
    options: Options,
    vector_id: str,
    model: str,
    harmful: str,
    general: str,
    suite: str,
    watch_it: bool,
    **settings: object,
) -> None:
    """Train a new version of the security vector ID."""
    version = client.security_vectors.train(
        security_vector_id=vector_id,
        base_model=base_model_name(model),
        harmful_dataset=harmful,
        general_dataset=general,
        safety_suite=suite if suite.startswith("safetySuites/") else f"safetySuites/{suite}",
        recipe=vectors_pb.SecurityVectorRecipe(**settings),
    )
    if watch_it:
        click.echo(version.name, err=True)  # on screen even if the watch ends early
        with vector_progress() as show:
            version = client.security_vectors.wait(version.name, progress=show)
    if options.json_output:
        print_json(version)
    else:
        click.echo(version.name)
        if version.HasField("card"):
            click.echo(_card_text(version.card), err=True)


@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
def _sv_list(client: Client, options: Options, limit: int) -> None:
    """List versions, the newest first."""
    found = [v for v, _ in zip(client.security_vectors.list(), range(limit), strict=False)]
    if options.json_output:
        print_json(found)
        return
    print_table(
        ("name", "state", "model", "parts", "measured", "created"),
        [
            (
                version.name,
                state_text(vectors_pb.SecurityVectorVersion.State, version.state),
                version.base_model.removeprefix("baseModels/"),
                " + ".join(part_text(part) for part in version.parts),
                _card_text(version.card) if version.HasField("card") else version.error_message,
                time_text(version.create_time),
            )
            for version in found
        ],
    )


def _card_text(card: vectors_pb.EvaluationCard) -> str:
    on = next((s.rate for s in card.vector_on.categories if s.category == "all"), 0.0)
    off = next((s.rate for s in card.vector_off.categories if s.category == "all"), 0.0)
    return f"harmful with it {on:.1%}, without {off:.1%}; KL on general rows {card.general_kl:.4f}"


@click.argument("version")
def _sv_cancel(client: Client, options: Options, version: str) -> None:
    """End the training of VERSION."""
    cancelled = client.security_vectors.cancel(version)
    if options.json_output:
        print_json(cancelled)
    elif cancelled.state == vectors_pb.SecurityVectorVersion.STATE_TRAINING:
        click.echo(f"{cancelled.name}: its worker has been told to stop")
    else:
        click.echo(f"{cancelled.name} is cancelled")


@click.argument("version")
def _sv_activate(client: Client, options: Options, version: str) -> None:
    """Make new jobs train with VERSION."""
    activated = client.security_vectors.activate(version)
    if options.json_output:
        print_json(activated)
    else:
        click.echo(f"{activated.name} is active for {activated.base_model}")


@click.argument("suite_id", metavar="ID")
@click.option("--prompts", required=True, type=_EXISTING_FILE, help="JSONL of held-out prompts.")
@click.option("--rules", required=True, type=_EXISTING_FILE, help="JSON with the judge's rules.")
@click.option("--general", required=True, type=_EXISTING_FILE, help="JSONL of general prompts.")
@click.option("--judge-adapter", default="", metavar="ADAPTER", help="Of a language-model judge.")
def _suite_create(
    client: Client,
    options: Options,
    suite_id: str,
    prompts: Path,
    rules: Path,
    general: Path,
    judge_adapter: str,
) -> None:
    """Store the safety suite ID."""
    suite = client.suites.create(
        suite_id,
        prompts=prompts.read_bytes(),
        rules=rules.read_bytes(),
        general_prompts=general.read_bytes(),
        judge_adapter=judge_adapter,
    )
    if options.json_output:
        print_json(suite)
    else:
        click.echo(suite.name)


def _suite_list(client: Client, options: Options) -> None:
    """List suites, without their prompts."""
    suites = list(client.suites.list())
    if options.json_output:
        print_json(suites)
        return
    print_table(
        ("name", "prompts", "SHA-256 of the prompts", "created"),
        [
            (
                suite.name,
                ", ".join(f"{k} {v}" for k, v in sorted(suite.prompts_per_category.items())),
                suite.prompts_sha256,
                time_text(suite.create_time),
            )
            for suite in suites
        ],
    )


@click.argument("tenant_id", metavar="ID")
@click.option("--name", default="", help="A label for people.")
@click.option("--max-active-jobs", type=INT32, default=0, help="0 means the server's default.")
@click.option("--max-dataset-bytes", type=INT64, default=0, help="0 means the server's default.")
def _create_tenant(
    client: Client,
    options: Options,
    tenant_id: str,
    name: str,
    max_active_jobs: int,
    max_dataset_bytes: int,
) -> None:
    """Make the tenant ID."""
    tenant = client.admin.create_tenant(
        tenant_id,
        display_name=name,
        max_active_jobs=max_active_jobs,
        max_dataset_bytes=max_dataset_bytes,
    )
    if options.json_output:
        print_json(tenant)
    else:
        click.echo(tenant.name)


@click.argument("tenant")
@click.option("--name", help="A label for people.")
@click.option("--max-active-jobs", type=INT32, help="0 means the server's default.")
@click.option("--max-dataset-bytes", type=INT64, help="0 means the server's default.")
def _update_tenant(
    client: Client,
    options: Options,
    tenant: str,
    name: str | None,
    max_active_jobs: int | None,
    max_dataset_bytes: int | None,
) -> None:
    """Change label and limits of TENANT; what is not given stays."""
    updated = client.admin.update_tenant(
        tenant_name(tenant),
        display_name=name,
        max_active_jobs=max_active_jobs,
        max_dataset_bytes=max_dataset_bytes,
    )
    if options.json_output:
        print_json(updated)
    else:
        click.echo(updated.name)


def _list_tenants(client: Client, options: Options) -> None:
    """List tenants by id."""
    tenants = list(client.admin.list_tenants())
    if options.json_output:
        print_json(tenants)
    else:
        print_table(
            ("name", "created", "active jobs ", "data set bytes ", "label"),
            [
                (
                    t.name,
                    time_text(t.create_time),
                    str(t.max_active_jobs or "default"),
                    str(t.max_dataset_bytes or "default"),
                    t.display_name,
                )
                for t in tenants
            ],
        )


@click.argument("tenant")
@click.option("--role", type=click.Choice(list(_ROLES)), default="tenant", show_default=True)
@click.option("--name", default="", help="A label for people.")
def _create_key(client: Client, options: Options, tenant: str, role: str, name: str) -> None:
    """Make a key for TENANT and print its secret, this once."""
    key = client.admin.create_key(tenant_name(tenant), role=_ROLES[role], display_name=name)
    if options.json_output:
        print_json({"api_key": to_json(key.record), "secret": key.secret})
    else:
        click.echo(key.secret)
        click.echo(f"{key.record.name}: keep the secret, it is not shown again", err=True)


@click.argument("tenant")
def _list_keys(client: Client, options: Options, tenant: str) -> None:
    """List TENANT's keys, without secrets."""
    keys = list(client.admin.list_keys(tenant_name(tenant)))
    if options.json_output:
        print_json(keys)
        return
    print_table(
        ("name", "role", "created", "revoked", "label"),
        [
            (
                key.name,
                admin_pb.Role.Name(key.role).removeprefix("ROLE_").lower(),
                time_text(key.create_time),
                time_text(key.revoke_time),
                key.display_name,
            )
            for key in keys
        ],
    )


@click.argument("key")
def _revoke_key(client: Client, options: Options, key: str) -> None:
    """Revoke KEY, tenants/.../apiKeys/..., at once."""
    revoked = client.admin.revoke_key(key)
    if options.json_output:
        print_json(revoked)
    else:
        click.echo(f"{revoked.name} is revoked")


def tenant_name(tenant: str) -> str:
    """Lets people leave the collection's name out."""
    return tenant if tenant.startswith("tenants/") else f"tenants/{tenant}"
