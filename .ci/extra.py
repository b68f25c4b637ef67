"""Print the requirements of extras of pyproject.toml, one a line: `extra.py dev ray`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

# tomllib is Python 3.11's; the table is flat enough that a pattern reads it on 3.10 too.
TEXT = Path(__file__).resolve().parent.parent.joinpath("pyproject.toml").read_text()
TABLE = TEXT.split("[project.optional-dependencies]", 1)[1].split("\n[", 1)[0]


def requirements(extra: str) -> list[str]:
    """Return the requirement strings that pyproject.toml lists for `extra`."""
    match = re.search(rf"^{re.escape(extra)}\s*=\s*\[(.*?)\]\s*$", TABLE, re.M | re.S)
    if match is None:
        raise SystemExit(f"pyproject.toml has no extra named {extra!r}")
    return re.findall(r'"([^"]+)"', match.group(1))


if __name__ == "__main__":
    print("\n".join(line for extra in sys.argv[1:] for line in requirements(extra)))
