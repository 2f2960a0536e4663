"""Makes the message classes and gRPC stubs of wardtune.v1, and builds the package around them.

`python generate.py` writes src/wardtune/v1/*_pb2*.py from ../../proto. The same file
is the build backend that pyproject.toml names, so `pip install` generates before it packs and the
stubs cannot lag behind the contract. They are not kept in git.
"""

import importlib.resources
import sys
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401  (part of the build backend's interface)
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

HERE = Path(__file__).resolve().parent
CONTRACT = HERE.parent.parent / "proto"
OUTPUT = HERE / "src"


def generate() -> None:
    """Writes the stubs anew and removes those whose contract file is gone."""
    if not CONTRACT.is_dir():
        # A source distribution carries the stubs instead of the contract.
        if not any((OUTPUT / "wardtune/v1").glob("*_pb2.py")):
            raise SystemExit(f"neither the contract {CONTRACT} nor generated stubs are here")
        return
    from grpc_tools import protoc

    for stale in (OUTPUT / "wardtune/v1").glob("*_pb2*.py*"):
        stale.unlink()
    protos = sorted(str(path.relative_to(CONTRACT)) for path in CONTRACT.rglob("*.proto"))
    arguments = [
        "protoc",
        f"-I{CONTRACT}",
        f"-I{importlib.resources.files('grpc_tools') / '_proto'}",
        f"--python_out={OUTPUT}",
        f"--pyi_out={OUTPUT}",
        f"--grpc_python_out={OUTPUT}",
        *protos,
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc refused the contract; see the messages above")


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    generate()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    generate()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory, config_settings=None):
    generate()
    return build_meta.build_sdist(sdist_directory, config_settings)


if __name__ == "__main__":
    generate()
    print(f"stubs written to {OUTPUT / 'wardtune/v1'}", file=sys.stderr)
