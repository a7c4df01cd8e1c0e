"""A cache in memory: values that expire, and one loader per key however many ask."""

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
