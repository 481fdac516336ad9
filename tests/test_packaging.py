"""What is installed and published: the wheel's files, the declared packages, one version everywhere."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest
import yaml
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

import interpbench
from tests.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = sorted(
    path for room in ("interpbench", "plugins") for path in (ROOT / room).rglob("*.py")
)
INSTALLED = packages_distributions()


def distribution(requirement: str) -> str:
    """What a requirement is of, as package indices compare names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[ ;]", requirement)[0]).lower()


DECLARED = {distribution(requirement) for requirement in PROJECT["dependencies"]}
OPTIONAL = {
    distribution(requirement)
    for requirements in PROJECT["optional-dependencies"].values()
    for requirement in requirements
}


def imported(tree: ast.AST, *, always: bool = True) -> Iterator[tuple[str, bool]]:
    """The packages that a file imports, each with whether it does so whenever it is imported itself."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], always) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).split(".")[0], always
        in_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from imported(node, always=always and not in_function)


def distributions(package: str) -> set[str]:
    """Those that an import may come from; of what is not installed here, the one of its name."""
    return {distribution(name) for name in INSTALLED.get(package, [package])}


IMPORTS = [
    (path.relative_to(ROOT).as_posix(), package, always)
    for path in SOURCES
    for package, always in imported(ast.parse(path.read_text(encoding="utf-8")))
    if package not in {*sys.stdlib_module_names, "interpbench"}
]


def test_what_is_imported_is_declared() -> None:
    undeclared = {
        f"{file} imports {package}"
        for file, package, always in IMPORTS
        if not distributions(package) & (DECLARED if always else DECLARED | OPTIONAL)
    }
    assert not undeclared, sorted(undeclared)


def test_what_is_declared_is_imported() -> None:
    used = {name for _, package, _ in IMPORTS for name in distributions(package)}
    assert sorted(DECLARED - used) == []


def test_every_requirement_has_a_lowest_version() -> None:
    """One that `.ci/lowest` can install."""
    without = [
        text for text in PROJECT["dependencies"] if not re.fullmatch(r"[\w-]+>=[\d.]+", text)
    ]
    assert without == []


def files_of(folder: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_the_wheel_holds_the_package_its_plugins_and_the_mark_of_types() -> None:
    builder = WheelBuilder(str(ROOT))
    held = {file.distribution_path for file in builder.recurse_included_files()}
    plugins = {f"interpbench/{name}" for name in files_of("plugins")}
    assert held == files_of("interpbench") | plugins
    assert "interpbench/py.typed" in held
    assert "interpbench/suite/bundled/quick.toml" in held
    assert any(name.endswith(".safetensors") for name in held)


def test_the_source_distribution_holds_what_its_tests_need() -> None:
    held = {file.distribution_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}
    for folder in ("interpbench", "plugins", "tests"):
        assert files_of(folder) <= held
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"} <= held
    assert "results/leaderboards/quick.csv" in held
    assert not any(name.startswith((".git/", "results/runs/")) for name in held)


def test_the_version_has_one_home() -> None:
    assert WheelBuilder(str(ROOT)).metadata.version == interpbench.__version__
    for path in SOURCES:
        if path.name != "versions.py":
            assert f'"{interpbench.__version__}"' not in path.read_text(encoding="utf-8"), path


def cited() -> dict[str, object]:
    content = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def test_the_citation_is_of_this_version() -> None:
    """The required fields of the Citation File Format 1.2.0, and what is said elsewhere too."""
    citation = cited()
    assert citation["cff-version"] == "1.2.0"
    assert isinstance(citation["message"], str)
    assert str(citation["title"]).startswith("InterpBench")
    assert citation["type"] == "software"
    assert citation["authors"] == PROJECT["authors"]
    assert citation["version"] == interpbench.__version__
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]
    assert citation["keywords"] == PROJECT["keywords"]


def test_the_changelog_has_this_version_and_the_day_of_its_citation() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", text, re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert headings[1] == (interpbench.__version__, cited()["date-released"])


FORMS = [
    path
    for path in sorted((ROOT / ".github").rglob("*.yml"))
    if path.parent.name == "ISSUE_TEMPLATE"
]


@pytest.mark.skipif(not (ROOT / ".github").is_dir(), reason="the source distribution has none")
def test_issue_forms_are_what_they_must_be() -> None:
    assert FORMS
    for path in FORMS:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem == "config":
            continue
        assert {"name", "description", "body"} <= form.keys()
        ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
        assert len(set(ids)) == len(ids) > 0
        assert all(field["attributes"]["label"] for field in form["body"])


def test_the_container_installs_what_is_declared_and_copies_what_there_is() -> None:
    """It cannot be built by a test, but goes wrong where these do not agree."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    [first] = [line for line in lines if line.startswith("RUN") and "torchvision" in line]
    assert {*re.findall(r'"(torch[^"]*)"', first)} == {*PROJECT["dependencies"][:2]}
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied == {line.removeprefix("!") for line in let_in if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)
