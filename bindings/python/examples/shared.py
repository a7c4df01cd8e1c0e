"""Two processes that share their entries through Redis: python shared.py redis://127.0.0.1:6379"""

import subprocess
import sys
import time

import libkv


def first(db: "libkv.Db[str]", url: str) -> None:
    db["greeting"] = "hello"
    db.flush(30)
    print("first: set the greeting", flush=True)
    subprocess.run([sys.executable, __file__, url, "second"], check=True)
    deadline = time.monotonic() + 30
    while db.contains("greeting"):
        if time.monotonic() > deadline:
            raise TimeoutError("the greeting is still here")
        time.sleep(0.001)
    print("first: the greeting is gone")
    stats = db.tier_stats()
    print("first: unsent keys:", stats["unsent_keys"] if stats else "no tier")


def second(db: "libkv.Db[str]") -> None:
    print("second: found", db["greeting"])
    db.delete("greeting")
    db.flush(30)
    print("second: deleted it")


if len(sys.argv) < 2:
    sys.exit("which Redis? redis://HOST[:PORT]")
# Changes are sent behind; what others change is dropped here as soon as Redis tells of it.
with libkv.open_in_memory(
    codec="text", tier_url=sys.argv[1], tier_prefix="example:", tier_fresh="drop", tier_timeout="10s"
) as db:
    if len(sys.argv) == 2:
        first(db, sys.argv[1])
    else:
        second(db)
