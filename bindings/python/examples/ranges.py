"""Keys in order: from one to another, the last first, and all as of one moment."""

from typing import Iterable

import libkv


def show(what: str, entries: Iterable[libkv.Entry]) -> None:
    print(what + ":", " ".join(f"{entry.key.decode()}={entry.value}" for entry in entries))


# Worth its memory where scans are frequent; without it they give the same.
with libkv.open_in_memory(codec="text", ordered_index=True) as db:
    db.set_many({"05-02": "rain", "05-04": "sun", "05-03": "fog", "06-01": "sun"})

    show("from 05-03 on", db.scan(start="05-03"))
    show("before 06", db.scan(end="06"))
    show("the last in May", db.scan("05-", reverse=True, limit=1))

    snapshot = db.scan(ordered=True, snapshot=True)
    db["05-02"] = "snow"
    del db["06-01"]
    show("as it was", snapshot)
    show("as it is", db.scan(ordered=True))
