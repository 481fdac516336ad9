"""Where the tests find files."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
TINY = TESTS / "plugins" / "tiny.py"
THIRD_PARTY = TESTS / "third_party"
