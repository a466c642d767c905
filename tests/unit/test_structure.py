"""The shape that everything stands on: who may import whom, how long a file may be, and what tests/ may hold."""

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HARNESS = ROOT / "harness"
PRODUCT = ("harness", "infra", "lab", "roles")
MAKEFILE = ROOT / "Makefile"

LAYERS = (
    "errors",
    "units",
    "untrusted",
    "model",
    # core: plain data in, plain data out
    "campaign",
    "probes",
    "analysis",
    "ladder",
    "report",
    # effects
    "system",
    "client",
    "store",
    "host",
    "benches",
    # action
    "runs",
    "cluster",
    "watch",
    "service",
    # entry
    "wiring",
    "cli",
)
"""Each may import what stands above it, and itself."""

CORE = LAYERS[: LAYERS.index("system")]
IMPURE = {"os", "subprocess", "socket", "time", "pathlib", "shutil", "threading", "random", "tempfile", "signal", "sys"}


LAZY_IMPORT = re.compile(r"harness(\.\w+)+:\w+")
"""A function that `cli/commands.py` names as `module:function`."""


def modules() -> list[Path]:
    return sorted(path for path in HARNESS.rglob("*.py") if "_assets" not in path.parts)


def layer(path: Path) -> str:
    """The file's or package's name right below harness/."""
    return path.relative_to(HARNESS).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Full names of everything that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports say where from in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and LAZY_IMPORT.fullmatch(node.value):
            found.add(node.value.replace(":", "."))  # imported when a command is called
    return found


def below(path: Path) -> list[str]:
    """What a file imports from its own layer's successors."""
    own = LAYERS.index(layer(path))
    names = {name.split(".")[1] for name in imported(path) if name.startswith("harness.")}
    return sorted(name for name in names if name in LAYERS and LAYERS.index(name) > own)


def test_every_module_has_its_layer() -> None:
    found = {layer(path) for path in modules()} - {"__init__", "__main__"}
    assert found - set(LAYERS) == set()


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_files_above_it(path: Path) -> None:
    if layer(path) in LAYERS:
        assert below(path) == []


def test_the_import_test_fails_where_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "HARNESS", tmp_path)
    wrong = tmp_path / "probes.py"
    wrong.write_text("def f():\n    from harness.ladder import judge\n    import harness.cli.run\n")
    assert below(wrong) == ["cli", "ladder"]
    wrong.write_text('TABLE = {"a": "harness.runs.leftovers:remove"}\n')
    assert below(wrong) == ["runs"]


@pytest.mark.parametrize(
    "path", [path for path in modules() if layer(path) in CORE], ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_core_has_no_effects(path: Path) -> None:
    assert {name.split(".")[0] for name in imported(path)} & IMPURE == set()


def test_benches_never_import_each_other() -> None:
    wrong = []
    for path in (path for path in modules() if layer(path) == "benches"):
        inside = path.relative_to(HARNESS / "benches").parts
        others = {name.split(".")[2] for name in imported(path) if name.startswith("harness.benches.")}
        own = {inside[0].removesuffix(".py"), "bench"}  # `bench` is the port that all of them implement
        wrong += [(str(path), other) for other in others - own]
    assert wrong == []


def test_only_proc_starts_programs() -> None:
    users = [path.name for path in modules() if any(name.split(".")[0] == "subprocess" for name in imported(path))]
    assert users == ["proc.py"]


def test_no_file_is_longer_than_400_lines() -> None:
    assert [path.name for path in modules() if len(path.read_text().splitlines()) > 400] == []


def test_every_module_says_which_question_it_answers() -> None:
    silent = [str(path) for path in modules() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def product_code() -> list[Path]:
    """Every Python file that is installed, and what runs on hosts."""
    files = (path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in files if not {"_assets", "__pycache__", "molecule", "tests"} & set(path.parts))


def assertions(path: Path) -> list[str]:
    """Each assertion of a file, as `file:line`. `python -O` leaves them out, so nothing may rest on one."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return [f"{path.name}:{node.lineno}" for node in nodes if isinstance(node, ast.Assert)]


def test_no_assertion_does_work() -> None:
    assert [line for path in product_code() for line in assertions(path)] == []


def test_the_assertion_test_fails_where_it_must(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f(x):\n    assert x is not None\n    return x\n")
    assert assertions(tmp_path / "a.py") == ["a.py:2"]


def stray(folder: Path) -> list[str]:
    """Files below tests/ that are no tests, conftest.py, data, doubles, servers or programs."""
    code = [path for path in folder.rglob("*.py") if "__pycache__" not in path.parts]
    return sorted(
        str(path.relative_to(folder))
        for path in code
        if not path.name.startswith("test_")
        and path.name != "conftest.py"
        and not {"data", "doubles", "servers", "programs"} & set(path.parts)
    )


def test_tests_holds_tests_conftest_and_data() -> None:
    assert stray(ROOT / "tests") == []


def test_the_stray_test_fails_where_it_must(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("test_a.py", "conftest.py", "data/fixture.py", "check_b.py", "helpers.py"):
        (tmp_path / name).write_text("")
    assert stray(tmp_path) == ["check_b.py", "helpers.py"]


# --- private names ---------------------------------------------------------------------------------------------------

PACKAGES = ("harness", "infra", "ena_device", "lab", "roles")
PRIVATE_PATH = re.compile(r"(harness|infra|ena_device)(\.\w+)*\._[a-zA-Z]\w*")
FOREIGN = ("os._exit", "instance._state")
"""Private names of the standard library and of moto that the product has too."""


def private_names() -> set[str]:
    """Every name with one leading underscore that product code gives to a function, class, method or value."""
    names: set[str] = set()
    for path in product_code():
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    names.add(name)
                case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                    names.add(name)
    return {name for name in names if is_private(name)}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def own_names(tree: ast.Module) -> set[str]:
    """The private names that the classes of a file define: the file may use them of any of its objects."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(body=body):
                names |= {child.name for child in body if isinstance(child, ast.FunctionDef)}
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                names.add(name)
    return names


def private_uses(source: str, private: set[str]) -> list[str]:
    """Each use of a private name of the product in the text of a test or a benchmark, as `line: use`."""
    tree = ast.parse(source)
    own, uses = own_names(tree), []
    for node in ast.walk(tree):
        names: list[str] = []
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name) if name in private - own and ast.unparse(node) not in FOREIGN:
                names = [ast.unparse(node)]
            case ast.ImportFrom(module=str(module), names=aliases) if module.split(".")[0] in PACKAGES:
                names = [f"{module}.{alias.name}" for alias in aliases if is_private(alias.name)]
            case ast.Constant(value=str(text)) if PRIVATE_PATH.fullmatch(text):
                names = [text]
            case ast.Call(args=[_, ast.Constant(value=str(name)), *_]) if name in private - own:  # setattr, getattr
                names = [name]
        uses += [f"{node.lineno}: {name}" for name in names if isinstance(node, ast.expr | ast.stmt)]
    return uses


@pytest.mark.slow
def test_no_test_and_no_benchmark_uses_a_private_name_of_the_product() -> None:
    files = (path for folder in ("tests", "benchmarks", "tools") for path in (ROOT / folder).rglob("*.py"))
    private = private_names()
    uses = {str(path.relative_to(ROOT)): private_uses(path.read_text(), private) for path in sorted(files)}
    assert {path: found for path, found in uses.items() if found} == {}


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("from harness.host import ssh\nssh._boot()", "2: ssh._boot"),
        ("from harness.benches.hosts import _check", "1: harness.benches.hosts._check"),
        ("def f(bench):\n    bench._engine.up()", "2: bench._engine"),
        ("monkeypatch.setattr('harness.host.ssh._PROBE_S', 1)", "1: harness.host.ssh._PROBE_S"),
        ("monkeypatch.setattr(ssh, '_PROBE_S', 1)", "1: _PROBE_S"),
    ],
)
def test_the_test_of_private_names_fails_where_it_must(source: str, line: str) -> None:
    assert private_uses(source, {"_boot", "_check", "_engine", "_PROBE_S"}) == [line]


def test_a_file_may_use_the_private_names_of_its_own_classes_and_of_others() -> None:
    source = "class A:\n    def _do(self):\n        self._engine = 1\ndef f(a):\n    a._do()\n    os._exit(a._engine)"
    assert private_uses(source, {"_do", "_engine", "_exit"}) == []


def test_make_test_runs_what_make_unit_leaves_out() -> None:
    """`make unit` stays within one process; `make test` leaves out the rarer truths of the lab alone."""
    recipe = re.compile(r"^(unit|test):.*\n(?:\t.*\n)*?\t.*pytest .*-m \"(.*)\"$", re.MULTILINE)
    markers = dict(recipe.findall(MAKEFILE.read_text()))
    assert markers["test"] == "not truth"
    assert "not programs" in markers["unit"]


def test_a_test_with_a_program_s_fixture_is_marked(request: pytest.FixtureRequest) -> None:
    items = [item for item in request.session.items if "call_process" in getattr(item, "fixturenames", ())]
    assert [item.nodeid for item in items if item.get_closest_marker("programs") is None] == []
    assert request.node.get_closest_marker("programs") is None


# --- tables with an entry for each member of an enum -----------------------------------------------------------------

PARTIAL = {
    "_STAGES_WITHOUT_MAKING",  # stages that have another name on benches that make no hosts
    "_CHILD",  # outcomes for which JUnit has an element: none for a pass
    "START_MEANINGS",  # messages about a clock that did not start: not of one that runs, or was not to start
    "START_REMEDIES",
    "_STYLES",  # stages that are shown in colour
}
"""Tables that leave out members on purpose."""


def enum_of(table: object) -> type[Enum] | None:
    """The enum whose members are the keys of a table; None for other values."""
    kinds = {type(key) for key in table} if isinstance(table, Mapping) else set()
    kind = kinds.pop() if len(kinds) == 1 else None
    return kind if kind is not None and issubclass(kind, Enum) else None


def enum_tables() -> Iterator[tuple[str, Mapping[object, object], type[Enum]]]:
    """Every table of a module of harness/ whose keys are members of an enum: its name, itself, the enum."""
    for path in modules():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for variable, value in vars(importlib.import_module(name)).items() if path.name != "__main__.py" else ():
            kind = enum_of(value)
            if kind is not None:
                yield variable, value, kind


def test_a_table_with_keys_of_an_enum_has_an_entry_for_each_member() -> None:
    tables = list(enum_tables())
    assert {name for name, _, _ in tables} >= {"REMEDIES", "BENCHES", "_WRITERS", "_RUNGS", "OUTCOMES", *PARTIAL}
    missing = {name: sorted(member.name for member in set(kind) - set(table)) for name, table, kind in tables}
    assert {name: members for name, members in missing.items() if members and name not in PARTIAL} == {}


# --- the map in CONTRIBUTING.md --------------------------------------------------------------------------------------

NOT_MAPPED = {"dist", "build", "site"}  # what builds leave
MAP_ENTRY = re.compile(r"(?P<indent> *)(?P<names>[\w.-]+/?(?:, [\w.-]+/?)*)(?:  |$)")


def mapped(page: str) -> set[str]:
    """The paths that the map names, below the root of the checkout."""
    lines = page.partition("## The map")[2].split("```")[1].strip("\n").splitlines()
    parents: list[str] = []
    paths: set[str] = set()
    for line in lines:
        entry = MAP_ENTRY.match(line)
        assert entry is not None, f"no entry of a map: {line!r}"
        del parents[len(entry["indent"]) // 2 :]
        names = entry["names"].split(", ")
        paths |= {"".join([*parents, name]) for name in names}
        parents.append(names[0])
    return paths


def folders() -> set[str]:
    """Every folder that the map has to name: at the top, of packages of harness/, and below lab/ and tests/."""
    top = {f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."}
    packages = {f"{path.parent.relative_to(ROOT)}/" for path in HARNESS.rglob("__init__.py")}
    below = {
        f"{path.relative_to(ROOT)}/" for name in ("lab", "tests") for path in (ROOT / name).iterdir() if path.is_dir()
    }
    return {path for path in top | packages | below if not set(path.split("/")) & (NOT_MAPPED | {"__pycache__"})}


def test_the_map_names_every_folder_and_nothing_that_is_not_there() -> None:
    paths = mapped((ROOT / "CONTRIBUTING.md").read_text())
    files = {f"{path.relative_to(ROOT)}" for path in HARNESS.glob("*.py") if not path.name.startswith("__")}
    assert {path.removesuffix("/") for path in folders() | files} - {path.removesuffix("/") for path in paths} == set()
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_the_map_is_in_the_order_of_the_layers() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text().partition("## The map")[2]
    listed = re.findall(r"^  (\w+)(?:\.py|/) ", page.partition("infra/")[0], re.MULTILINE)
    assert tuple(listed) == LAYERS


def test_the_map_test_fails_where_it_must() -> None:
    page = "## The map\n\n```\nharness/   x\n  cli/     y\n    gone.py  z\ninfra/, lab/  w\n```\n"
    assert mapped(page) == {"harness/", "harness/cli/", "harness/cli/gone.py", "infra/", "lab/"}
