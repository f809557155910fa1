"""The harnesses are a folder beside the tests, for people to run; these tests are their short forms."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
