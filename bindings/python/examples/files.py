"""A store that people read and edit as a JSON file, and entries that come in as a table and go out as lines."""

import io
import sys
from pathlib import Path

import libkv

file = Path(sys.argv[1])
file.write_text('{"name": "Alice", "age": 30}')

# The file is taken into the store, and written anew when that has changed: at the latest as it closes.
with libkv.open_in_memory(json_mirror=file) as people:
    people.incr("age")
    people["city"] = b"Bern"
print(file.read_text(), end="")

with libkv.open_in_memory() as db:
    table = io.BytesIO(b"id,name,mail\n7,Alice,a@example.org\n8,Bob,b@example.org\n")
    done = db.import_(table, "csv", key_column="id", value_column="name")
    print(done.entries, "entries")
    lines = io.BytesIO()
    db.export(lines, "ndjson", ordered=True)
    print(lines.getvalue().decode(), end="")
