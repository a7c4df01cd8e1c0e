"""The store is a mapping like `dict`."""

from __future__ import annotations

import collections.abc
import random
from typing import Any, Dict

import pytest

import libkv

KEYS = [b"", b"a", b"b", b"\x00", b"a\x00", b"\xff\xfe", b"key", b"k" * 300, "ü".encode()]


def test_it_answers_as_a_dict_does_whatever_is_asked(db: libkv.Db[bytes], chance: random.Random) -> None:
    model: Dict[bytes, bytes] = {}

    def both(ask: Any) -> None:
        answers = []
        for mapping in (model, db):
            try:
                answers.append(ask(mapping))
            except KeyError as error:
                answers.append(("KeyError", error.args))
        assert answers[0] == answers[1]

    for _ in range(4000):
        key = chance.choice(KEYS)
        value = chance.randbytes(chance.choice([0, 1, 100, 5000]))
        pairs = {chance.choice(KEYS): value[:at] for at in range(3)}
        asks = [
            lambda m: m[key],
            lambda m: m.get(key),
            lambda m: m.get(key, b"default"),
            lambda m: key in m,
            lambda m: m.__setitem__(key, value),
            lambda m: m.__setitem__(key, value),
            lambda m: m.__delitem__(key),
            lambda m: m.pop(key),
            lambda m: m.pop(key, None),
            lambda m: m.setdefault(key, value),
            lambda m: m.update(pairs),
            lambda m: m.update(pairs.items()),
            lambda m: len(m),
            lambda m: bool(m),
            lambda m: sorted(m),
            lambda m: sorted(m.keys()),
            lambda m: sorted(m.values()),
            lambda m: sorted(m.items()),
            lambda m: (key, value) in m.items(),
            lambda m: value in m.values(),
            lambda m: dict(m),
        ]
        both(chance.choice(asks) if chance.random() > 0.005 else lambda m: m.clear())
    assert dict(db) == model


def test_it_is_registered_as_a_mutable_mapping(db: libkv.Db[bytes]) -> None:
    assert isinstance(db, collections.abc.MutableMapping)


def test_popitem_empties_it_and_then_is_a_key_error(db: libkv.Db[bytes]) -> None:
    db.set_many([(b"%d" % at, b"v") for at in range(20)])
    assert {db.popitem()[0] for _ in range(20)} == {b"%d" % at for at in range(20)}
    with pytest.raises(KeyError):
        db.popitem()


def test_text_stands_for_its_utf_8_as_a_key(db: libkv.Db[bytes]) -> None:
    db["ü"] = b"1"
    assert db[b"\xc3\xbc"] == db[bytearray(b"\xc3\xbc")] == db[memoryview(b"\xc3\xbc")] == b"1"
    assert list(db) == [b"\xc3\xbc"]
    db.update(text=b"2")
    assert db.get_many(["text", b"text"]) == [b"2", b"2"]


@pytest.mark.parametrize("key", [1, None, 1.5, ("a",), ["a"]])
def test_other_keys_are_a_type_error_and_never_reach_the_library(db: libkv.Db[bytes], key: Any) -> None:
    assert key not in db
    calls = [db.get, db.delete, db.version, db.ttl, db.incr, db.take, lambda k: db.set(k, b""), lambda k: db.get_many([k])]
    for call in calls:
        with pytest.raises(TypeError):
            call(key)


@pytest.mark.parametrize("value", ["text", 1, None, [1]])
def test_other_values_than_bytes_are_a_type_error_without_a_codec(db: libkv.Db[bytes], value: Any) -> None:
    for call in (lambda: db.set(b"k", value), lambda: db.set_many({b"k": value}), lambda: db.add(b"k", value)):
        with pytest.raises(TypeError):
            call()
    assert len(db) == 0


def test_two_stores_are_never_equal_and_can_be_members_of_sets() -> None:
    with libkv.open_in_memory() as one, libkv.open_in_memory() as other:
        assert one != other and one == one and len({one, other}) == 2
