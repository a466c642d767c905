"""Find the mutants that the type checker refuses: `make check` notices them, whether a test does or not."""

import ast
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import libcst

from tools.mutants.changes import Mutant, undecorate


def find_refused(root: Path, mutants: Iterable[Mutant]) -> set[Mutant]:
    """Find those refused by mypy, which checks a copy of the package with every mutant beside its function."""
    by_file: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        if mutant.function is not None:
            by_file[mutant.file].append(mutant)
    if not by_file:
        return set()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(root / "harness", copy / "harness", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(root / "pyproject.toml", copy)
        places: dict[tuple[str, int], Mutant] = {}
        for file, changed in by_file.items():
            code = _add_mutants(undecorate((root / file).read_text()), changed)
            (copy / file).write_text(code)
            places |= {(file, line): mutant for line, mutant in _list_lines(code, changed)}
        command = [
            sys.executable,
            "-m",
            "mypy",
            "--no-error-summary",
            "--cache-dir",
            str(root / ".mypy_cache" / "mutants"),
        ]
        output = subprocess.run([*command, *by_file], cwd=copy, capture_output=True, text=True, check=False).stdout
    errors = re.findall(r"^(\S+?):(\d+): error:", output, re.MULTILINE)
    return {places[file, int(line)] for file, line in errors if (file, int(line)) in places}


def _add_mutants(source: str, mutants: list[Mutant]) -> str:
    """Put each mutant behind its function, with its number in its name."""
    by_function: dict[str, list[libcst.FunctionDef]] = defaultdict(list)
    for number, mutant in enumerate(mutants):
        function = libcst.ensure_type(libcst.parse_statement(mutant.code), libcst.FunctionDef)
        named = function.with_changes(name=libcst.Name(f"{function.name.value}__mutant_{number}"))
        by_function[str(mutant.function)].append(named)
    module = libcst.parse_module(source)
    body: list[libcst.CSTNode] = []
    for statement in module.body:
        if isinstance(statement, libcst.ClassDef):
            members: list[libcst.CSTNode] = []
            for member in statement.body.body:
                members += [member, *_find(by_function, member, f"{statement.name.value}.")]
            statement = statement.with_changes(body=statement.body.with_changes(body=members))
        body += [statement, *_find(by_function, statement, "")]
    return str(module.with_changes(body=body).code)


def _find(
    by_function: dict[str, list[libcst.FunctionDef]], node: libcst.CSTNode, prefix: str
) -> list[libcst.FunctionDef]:
    return by_function.get(f"{prefix}{node.name.value}", []) if isinstance(node, libcst.FunctionDef) else []


def _list_lines(code: str, mutants: list[Mutant]) -> list[tuple[int, Mutant]]:
    """List the lines of each mutant in the file that holds them all."""
    lines = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef) and "__mutant_" in node.name:
            mutant = mutants[int(node.name.rpartition("_")[2])]
            lines += [(line, mutant) for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)]
    return lines
