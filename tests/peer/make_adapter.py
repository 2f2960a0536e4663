"""Trains an adapter and a whole model through the service and unpacks both.

    python make_adapter.py FOLDER

Runs in the Python client's environment; the comparison runs in the peer's, which has no gRPC.
"""

import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import standin
from processes import MODEL, WAIT_S, Worker, lenient_server
from wardtune import Client, Hyperparameters, SecurityVectorRecipe, extract

BASE_MODEL = f"baseModels/{MODEL}"


def main(folder: Path) -> None:
    # A process that does not end in good order must not keep the other one alive.
    with ExitStack() as running:
        server = lenient_server(folder)
        running.callback(server.stop)
        server.start()
        worker = Worker(folder, server)
        running.callback(worker.stop)
        worker.start()
        with server.client(server.key("PROVIDER")) as provider:
            make_security_vector(provider, folder)
            tenant = provider.admin.create_tenant("acme")
            key = provider.admin.create_key(tenant.name)
        with server.client(key.secret) as customer:
            fine_tune(customer, folder)


def make_security_vector(provider: Client, folder: Path) -> None:
    suite = provider.suites.create(
        "small",
        prompts=standin.rows("heldout_harmful", 8),
        rules=standin.rules(),
        general_prompts=standin.rows("heldout_general", 4),
    )
    rows = {
        name: provider.datasets.upload(standin.write(folder, name, 24)).dataset.name
        for name in ("sv_rows", "general_prompts")
    }
    version = provider.security_vectors.train(
        security_vector_id="small",
        base_model=BASE_MODEL,
        harmful_dataset=rows["sv_rows"],
        general_dataset=rows["general_prompts"],
        safety_suite=suite.name,
        recipe=SecurityVectorRecipe(
            epochs=4, learning_rate=2e-3, lora_rank=4, general_batch_size=8, kl_weight=0.1
        ),
    )
    provider.security_vectors.wait(version.name, timeout_s=WAIT_S)
    provider.security_vectors.activate(version.name)


def fine_tune(customer: Client, folder: Path) -> None:
    dataset = customer.datasets.upload(standin.write(folder, "customer_useful", 48)).dataset
    full = Hyperparameters(epochs=2, method=Hyperparameters.METHOD_FULL_PARAMETER)
    for name, settings in (
        ("adapter", Hyperparameters(epochs=2, learning_rate=1e-3)),
        ("model", full),
    ):
        job = customer.jobs.create(
            dataset=dataset.name, base_model=BASE_MODEL, hyperparameters=settings
        ).wait(timeout_s=WAIT_S)
        extract(customer.adapters.download(job.adapter, folder), folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
