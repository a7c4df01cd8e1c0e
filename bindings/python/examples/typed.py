"""Users, as values that programs in other languages read."""

from typing import Any

import libkv


def outcome(store: "libkv.Db[Any]", key: str) -> str:
    try:
        store[key]
    except libkv.WrongCodecError:
        return "of another codec"
    return "read"


with libkv.open_in_memory() as db:
    users = db.typed("json")
    users["user:1"] = {"name": "Alice", "age": 30}

    # The value itself is edited, locked for whoever does.
    with users.get_and_lock("user:1") as session:
        session.value["age"] += 1
    alice = users["user:1"]
    print(alice["name"], "is", alice["age"])

    # What stands there is JSON, and is marked so. Whoever expects another codec is told.
    print(db["user:1"].decode())
    print("codec:", db.codec("user:1"))
    print("as text:", outcome(db.typed("text"), "user:1"))

    # A plain write marks nothing, so that is no user.
    db["user:2"] = b"{}"
    print("raw bytes as JSON:", outcome(users, "user:2"))
