"""Many keys in one call: set, read, scanned, deleted."""

import libkv

with libkv.open_in_memory(codec="text") as db:
    db.set_many({"city:1": "Oslo", "city:2": "Lima", "city:3": "Kyoto"})

    keys = ["city:2", "city:9"]
    for key, value in zip(keys, db.get_many(keys, "")):
        print(f"{key}: {value}")

    # Sets and deletes together: after a crash all of it is there or nothing.
    db.apply([libkv.Delete("city:1"), libkv.Set("city:4", "Quito", expire=60)])

    for entry in db.scan("city:", ordered=True):
        print(f"{entry.key.decode()} = {entry.value}")
