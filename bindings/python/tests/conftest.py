from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Iterator

import pytest

import libkv

#: The repository, whose header, docs and scripts the package is held to.
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def db() -> Iterator[libkv.Db[bytes]]:
    with libkv.open_in_memory() as db:
        yield db


@pytest.fixture
def clock() -> libkv.Clock:
    return libkv.Clock(1_000_000_000)


@pytest.fixture
def timed(clock: libkv.Clock) -> Iterator[libkv.Db[bytes]]:
    """A store on the test clock, with a default time to live of a minute."""
    with libkv.open_in_memory(clock=clock, default_ttl="1m", background=False) as db:
        yield db


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("KV_SEED", time.time_ns()))
    print(f"KV_SEED={seed}")
    return random.Random(seed)


def redis_program() -> str:
    # Found beside the environment's own programs, which are all that PATH has here.
    found = shutil.which("redis-server") or shutil.which("redis-server", path=os.defpath + ":/usr/local/bin")
    assert found, "no redis-server: scripts/need.sh redis-server=redis-server installs it"
    return found


def certificates(directory: Path) -> None:
    """What scripts/certificates.sh makes."""
    script = REPOSITORY / "scripts" / "certificates.sh"
    subprocess.run(["/bin/sh", str(script), str(directory)], check=True, env={"PATH": os.defpath})


def wait_until(condition: Any, what: str) -> None:
    """For what a thread of the store does in its own time."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.001)
