"""Reads in place: no copy, however large the value is."""

import libkv

VALUE_BYTES = 8 << 20

with libkv.open_in_memory() as db:
    db["image"] = b"i" * VALUE_BYTES

    with db.pin() as pin:
        # A memoryview of the store's own memory, until the end of the `with`.
        value = pin["image"]
        # An overwrite does not disturb what is pinned.
        db["image"] = b"new"
        read = sum(byte == ord("i") for byte in value)
        print(f"{read} of {VALUE_BYTES} bytes read in place")
