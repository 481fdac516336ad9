"""What metrics ask about, as their sources say and as the plugins themselves do."""

import subprocess
import sys
from pathlib import Path

import pytest

from interpbench.registry import discovery
from interpbench.registry.declared import Aspects, declared_aspects


def test_sources_say_what_the_plugins_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert declared_aspects() == discovery.discover().aspects
    assert dict(Aspects()) == declared_aspects()
    monkeypatch.setattr(discovery, "discover", lambda: pytest.fail("plugins were loaded"))
    assert Aspects()["deletion"] == "faithfulness"
    assert Aspects().get("energy-inside") == "localisation"
    assert Aspects().get("mprt") == "randomisation"


def test_what_is_not_bundled_is_asked_of_the_plugins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry = discovery.discover()
    monkeypatch.setattr(discovery, "discover", lambda: registry)
    assert Aspects().get("somebodys", "") == ""
    (tmp_path / "mine.py").write_text(
        "from interpbench import metric\n"
        "@metric('somebodys', better='lower', aspect='cost')\n"
        "def somebodys(explanation):\n    'Nothing.'\n    return explanation.saliency.sum((1, 2))\n"
    )
    discovery.load_path(tmp_path / "mine.py", registry)
    assert Aspects()["somebodys"] == "cost"


def test_neither_plugins_nor_torch_are_imported_for_it() -> None:
    script = (
        "import sys; from interpbench.registry.declared import Aspects; "
        "assert Aspects()['deletion'] == 'faithfulness'; print('torch' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "False"
