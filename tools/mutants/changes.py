"""Make the mutants of a file by mutmut's operators, and put one mutant in the place of the code that is loaded."""

import ast
import dataclasses
import importlib
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libcst
from libcst import matchers
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import Mutation, create_mutations, deep_replace


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change. `function`: its name in the module, with the name of its class; None: an assignment of the module.

    `lines` are those of the changed statement, or of its header. `was` and `becomes` are the changed lines, joined.
    `code` is the function, or the whole module, after the change.
    """

    file: str
    function: str | None
    line: int
    lines: range
    was: str
    becomes: str
    code: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.file, self.was, self.becomes

    @property
    def module(self) -> str:
        return self.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def make_mutants(root: Path, file: str) -> Iterator[Mutant]:
    """Make the mutants of one file, without those that change only a text for people."""
    module, mutations, _, _ = create_mutations(file, undecorate((root / file).read_text()))
    positions = MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)
    names, statements = dict(_name_functions(module)), dict(_list_statements(module))
    old_codes: dict[libcst.CSTNode, str] = {}
    past: set[tuple[str | None, str]] = set()
    for mutation in mutations:
        node, function = mutation.original_node, mutation.contained_by_top_level_function
        statement = statements[node]
        if function in names:
            name, owner = names[function], function
        elif function is None and _is_assignment(statement):
            name, owner = None, statement
        else:
            continue  # of a class's body, or an import
        if _changes_only_text(mutation):
            continue
        changed: Any = deep_replace(owner, node, mutation.mutated_node)
        if owner not in old_codes:
            old_codes[owner] = module.code_for_node(owner)
        old_code, code = old_codes[owner], module.code_for_node(changed)
        if (name, code) in past or code == old_code:
            continue
        past.add((name, code))
        was, becomes = _find_difference(old_code, code)
        whole: Any = deep_replace(module, owner, changed) if name is None else None
        span, place = positions[statement], positions[node]
        last = span.end.line if isinstance(statement, libcst.SimpleStatementLine) else place.end.line
        yield Mutant(
            file=file,
            function=name,
            line=place.start.line,
            lines=range(span.start.line, last + 1),
            was=was,
            becomes=becomes,
            code=textwrap.dedent(code) if whole is None else whole.code,
        )


def undecorate(source: str) -> str:
    """Make plain methods of properties, since mutmut leaves decorated functions alone."""
    return re.sub(r"^( +)@property$", r"\1# property", source, flags=re.MULTILINE)


def _list_statements(node: libcst.CSTNode, statement: libcst.CSTNode | None = None) -> Iterator[tuple[Any, Any]]:
    """List every node with the innermost statement, or branch of a match, that it is a part of."""
    if isinstance(node, libcst.BaseCompoundStatement | libcst.SimpleStatementLine | libcst.MatchCase):
        statement = node
    yield node, statement
    for part in node.children:
        yield from _list_statements(part, statement)


def _is_assignment(statement: Any) -> bool:
    """Whether a statement of the module assigns a constant. `__all__` is for readers."""
    if not isinstance(statement, libcst.SimpleStatementLine):
        return False
    assignment = statement.body[0]
    if isinstance(assignment, libcst.Assign):
        return not matchers.matches(assignment.targets[0].target, matchers.Name("__all__"))
    return isinstance(assignment, libcst.AnnAssign)


def _name_functions(module: libcst.Module) -> Iterator[tuple[libcst.CSTNode, str]]:
    for statement in module.body:
        if isinstance(statement, libcst.FunctionDef):
            yield statement, statement.name.value
        elif isinstance(statement, libcst.ClassDef):
            for member in statement.body.body:
                if isinstance(member, libcst.FunctionDef):
                    yield member, f"{statement.name.value}.{member.name.value}"


def _changes_only_text(mutation: Mutation) -> bool:
    """Whether only the case of a text is changed, or a text for people: one with spaces, or a ValueError's."""
    old, new = mutation.original_node, mutation.mutated_node
    if matchers.matches(old, matchers.Call(func=matchers.Name("ValueError"))):
        return True
    if not isinstance(old, libcst.SimpleString) or not isinstance(new, libcst.SimpleString):
        return False
    return old.value.casefold() == new.value.casefold() or " " in old.value.strip("\"' ")


def _find_difference(old: str, new: str) -> tuple[str, str]:
    """Find the lines that differ, each side joined to one."""
    olds, news = old.splitlines(), new.splitlines()
    while olds and news and olds[0] == news[0]:
        del olds[0], news[0]
    while olds and news and olds[-1] == news[-1]:
        del olds[-1], news[-1]
    return " ".join(line.strip() for line in olds), " ".join(line.strip() for line in news)


def find_function(module: types.ModuleType, name: str) -> types.FunctionType:
    """Find the function that a name of a module, or of a class of it, stands for."""
    value: Any = module
    for part in name.split("."):
        value = vars(value)[part]
    if isinstance(value, property):
        value = value.fget
    assert isinstance(value, types.FunctionType), name
    return value


def install(mutant: Mutant) -> set[str]:
    """Put the mutant in the place of the loaded code; return the names of the module that have another value now."""
    module = importlib.import_module(mutant.module)
    if mutant.function is None:
        return _reassign(module, ast.parse(mutant.code), set())
    scope = dict(vars(module))
    exec(compile(f"from __future__ import annotations\n{mutant.code}", mutant.file, "exec"), scope)
    function, changed = find_function(module, mutant.function), scope[mutant.function.rpartition(".")[2]]
    function.__code__, function.__defaults__ = changed.__code__, changed.__defaults__
    function.__kwdefaults__ = changed.__kwdefaults__
    return _reassign(module, _parse(module), {mutant.function.partition(".")[0]})


def _parse(module: types.ModuleType) -> ast.Module:
    return ast.parse(Path(str(module.__file__)).read_text())


def _reassign(module: types.ModuleType, changed: ast.Module, affected: set[str]) -> set[str]:
    """Carry out the assignments that differ from the module's, and those that use what is affected by a change."""
    affected, assigned = affected | _calling(module, affected), set[str]()
    for old, new in zip(_parse(module).body, changed.body, strict=True):
        if not isinstance(new, ast.Assign | ast.AnnAssign) or new.value is None:
            continue
        used = {part.id for part in ast.walk(new.value) if isinstance(part, ast.Name)}
        if ast.dump(old) == ast.dump(new) and not used & affected:
            continue
        scope = dict(vars(module))
        exec(compile(ast.Module([new], []), str(module.__file__), "exec"), scope)
        targets = new.targets if isinstance(new, ast.Assign) else [new.target]
        for name in (part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)):
            _replace_everywhere(name, vars(module)[name], scope[name])
            assigned.add(name)
        affected |= assigned | _calling(module, assigned)
    return assigned


def _calling(module: types.ModuleType, names: set[str]) -> set[str]:
    """List the functions of the module that use one of the names, themselves or by another function."""
    functions = {name: value for name, value in vars(module).items() if isinstance(value, types.FunctionType)}
    users = set(names)
    while more := {
        name for name, function in functions.items() if name not in users and users & set(function.__code__.co_names)
    }:
        users |= more
    return users - names


def _replace_everywhere(name: str, old: object, new: object) -> None:
    """Give a constant its new value in every module that has it by this name."""
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get(name, _ABSENT) is old:
            setattr(module, name, new)


_ABSENT = object()
