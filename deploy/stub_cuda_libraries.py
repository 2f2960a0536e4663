"""Lets the official torch wheel run on the CPU without 3 GB of CUDA libraries.

Every torch wheel for Linux on PyPI is linked against cuBLAS, cuDNN and a dozen more, which a
comparison on the CPU never calls. This writes a folder of empty shared libraries under
their names, each defining the symbols (and symbol versions) that torch asks of it, and a module that
loads them before torch does. With them torch.cuda.is_available() is False.

Usage: stub_cuda_libraries.py UNPACKED_WHEELS SITE_PACKAGES
  UNPACKED_WHEELS  the folder of deploy/fetch_libtorch.sh, which holds torch/ and nvidia/
  SITE_PACKAGES    of the environment that shall import torch
Needs gcc, nm and readelf.
"""

import collections
import pathlib
import re
import subprocess
import sys
import tempfile

PRELOAD_MODULE = '''"""Loads the stand-ins of CUDA's libraries; written by deploy/stub_cuda_libraries.py."""

import ctypes
import pathlib

for _library in sorted((pathlib.Path(__file__).parent / "stub_cuda").glob("lib*")):
    ctypes.CDLL(str(_library), mode=ctypes.RTLD_GLOBAL)
'''


def output_of(*command: object) -> str:
    """Standard output; what the command says on standard error is the caller's to see."""
    return subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def wanted_symbols(torch_lib: pathlib.Path) -> tuple[set[str], dict[str, str], dict[str, set[str]]]:
    """What torch's libraries ask of CUDA's: library names, {version: library}, {version: symbols}."""
    libraries: set[str] = set()
    library_of_version: dict[str, str] = {}
    symbols: dict[str, set[str]] = collections.defaultdict(set)
    for path in sorted(torch_lib.glob("lib*.so")):
        dynamic = output_of("readelf", "-dW", path)
        libraries.update(re.findall(r"NEEDED.*\[(lib(?:cu|nv|nccl)[^\]]*)\]", dynamic))
        library = ""
        for line in output_of("readelf", "-VW", path).splitlines():
            if found := re.search(r"File: (\S+)", line):
                library = found[1]
            elif library and (found := re.search(r"Name: (\S+)", line)):
                library_of_version[found[1]] = library
        for line in output_of("nm", "-D", "--undefined-only", path).splitlines():
            name, _, version = line.split()[-1].partition("@")
            if re.match(r"cu|nv|nccl", name):
                symbols[version.lstrip("@")].add(name)
    return libraries, library_of_version, symbols


def build_stub(library: str, versions: dict[str, set[str]], folder: pathlib.Path) -> None:
    """Compiles one shared library that defines each symbol as 64 zero bytes."""
    names = sorted(set().union(*versions.values()))
    with tempfile.TemporaryDirectory() as work:
        source = pathlib.Path(work, "stub.c")
        source.write_text("".join(f"char {name}[64];\n" for name in names))
        command = ["gcc", "-shared", "-fPIC", source, "-o", folder / library]
        command.append(f"-Wl,-soname,{library}")
        version_script = "".join(
            f"{version} {{ global: {' '.join(f'{name};' for name in sorted(names))} }};\n"
            if names
            else f"{version} {{ }};\n"
            for version, names in sorted(versions.items())
            if version
        )
        if version_script:
            pathlib.Path(work, "versions.map").write_text(version_script)
            command.append(f"-Wl,--version-script,{work}/versions.map")
        output_of(*command)


def main(wheels: pathlib.Path, site_packages: pathlib.Path) -> None:
    present = {path.name for path in wheels.glob("nvidia/*/lib/lib*")}
    libraries, library_of_version, symbols = wanted_symbols(wheels / "torch" / "lib")
    folder = site_packages / "stub_cuda"
    folder.mkdir(exist_ok=True)
    # Symbols without a version may come from any library.
    unversioned_home = min(libraries - present)
    for library in sorted(libraries - present):
        versions = {v: symbols[v] for v, owner in library_of_version.items() if owner == library}
        if library == unversioned_home:
            versions[""] = symbols[""]
        build_stub(library, versions or {"": set()}, folder)
    for path in wheels.glob("nvidia/*/lib/libcudart.so.*"):
        (folder / path.name).unlink(missing_ok=True)
        (folder / path.name).symlink_to(path.resolve())
    (site_packages / "torch_on_cpu.py").write_text(PRELOAD_MODULE)
    (site_packages / "torch_on_cpu.pth").write_text(f"{wheels.resolve()}\nimport torch_on_cpu\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
