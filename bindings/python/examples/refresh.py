"""A value that is dear to make: served while a thread of the store makes it anew. The clock is the example's own."""

import itertools
import time

import libkv

loads = itertools.count(1)
clock = libkv.Clock()

with libkv.open_in_memory(codec="text", clock=clock) as db:

    # Served for a minute, and called anew after ten seconds of it.
    @db.memoize(expire=60, fresh_for=10)
    def price(of: str) -> str:
        return f"price {next(loads)}"

    print("loaded:", price("gold"))
    clock.advance(10)
    print("served while it is loaded anew:", price("gold"))
    while price("gold") == "price 1":
        time.sleep(0.001)
    print("loaded anew:", price("gold"))
print("loads:", next(loads) - 1)
