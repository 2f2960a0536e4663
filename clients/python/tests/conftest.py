import pytest
from scripted_server import KEY, Script, serve

from wardtune import Client, RetryPolicy
from wardtune.cli.main import main


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


@pytest.fixture
def wardtune(address, capsys, monkeypatch):
    """Runs the command and returns its exit code, standard output and standard error."""
    monkeypatch.setenv("WARDTUNE_SERVER", address)
    monkeypatch.setenv("WARDTUNE_API_KEY", KEY)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        output = capsys.readouterr()
        return ended.value.code, output.out, output.err

    return run
