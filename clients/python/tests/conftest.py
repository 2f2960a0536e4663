import pytest
from scripted_server import KEY, Script, serve

from wardtune import Client, RetryPolicy


@pytest.fixture
def script():
    return Script()


@pytest.fixture
def address(script):
    with serve(script) as address:
        yield address


@pytest.fixture
def client(address):
    retry = RetryPolicy(max_attempts=4, first_wait_s=0.001, max_wait_s=0.001, patience_s=5)
    with Client(address, KEY, retry=retry, timeout_s=20) as client:
        yield client
