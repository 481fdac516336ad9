"""The shape of the package, read off its source: data flows one way, and the core knows no plugin."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import interpbench
from interpbench.discovery import bundled_folder, discover
from interpbench.plugin import KINDS

PACKAGE = Path(interpbench.__file__).parent


def dotted(path: Path) -> str:
    """A module's name below the package, such as `commands.run`; a package's is its folder's."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


SOURCES = {dotted(path): path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "plugins"}
MODULES = sorted(SOURCES)
PLUGINS = sorted(bundled_folder().rglob("*.py"))

# Each module imports only what stands above it.
ORDER = [
    "errors",
    "plugin",
    "source",
    "registry",
    "__init__",
    "layers",
    "sharing",
    "contracts",
    "layer_maps",
    "samples",
    "seeding",
    "protocol",
    "baselines",
    "phases",
    "perturb",
    "guard",
    "weights",
    "pretrained",
    "python_files",
    "discovery",
    "images",
    "folders",
    "devices",
    "modelling",
    "winograd",
    "fusion",
    "scorer",
    "tuning",
    "profiling",
    "cells",
    "probe",
    "incremental.choice",
    "incremental.costs",
    "incremental.regions",
    "incremental.layer",
    "incremental.graph",
    "incremental.plan",
    "incremental.places",
    "incremental.engine",
    "incremental",
    "ceiling",
    "settings",
    "suite",
    "plan",
    "backward",
    "doctor",
    "rewrite",
    "repair",
    "attribution",
    "testing.models",
    "testing.case",
    "testing.checks",
    "testing.contracts",
    "testing",
    "scoring",
    "model_run",
    "cell_work",
    "runner",
    "tables",
    "csv_files",
    "results",
    "submission",
    "statistics",
    "comparison",
    "achievable",
    "leaderboard",
    "published",
    "checking",
    "boards",
    "plot_style",
    "plot_labels",
    "plot_looks",
    "plot_overlay",
    "plot_maps",
    "plot_ranks",
    "plots",
    "report",
    "page",
    "page.words",
    "page.evidence",
    "page.answer",
    "page.trust",
    "page.record",
    "page.drawings",
    "page.gallery",
    "page.render",
    "plot_text",
    "plot_panels",
    "plot_confusion",
    "subject",
    "explaining",
    "picture_folder",
    "plot_training",
    "training.recipe",
    "training.augment",
    "training.data",
    "training.optimise",
    "training.loop",
    "training.checkpoint",
    "training",
    "training.find_lr",
    "training.progress",
    "provenance",
    "precision",
    "conformance.subjects",
    "conformance.comparing",
    "conformance.heatmap",
    "conformance.tables",
    "conformance",
    "pictures",
    "sanity",
    "sanity.similarity",
    "sanity.randomise",
    "sanity.comparing",
    "sanity.checks",
    "sanity.verdict",
    "plot_sanity",
    "api",
    "publishing",
    "verification",
    "progress",
    "scaffold",
    "commands",
    "commands.shared",
    "commands.run",
    "commands.publish",
    "commands.pictures",
    "commands.sanity",
    "commands.catalogue",
    "commands.train",
    "commands.doctor",
    "commands.conformance",
    "commands.new",
    "commands.check",
    "cli",
    "__main__",
]
WITHOUT_TORCH = ["cli", "results", "leaderboard", "plots", "report", "page.render", "api"]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def running(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below `node` but for the bodies of `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from running(child)


def imported(path: Path) -> set[str]:
    """Dotted names of all that a file imports, in functions too: `interpbench.api` for each form of writing it."""
    names = set()
    for node in running(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively"
            module = str(node.module)
            below = module.removeprefix("interpbench").removeprefix(".")
            for alias in node.names:
                inside = f"{below}.{alias.name}".removeprefix(".")
                is_module = module.split(".")[0] == "interpbench" and inside in SOURCES
                names.add(f"interpbench.{inside}" if is_module else module)
    return names


def own_modules(path: Path) -> set[str]:
    """The package's modules that a file imports."""
    names = [name.partition(".") for name in imported(path)]
    return {below or "__init__" for package, _, below in names if package == "interpbench"}


def test_every_module_has_its_place() -> None:
    assert sorted(ORDER) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_stands_above_it(module: str) -> None:
    above = ORDER[: ORDER.index(module)]
    assert own_modules(SOURCES[module]) <= set(above)


def test_names_that_are_imported_late_are_where_the_package_says() -> None:
    for name, home in interpbench._HOMES.items():
        assert getattr(interpbench, name) is getattr(sys.modules[f"interpbench.{home}"], name)
    decorators = {"method", "model", "dataset", "metric", "reference"}
    assert set(interpbench.__all__) == set(interpbench._HOMES) | decorators


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_plugins_import_only_the_top_of_the_package(path: Path) -> None:
    own = {name for name in imported(path) if name.split(".")[0] == "interpbench"}
    assert own == {"interpbench"}


def plugin_names() -> set[str]:
    """What the bundled plugins are called."""
    registry = discover()
    return {name for kind in KINDS for name in registry.names(kind)}


def strings(module: str) -> set[str]:
    """The text constants of a module that are no docstrings."""
    nodes = list(ast.walk(tree(SOURCES[module])))
    alone = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone
    }


# Words that are also a plugin's name: untrained weights, matplotlib's alignment, what commands take by default, and
# packages whose version is noted.
ANOTHER_MEANING = {
    "modelling": {"random"},
    "tables": {"random"},
    "plot_labels": {"center"},
    "plot_maps": {"center"},
    "plot_ranks": {"center"},
    "plots": {"center"},
    "page.trust": {"random"},
    "plot_panels": {"center"},
    "plot_confusion": {"center"},
    "conformance.heatmap": {"center"},
    "training": {"torchvision"},
    "provenance": {"torchvision"},
    "plot_sanity": {"center"},
    "commands.train": {"planted"},
    "commands.doctor": {"planted"},
    "commands.sanity": {
        "planted",
        "resnet18",
        "gradcam",
        "gradient-x-input",
        "guided-backprop",
        "lrp-z-plus",
        "saliency",
        "sobel",
    },
}


@pytest.mark.parametrize("module", MODULES)
def test_the_core_names_no_plugin(module: str) -> None:
    names = plugin_names()
    assert {"gradcam", "resnet18", "planted", "deletion"} <= names
    assert strings(module) & names <= ANOTHER_MEANING.get(module, set())


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_what_shows_a_finished_run_does_not_import_torch() -> None:
    code = (
        "import importlib, sys\n"
        f"for name in {WITHOUT_TORCH}:\n"
        "    importlib.import_module(f'interpbench.{name}')\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


def test_help_does_not_import_torch() -> None:
    done = python("-X", "importtime", "-m", "interpbench", "--help")
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "interpbench.cli" in loaded
    assert not loaded & {"torch", "numpy", "pandas", "matplotlib", "scipy"}
