"""`check`: a table for each method, what is broken and how to mend it, and exit codes."""

from pathlib import Path

import pytest

import interpbench
from interpbench.registry.bundled_folder import bundled_folder
from interpbench.testing import CONTRACTS, check
from tests.command_line import call, refused

FILE = '''
from interpbench import MethodError, method


@method("sound", gradients=False, reference="unpublished")
def sound(model, x, target):
    """The logit times the brightness."""
    return x.mean(1) * model(x).gather(1, target[:, None])[:, :, None]


@method("faulty", gradients=False, reference="unpublished")
def faulty(model, x, target, *, factor: int = 1):
    """Divided by the greatest value of the batch; refuses transformers."""
    if hasattr(model.network, "blocks"):
        raise MethodError("tokens are not for it.")
    found = sound(model, x, target)
    return found / found.max() if factor == 1 else found * factor
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_a_table_says_of_each_contract_and_model_how_it_came_out(mine: Path) -> None:
    code, out, _ = call("check", mine, "--method", "sound")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"method sound ({mine}:5)"
    assert lines[1].split() == ["contract", "plain", "residual", "tokens", "promise"]
    for line, contract in zip(lines[2:], CONTRACTS, strict=False):
        assert line.split() == f"{contract.name} passed passed passed {contract.promise}".split()
    assert lines[-1] == "All contracts that apply are kept."


def test_what_is_broken_is_said_with_the_way_to_mend_it(mine: Path) -> None:
    code, out, _ = call("check", mine)
    assert code == 1
    faulty, sound = out.split("method sound")
    assert "FAILED" not in sound
    rows = {line.split("  ")[0]: line for line in faulty.splitlines()}
    assert rows["batch"].split()[1:4] == ["FAILED", "FAILED", "-"]
    explained = faulty[faulty.index("\nbatch FAILED") :].splitlines()
    assert explained[2].startswith("  plain: The map of an image differs by")
    assert explained[3].startswith("  residual: The map of an image differs by")
    assert explained[4].startswith(
        "  To mend it: take no mean, maximum or deviation over the images"
    )
    assert "Not applicable (tokens): tokens are not for it." in faulty
    assert out.endswith("Contracts are broken by 1 of 2: faulty.\n")


def test_a_methods_parameters_are_taken(mine: Path) -> None:
    code, out, _ = call("check", mine, "--method", "faulty:factor=2")
    assert code == 0
    assert "method faulty:factor=2" in out


@pytest.mark.parametrize("what", ["center:sigma=0.3", "sobel"])
def test_a_bundled_method_is_checked_by_its_name(what: str) -> None:
    code, out, _ = call("check", what)
    assert code == 0
    assert f"method {what} (" in out


def test_one_call_returns_how_each_methods_contracts_came_out(mine: Path) -> None:
    faulty, sound = interpbench.check(mine)
    assert (sound.label, sound.origin, sound.broken) == ("sound", f"{mine}:5", ())
    assert {outcome.contract for outcome in sound.outcomes} == {
        contract.name for contract in CONTRACTS
    }
    assert "batch" in {outcome.contract for outcome in faulty.broken}
    assert all(outcome.failed and outcome.remedy for outcome in faulty.broken)
    [scaled] = check(str(mine), method="faulty:factor=2")
    assert (scaled.label, scaled.broken) == ("faulty:factor=2", ())
    assert check("sound", plugin=mine) == [sound]


def test_a_folder_is_checked_and_its_tests_are_left_aside(mine: Path) -> None:
    (mine.parent / "test_mine.py").write_text("raise ValueError\n")
    assert "method sound" in call("check", mine.parent, "--method", "sound")[1]


def test_wrong_usage_is_refused(mine: Path) -> None:
    assert "There is no nowhere.py. Give a plugin file, a folder of them, or the name" in refused(
        "check", "nowhere.py"
    )
    assert "There is nothing to check" in refused("check", " , ")
    assert "No method is chosen" in refused("check", mine, "--method", "")
    assert "Unknown method 'salience'. Did you mean 'saliency'?" in refused("check", "salience")
    assert "Unknown method 'soun'. Did you mean 'sound'? Known: faulty, sound." in refused(
        "check", mine, "--method", "soun"
    )
    assert "'sobel' is a name: leave it away" in refused("check", "sobel", "--method", "sobel")
    assert "registers no method, metric, model or data set, only metric-reference" in refused(
        "check", bundled_folder() / "references" / "rise.py"
    )
    mine.write_text(FILE.replace('"sound"', '"saliency"'))
    assert "Two methods are called 'saliency'" in refused("check", mine)
    mine.write_text(FILE.replace("*, factor: int = 1", "*, factor: int"))
    assert "'faulty' needs the parameter 'factor' (int): write faulty:factor=VALUE" in refused(
        "check", mine
    )
