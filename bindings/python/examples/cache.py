"""A cache in memory: values that expire, one loader per key however many ask, and a limit on what is held."""

import libkv

queries = 0


def load_user(key: bytes) -> bytes:
    """Stands for a slow query."""
    global queries
    queries += 1
    return b"name of " + key


with libkv.open_in_memory(default_ttl="5m") as db:
    for _ in range(3):
        print(db.get_or_load("user:7", load_user).decode())
    print("queries:", queries)
    ttl = db.ttl("user:7")
    print("expires within five minutes:", "yes" if ttl is not None and ttl <= 300 else "no")


def lines(_: bytes, value: bytes) -> int:
    return value.count(b"\n") + 1


# Holds a hundred entries, or a thousand lines; what nobody asks for goes.
with libkv.open_in_memory(max_entries=100, max_bytes=1000, weigher=lines) as pages:
    for n in range(500):
        pages[f"page {n}"] = b"one\ntwo\nthree"
    stats = pages.stats()
    print(f"pages: {stats['entries']}, lines: {stats['weight']}, evicted: {stats['evicted']}")
