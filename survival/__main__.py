"""``python -m survival kill|faults|requests|load``: see the help of each."""

from __future__ import annotations

import sys

from survival import faults, kill, load, requests

HARNESSES = {"kill": kill.main, "faults": faults.main, "requests": requests.main, "load": load.main}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in HARNESSES:
        sys.exit(f"usage: python -m survival {'|'.join(HARNESSES)} [options]")
    sys.exit(HARNESSES[sys.argv[1]](sys.argv[2:]))
