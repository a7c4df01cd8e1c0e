"""What is shown to people runs: the conformance script, the examples, the documents."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import conformance
import pytest
from conftest import REPOSITORY

BINDINGS = REPOSITORY / "bindings"
SCRIPTS = sorted((REPOSITORY / "tests" / "conformance").glob("*.kvt"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_conformance_script_gets_its_answers(script: Path, tmp_path: Path) -> None:
    assert conformance.run(str(script), str(tmp_path)) == 0


def test_there_is_a_conformance_script() -> None:
    assert len(SCRIPTS) >= 9


def python(program: Path, *args: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, str(program), *args], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


EXAMPLES = ["cache", "durable_store", "pinned_reads", "batch", "ranges", "sessions", "refresh", "typed", "files"]
EXAMPLES += ["watching"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_its_twin_in_c_prints(name: str, tmp_path: Path) -> None:
    args = [str(tmp_path / "data")] if name in ("durable_store", "files") else []
    printed = python(BINDINGS / "python" / "examples" / f"{name}.py", *args, cwd=tmp_path)
    assert printed == (BINDINGS / "c" / "examples" / f"{name}.out").read_text()


@pytest.mark.parametrize("document", ["docs/python.md", "bindings/python/README.md"])
def test_the_programs_of_a_document_print_what_it_says(document: str, tmp_path: Path) -> None:
    text = (REPOSITORY / document).read_text()
    programs = re.findall(r"```python\n(.*?)```", text, re.S)
    outputs = re.findall(r"```output\n(.*?)```", text, re.S)
    # Those of a page go on from each other.
    program = tmp_path / "program.py"
    program.write_text("\n".join(programs))
    assert programs and python(program, cwd=tmp_path) == "".join(outputs)


def test_the_program_of_the_readme_runs(tmp_path: Path) -> None:
    programs = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.S)
    program = tmp_path / "program.py"
    program.write_text("\n".join(programs))
    assert programs and python(program, cwd=tmp_path) == "b'Alice' None 1\n"


def test_the_package_needs_no_newer_python_than_it_says() -> None:
    import ast

    for path in (BINDINGS / "python" / "libkv").glob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 9))


def test_the_installed_package_is_the_one_that_is_tested() -> None:
    wanted = os.environ.get("LIBKV_TEST_INSTALLED")
    if wanted:
        import libkv

        assert str(libkv.__file__).startswith(wanted) and libkv.library_path().startswith(wanted)
