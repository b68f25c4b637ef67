"""Settings shared by all tests."""

from __future__ import annotations

import os

# Plots are drawn to files here; a display may be missing.
os.environ.setdefault("MPLBACKEND", "Agg")
