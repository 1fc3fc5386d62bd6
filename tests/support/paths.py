"""Where the repository and, beside it, the real data lie."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared/data"
"""Real data for research use, which is not part of the repository: tests that need it skip without it."""
