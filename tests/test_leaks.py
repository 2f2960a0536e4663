"""The security vector's weights are in nothing that leaves the worker unsealed."""

import base64
import json
import re
import struct
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import standin
from conftest import Finished, Tenant
from processes import Server, Worker
from rpcs import Rpc, all_rpcs, call
from wardtune import OutputReport
from wardtune.v1.security_vector_service_pb2 import SecurityVectorVersion

MAGIC = b"WTSEAL01"
# Weights that are looked for in text, where a search is slow.
SAMPLES = 200
# Pieces that other numbers may share with the weights by chance; a single leaked row has more.
CHANCE = 8
# The low bits of a word that the search looks at first.
_TABLE_MASK = np.uint64((1 << 26) - 1)


def unseal(sealed: bytes, key: bytes) -> bytes:
    """The plain bytes of a sealed file; worker/security/sealed_file.h describes the layout."""
    (context_length,) = struct.unpack_from("<I", sealed, 36)
    header = sealed[: 40 + context_length]
    return AESGCM(key).decrypt(sealed[24:36], sealed[len(header) :], header)


def tensors(file: bytes) -> list[bytes]:
    """The tensors' bytes in a safetensors file."""
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    return [
        file[8 + length + entry["data_offsets"][0] : 8 + length + entry["data_offsets"][1]]
        for name, entry in header.items()
        if name != "__metadata__"
    ]


class Fingerprint:
    """Finds weights in other bytes, at any offset, as float32 or rounded to bfloat16."""

    def __init__(self, weights: list[bytes]) -> None:
        floats = [np.frombuffer(tensor, "<f4") for tensor in weights]
        halves = [(values.view("<u4") >> 16).astype("<u2") for values in floats]
        self._words = np.unique(
            np.concatenate([self._in_eights(v.tobytes()) for v in (*floats, *halves)])
        )
        self._table = np.zeros(int(_TABLE_MASK) + 1, dtype=bool)
        self._table[self._words & _TABLE_MASK] = True
        joined = b"".join(weights)
        step = len(joined) // SAMPLES // 24 * 24
        self._samples = [joined[i : i + 24] for i in range(0, len(joined) - 24, step)]

    def hits(self, content: bytes) -> int:
        """Distinct 8-byte pieces of the weights in `content`."""
        found: set[int] = set()
        for shift in range(8):
            words = self._in_eights(content[shift:])
            # Nearly everything fails the table; the rest is looked up among the sorted words.
            words = words[self._table[words & _TABLE_MASK]]
            places = np.searchsorted(self._words, words).clip(max=len(self._words) - 1)
            found.update(words[self._words[places] == words].tolist())
        return len(found)

    def in_text(self, text: bytes) -> bool:
        """Whether a piece of the weights is written out, in hexadecimal or base64."""
        lower = text.lower()
        return any(
            sample.hex().encode() in lower or base64.b64encode(sample) in text
            for sample in self._samples
        )

    @staticmethod
    def _in_eights(content: bytes) -> np.ndarray:
        """Pieces of 8 bytes that say something: not the same 2 bytes over and over."""
        words = np.frombuffer(content[: len(content) // 8 * 8], "<u8")
        pairs = words.view("<u2").reshape(-1, 4)
        telling = (np.sort(pairs, axis=1)[:, 1:] != np.sort(pairs, axis=1)[:, :-1]).sum(axis=1) == 3
        return words[telling]


@pytest.fixture(scope="module")
def sealed_file(server: Server, vector: SecurityVectorVersion) -> Path:
    """The one blob that holds the vector."""
    candidates = [
        path for path in server.stored_files() if path.read_bytes()[: len(MAGIC)] == MAGIC
    ]
    assert candidates, "no sealed file is stored"
    return max(candidates, key=lambda path: path.stat().st_size)


@pytest.fixture(scope="module")
def fingerprint(sealed_file: Path, worker: Worker) -> Fingerprint:
    plain = unseal(sealed_file.read_bytes(), worker.sealing_key)
    fingerprint = Fingerprint(tensors(plain))
    # The search itself works: it finds the weights at an odd offset and in text.
    assert fingerprint.hits(b"x" + plain) > 100_000
    assert fingerprint.in_text(base64.b64encode(b"".join(tensors(plain))))
    return fingerprint


def test_stored_bytes_hold_no_weights(
    server: Server, finished: Finished, fingerprint: Fingerprint
) -> None:
    leaks = {
        path.name: hits
        for path in server.data.rglob("*")
        if path.is_file() and (hits := fingerprint.hits(path.read_bytes())) > CHANCE
    }
    assert leaks == {}


def test_adapter_holds_no_weights(finished: Finished, fingerprint: Fingerprint) -> None:
    assert fingerprint.hits(finished.archive.read_bytes()) <= CHANCE


def test_logs_hold_no_weights(
    server: Server, worker: Worker, finished: Finished, fingerprint: Fingerprint
) -> None:
    for log in (server.log, worker.log):
        content = log.read_bytes()
        assert content, f"{log} is empty"
        assert fingerprint.hits(content) <= CHANCE
        assert not fingerprint.in_text(content)


def customer_texts() -> set[str]:
    """What acme's data set says, as it would stand in a log; short answers may occur by chance."""
    rows = [json.loads(line) for line in standin.rows("customer_useful", 24).splitlines()]
    texts = {json.dumps(turn["content"])[1:-1] for row in rows for turn in row["messages"]}
    long = {text for text in texts if len(text) >= 20}
    assert len(long) >= 12
    return long


def test_logs_hold_no_secret_and_no_customer_text(
    server: Server, worker: Worker, acme: Tenant, finished: Finished, reported: OutputReport
) -> None:
    texts = customer_texts() | {reported.prompt, reported.output, reported.comment}
    for log in (server.log, worker.log):
        text = log.read_text(errors="replace")
        for secret in (server.key("PROVIDER"), server.key("WORKER"), acme.api_key):
            assert secret not in text
        assert worker.sealing_key.hex() not in text
        assert [part for part in texts if part in text] == []


@pytest.mark.parametrize("rpc", all_rpcs(), ids=str)
def test_no_rpc_of_tenant_or_provider_returns_weights(
    rpc: Rpc,
    server: Server,
    acme: Tenant,
    finished: Finished,
    fingerprint: Fingerprint,
    vector: SecurityVectorVersion,
    reported: OutputReport,
) -> None:
    """Every RPC is called with every name that exists, by both keys, and what comes is searched."""
    names = [
        finished.job.name,
        finished.job.dataset,
        finished.job.adapter,
        reported.name,
        vector.name,
        vector.base_model,
        "tenants/acme",
    ]
    with grpc.insecure_channel(server.target) as channel:
        for key in (acme.api_key, server.key("PROVIDER")):
            for name in names:
                request = rpc.request()
                if "name" in request.DESCRIPTOR.fields_by_name and rpc.name.startswith(
                    ("Get", "Watch", "Download")
                ):
                    request.name = name
                if "work" in request.DESCRIPTOR.fields_by_name:
                    request.work = name
                answer = call(channel, rpc, request, key)
                for message in (*answer.messages, answer.details, answer.text.encode()):
                    assert fingerprint.hits(message) <= CHANCE
                    assert not fingerprint.in_text(message)
                if rpc.service == "WorkerService":
                    assert answer.code == grpc.StatusCode.PERMISSION_DENIED


def test_a_worker_dumps_no_core(worker: Worker, finished: Finished) -> None:
    """Its memory holds the plain vector and the key, dumped by a crash onto the worker's disk."""
    limits = Path(f"/proc/{worker.pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), limits


def test_sealed_file_does_not_open_with_another_key(sealed_file: Path) -> None:
    from cryptography.exceptions import InvalidTag

    with pytest.raises(InvalidTag):
        unseal(sealed_file.read_bytes(), bytes(32))
