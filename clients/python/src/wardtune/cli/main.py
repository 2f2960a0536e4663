"""Entry point of the command `wardtune`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from wardtune.cli import customer, provider
from wardtune.cli.context import EXIT_INTERRUPTED, EXIT_OTHER, Options, fail, report
from wardtune.errors import WardtuneError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--server", envvar="WARDTUNE_SERVER", default="", help="host:port [env WARDTUNE_SERVER]"
)
@click.option(
    "--api-key",
    envvar="WARDTUNE_API_KEY",
    default="",
    help="[env WARDTUNE_API_KEY, better: other users of a machine see flags]",
)
@click.option(
    "--ca-certificate",
    envvar="WARDTUNE_CA_CERTIFICATE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM file of roots to trust [env WARDTUNE_CA_CERTIFICATE]",
)
@click.version_option(package_name="wardtune")
@click.pass_context
def cli(context: click.Context, server: str, api_key: str, ca_certificate: Path | None) -> None:
    """Fine-tune language models on a wardtune server."""
    context.obj = Options(server, api_key, ca_certificate)


customer.add_commands(cli)
provider.add_commands(cli)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits; the README lists the exit codes."""
    json_output = "--json" in (sys.argv[1:] if arguments is None else arguments)
    try:
        result = cli.main(arguments, prog_name="wardtune", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        fail("interrupted", EXIT_INTERRUPTED)
    except WardtuneError as error:
        sys.exit(report(error, json_output=json_output))
    except OSError as error:
        fail(str(error), EXIT_OTHER)
    sys.exit(result if isinstance(result, int) else 0)


if __name__ == "__main__":
    main()
