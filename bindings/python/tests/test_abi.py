"""The package and include/kv.h say the same."""

from __future__ import annotations

import ctypes
import re

import pytest
from conftest import REPOSITORY

import libkv
from libkv import _abi, _errors

HEADER = (REPOSITORY / "include" / "kv.h").read_text()
CODE = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.S)


def test_every_function_of_the_header_is_bound_with_as_many_arguments() -> None:
    declared = {}
    for name, parameters in re.findall(r"\b(kv_\w+)\(([^()]*)\);", CODE):
        declared[name] = 0 if parameters.strip() == "void" else len(parameters.split(","))
    assert len(declared) > 70
    assert {name: len(takes) for name, (_, *takes) in _abi.SIGNATURES.items()} == declared


def test_every_status_and_constant_has_the_value_of_the_header() -> None:
    declared = {name: int(value) for name, value in re.findall(r"^  KV_(\w+) = (\d+),", CODE, re.M)}
    assert len(declared) > 30
    assert {name: getattr(_abi, name) for name in declared} == declared
    defined = dict(re.findall(r"^#define KV_(\w+) (\d+)", CODE, re.M))
    ours = {name: value for name, value in vars(_abi).items() if name.isupper() and isinstance(value, int)}
    for name, value in ours.items():
        if name not in declared and name not in ("SIZES_KNOWN", "MADE_BYTES_LIMIT"):
            assert int(defined[name]) == value, name
    assert _abi.VERSION == (int(defined["VERSION_MAJOR"]), int(defined["VERSION_MINOR"]))


@pytest.mark.parametrize(
    "struct, name",
    [
        (_abi.Slice, "kv_slice"),
        (_abi.Event, "kv_event"),
        (_abi.SetOptions, "kv_set_options"),
        (_abi.LoadOptions, "kv_load_options"),
        (_abi.Change, "kv_change"),
        (_abi.Pair, "kv_pair"),
        (_abi.CreateOptions, "kv_create_options"),
        (_abi.KeyOptions, "kv_key_options"),
        (_abi.Host, "kv_host"),
        (_abi.ScanOptions, "kv_scan_options"),
        (_abi.Entry, "kv_entry"),
        (_abi.WatchChange, "kv_watch_change"),
        (_abi.Transferred, "kv_transferred"),
        (_abi.Preloaded, "kv_preloaded"),
    ],
)
def test_every_struct_has_the_fields_of_the_header(struct: "type[ctypes.Structure]", name: str) -> None:
    found = re.search(r"typedef struct \{([^}]*)\} " + name + ";", CODE)
    assert found
    fields = [re.search(r"\(\*(\w+)\)|(\w+)$", line.strip()) for line in found[1].split(";") if line.strip()]
    assert [field[1] or field[2] for field in fields if field] == [each[0] for each in struct._fields_]


def test_every_failure_has_an_exception_of_its_own() -> None:
    declared = {int(value) for value in re.findall(r"^  KV_\w+ = (\d+),", CODE, re.M)}
    assert set(_errors._BY_STATUS) == {status for status in declared if status >= 10}
    exported = {getattr(libkv, name) for name in libkv.__all__ if name.endswith("Error")}
    assert set(_errors._BY_STATUS.values()) <= exported
    for status, error in _errors._BY_STATUS.items():
        group = {1: libkv.UsageError, 2: libkv.StateError, 3: libkv.StorageError, 4: libkv.StateError, 5: libkv.UsageError}.get(status // 10, libkv.Error)
        assert issubclass(error, group), error


def test_the_version_is_that_of_the_crate() -> None:
    found = re.search(r'^version = "(.+)"', (REPOSITORY / "Cargo.toml").read_text(), re.M)
    assert found and libkv.__version__ == found[1]
