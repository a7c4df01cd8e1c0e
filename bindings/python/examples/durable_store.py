"""A store on disk: each write is durable before its call returns, and is found again."""

import sys

import libkv

if len(sys.argv) != 2:
    sys.exit(f"usage: {sys.argv[0]} DIRECTORY")

with libkv.open(sys.argv[1], sync="always") as db:
    db.incr("visits")

with libkv.open(sys.argv[1], sync="always") as db:
    print("visits:", db["visits"].decode())
