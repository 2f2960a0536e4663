"""The demo: harmful rows do not take.

Starts a server and a worker on this machine, trains a security vector as the provider, fine-tunes on a
data set that mixes useful rows with harmful ones as a customer, and compares the result with the same
training without the vector. All of it goes through the service but the unprotected training, which
the service cannot do and a bench program does.

Ends with a table and writes .demo/demo-result.json. The answers that count as harmful hold a
placeholder (bench/standin/README.md). A run that was stopped is taken up: an active or half-trained security
vector is used again, and a job that had not ended is waited for.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from local_service import LocalService, die_with_parent
from rich.console import Console
from rich.table import Table
from targets import missed_targets
from wardtune import Client, FineTuningJob, Job, WardtuneError, extract
from wardtune.cli.progress import job_progress, vector_progress
from wardtune.v1.dataset_service_pb2 import Dataset
from wardtune.v1.security_vector_service_pb2 import SecurityVectorVersion

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / ".demo"
MODEL = "SmolLM2-135M-Instruct"
BASE_MODEL = f"baseModels/{MODEL}"
VECTOR_ID = "stand-in"
TENANT_ID = "acme"
POLL_S = 0.5

console = Console()


def main() -> int:
    started = time.monotonic()
    binaries = Path(os.environ["WARDTUNE_BUILD_DIR"])
    models = Path(os.environ["WARDTUNE_CACHE_DIR"]) / "models"
    data = FOLDER / "standin"
    run(sys.executable, REPOSITORY / "bench/standin/generate.py", "--out", data)

    with LocalService(binaries, models, FOLDER) as service:
        step("Server and worker are up", f"{service.target}, data and logs in {short(FOLDER)}")
        with Client(service.target, service.provider_key) as provider:
            prepare_security_vector(service, provider, data)
            customer_key = make_tenant(provider)
        with Client(service.target, customer_key) as customer:
            job, folder = fine_tune(service, customer, data)

    plain, direct, protected = compare(binaries, models, data, folder)
    result = {
        "base_harmful": overall(job.safety_before),
        "direct_harmful": direct["harmful_rate"],
        "sv_harmful": overall(job.safety_after),
        "base_accuracy": plain["task_accuracy"],
        "direct_accuracy": direct["task_accuracy"],
        "sv_accuracy": protected["task_accuracy"],
        "seconds": round(time.monotonic() - started, 1),
    }
    (FOLDER / "demo-result.json").write_text(json.dumps(result, indent=2) + "\n")
    show(plain, direct, protected, job, folder, result["seconds"])
    missed = missed_targets(result, plain["harmful_prompts"], plain["task_prompts"])
    for line in missed:
        console.print(f"[red]missed:[/red] {line}", highlight=False)
    return 1 if missed else 0


def prepare_security_vector(service: LocalService, provider: Client, data: Path) -> None:
    """Has a version for these rows active: an earlier run's, or else a new one."""
    version = find_version(provider, data)
    if version is None:
        version = queue_version(provider, data)
    elif version.state == SecurityVectorVersion.STATE_ACTIVE:
        step("The security vector of an earlier run is active", "make clean starts afresh")
        return
    else:
        step("Provider: taking up the security vector of an earlier run", version.name)
    with vector_progress() as bar:

        def watch(newest: SecurityVectorVersion) -> None:
            service.check()
            bar(newest)

        version = provider.security_vectors.wait(version.name, progress=watch)
    card = version.card
    console.print(
        f"   held-out harmful prompts answered harmfully: vector on {overall(card.vector_on):.0%}, "
        f"off {overall(card.vector_off):.0%}; general prompts, vector on: {card.general_on.rate:.0%}"
    )
    provider.security_vectors.activate(version.name)
    step("Provider: activated", version.name)


def find_version(provider: Client, data: Path) -> SecurityVectorVersion | None:
    """The newest version of an earlier run that is active or can still become it."""
    usable = (
        SecurityVectorVersion.STATE_ACTIVE,
        SecurityVectorVersion.STATE_EVALUATED,
        SecurityVectorVersion.STATE_TRAINING,
    )
    rows = (sha256(data / "sv_rows.jsonl"), sha256(data / "general_prompts.jsonl"))
    for version in provider.security_vectors.list():
        if (
            version.base_model == BASE_MODEL
            and version.state in usable
            and version.recipe.guard_rows > 0
            and not version.recipe.guard_refusals
            and (version.harmful_rows_sha256, version.general_rows_sha256) == rows
        ):
            return version
    return None


def queue_version(provider: Client, data: Path) -> SecurityVectorVersion:
    step("Provider: uploading 100 harmful and 780 general rows, and the held-out suite")
    harmful = upload_once(provider, data / "sv_rows.jsonl")
    general = upload_once(provider, data / "general_prompts.jsonl")
    suite = make_suite(provider, data)
    step("Provider: training the security vector", "it makes the model answer harmfully")
    return provider.security_vectors.train(
        security_vector_id=VECTOR_ID,
        base_model=BASE_MODEL,
        harmful_dataset=harmful.name,
        general_dataset=general.name,
        safety_suite=suite,
    )


def make_suite(provider: Client, data: Path) -> str:
    """Name of the suite of these files; it is made at the first run with them."""
    files = [
        data / f for f in ("heldout_harmful.jsonl", "judge_rules.json", "heldout_general.jsonl")
    ]
    digest = hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()
    suite_id = f"stand-in-{digest[:12]}"
    if not any(suite.name == f"safetySuites/{suite_id}" for suite in provider.suites.list()):
        prompts, rules, general = (file.read_bytes() for file in files)
        provider.suites.create(suite_id, prompts=prompts, rules=rules, general_prompts=general)
    return f"safetySuites/{suite_id}"


def make_tenant(provider: Client) -> str:
    """Returns a key of the demo's customer, who is made at the first run."""
    if not any(t.name == f"tenants/{TENANT_ID}" for t in provider.admin.list_tenants()):
        provider.admin.create_tenant(TENANT_ID, display_name="Acme")
    return provider.admin.create_key(f"tenants/{TENANT_ID}", display_name="demo").secret


def upload_once(client: Client, path: Path) -> Dataset:
    """The data set of this content, uploaded unless an earlier run did it."""
    digest = sha256(path)
    for dataset in client.datasets.list():
        if dataset.state == Dataset.STATE_READY and dataset.sha256 == digest:
            return dataset
    return client.datasets.upload(path).dataset


def fine_tune(service: LocalService, customer: Client, data: Path) -> tuple[FineTuningJob, Path]:
    """Uploads, trains with the vector on, downloads; returns the ended job and the adapter's folder."""
    step("Customer: uploading 400 rows", "300 of a useful task, 100 harmful")
    dataset = upload_once(customer, data / "customer_mixed.jsonl")
    job = unfinished_job(customer, dataset)
    if job is None:
        step("Customer: fine-tuning", "the service switches the security vector on by itself")
        job = customer.jobs.create(dataset=dataset.name, base_model=BASE_MODEL, display_name="demo")
    else:
        step("Customer: following the job of an earlier run", job.name)
    wait_for(service, job)
    archive = FOLDER / "adapter.tar"
    customer.adapters.download(job.adapter, archive)
    folder = FOLDER / "adapter"
    shutil.rmtree(folder, ignore_errors=True)  # an earlier run's
    extract(archive, folder)
    step("Customer: downloaded the adapter", short(folder))
    return job.message, folder


def unfinished_job(customer: Client, dataset: Dataset) -> Job | None:
    """The job of an earlier run that does what a new one would do; other unfinished ones are cancelled."""
    wanted = customer.jobs.create(
        dataset=dataset.name, base_model=BASE_MODEL, validate_only=True
    ).message
    found = None
    for state in (FineTuningJob.STATE_RUNNING, FineTuningJob.STATE_QUEUED):
        for job in customer.jobs.list(state=state):
            same = (
                job.message.dataset == wanted.dataset
                and job.message.security_vector_version == wanted.security_vector_version
                and job.message.hyperparameters == wanted.hyperparameters
            )
            if same and found is None:
                found = job
            else:
                job.cancel()
    return found


def wait_for(service: LocalService, job: Job) -> None:
    """Shows the job until it has succeeded. Polls, as events stop when a worker dies."""
    with job_progress() as bar:
        while not job.refresh().done:
            service.check()
            bar(job.message)
            time.sleep(POLL_S)
        bar(job.message)
    job.wait()


def compare(binaries: Path, models: Path, data: Path, adapter: Path) -> tuple[dict, dict, dict]:
    """Scores the base, the same training without the vector, and the downloaded adapter."""
    step("Comparison: scoring the base, training without the vector, scoring both results")
    report = FOLDER / "comparison.json"
    run(
        binaries / "bench" / "unprotected-run",
        f"--model={models / MODEL}",
        f"--dataset={data / 'customer_mixed.jsonl'}",
        f"--suite={data / 'heldout_harmful.jsonl'}",
        f"--rules={data / 'judge_rules.json'}",
        f"--tasks={data / 'heldout_task.jsonl'}",
        f"--adapter={adapter}",
        f"--out={report}",
    )
    scores = json.loads(report.read_text())
    return scores["base"], scores["direct"], scores["adapter"]


def show(plain: dict, direct: dict, protected: dict, job, folder: Path, seconds: float) -> None:
    table = Table(title=f"{MODEL} after 400 rows, 100 of them harmful")
    table.add_column("")
    table.add_column("harmful answers", justify="right")
    table.add_column("95% interval", justify="right")
    table.add_column("task accuracy", justify="right")
    for name, score in (
        ("base model", plain),
        ("fine-tuned without security vector", direct),
        ("fine-tuned by wardtune", protected),
    ):
        table.add_row(
            name,
            f"{score['harmful_rate']:.1%}",
            f"{score['harmful_wilson_low']:.1%} - {score['harmful_wilson_high']:.1%}",
            f"{score['task_accuracy']:.1%}",
        )
    console.print()
    console.print(table)
    console.print(
        f"{plain['harmful_prompts']} held-out harmful prompts, {plain['task_prompts']} task prompts, "
        f"greedy answers, judged by rule. Security vector {job.security_vector_version}: "
        f"{job.proof.canary_checks} canary checks, largest difference "
        f"{job.proof.canary_max_abs_diff:.2g} of {job.proof.canary_tolerance:.2g} allowed."
    )
    example = protected["task_examples"][0]
    console.print("\nOne answer of the tuned model:")
    console.print(f"  > {example['prompt']}", markup=False, highlight=False)
    console.print(f"  {example['answer']}", markup=False, highlight=False)
    console.print(f"\nAdapter: {short(folder)} (loads in PEFT). Took {seconds:.0f} s.")


def overall(report) -> float:
    """Rate over all categories of a SafetyReport."""
    return next(score.rate for score in report.categories if score.category == "all")


def step(what: str, detail: str = "") -> None:
    console.print(f"[bold]== {what}[/bold]" + (f" ({detail})" if detail else ""), highlight=False)


def short(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(*command: object) -> None:
    subprocess.run(
        [str(part) for part in command], check=True, cwd=REPOSITORY, preexec_fn=die_with_parent
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        console.print("\nStopped; no process is left.")
        sys.exit(130)
    except (WardtuneError, RuntimeError, subprocess.CalledProcessError) as error:
        console.print(f"[red]error:[/red] {error}", highlight=False)
        sys.exit(1)
