"""Locust as a program: ``python -m tests.benchmarks.contenders.locust_client CLIENTS``, the rest in the environment."""

# ruff: noqa: E402
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json
import sys

from .locustfile import run

if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]))))
