"""Builds the wheel: the package, and the library that it loads.

The library is what the environment variable LIBKV_LIBRARY names, or is built with cargo from the repository around this
directory.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

REPOSITORY = Path(__file__).resolve().parent.parent.parent
# As `make lib` builds it, so that one build serves both.
CARGO = "cargo rustc --release --locked --lib --features capi --crate-type cdylib,staticlib -- -C link-arg=-Wl,-soname,libkv.so.{major}"


def version() -> str:
    manifest = REPOSITORY / "Cargo.toml"
    if manifest.exists():
        return re.search(r'^version = "(.+)"', manifest.read_text(), re.M)[1]
    # In a source distribution.
    return re.search(r"^Version: (.+)", (Path(__file__).parent / "PKG-INFO").read_text(), re.M)[1]


def library() -> Path:
    given = os.environ.get("LIBKV_LIBRARY")
    if given:
        return Path(given)
    if not (REPOSITORY / "src" / "ffi").exists():
        raise SystemExit(
            "libkv: this directory is not within the repository, so the library cannot be built; "
            "name a libkv.so in the environment variable LIBKV_LIBRARY"
        )
    command = CARGO.format(major=version().split(".")[0]).split()
    try:
        subprocess.run(command, cwd=REPOSITORY, check=True)
    except FileNotFoundError:
        raise SystemExit("libkv: building needs cargo (https://rustup.rs), or a libkv.so in LIBKV_LIBRARY") from None
    return REPOSITORY / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "libkv.so"


class BuildWithLibrary(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            to = Path(self.build_lib) / "libkv" / "libkv.so"
            shutil.copyfile(library(), to)
            # Symbols of functions stay: they are what a crash is read by.
            if shutil.which("strip"):
                subprocess.run(["strip", "--strip-debug", str(to)], check=True)

    def get_outputs(self, include_bytecode: bool = True) -> "list[str]":
        return [*super().get_outputs(include_bytecode), str(Path(self.build_lib) / "libkv" / "libkv.so")]


class Wheel(bdist_wheel):
    """Of one platform, but of every Python: the library knows nothing of Python."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> "tuple[str, str, str]":
        return "py3", "none", super().get_tag()[2]


setup(version=version(), cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": Wheel})
