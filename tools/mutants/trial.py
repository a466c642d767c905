"""Try mutants in processes forked from one collected pytest session, each with the tests that reach what it changes."""

import gc
import importlib
import os
import resource
import signal
import sys
import time
import types
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Any

import pytest

from tools.mutants.changes import Mutant, find_function, install

MOST_CPU_S = 30
MOST_MIB = 4096
_KILLED, _ALIVE, _UNREACHED, _BROKEN = 0, 10, 11, 12


class Result(StrEnum):
    """What the tests said about a mutant."""

    KILLED = "killed"
    TIMEOUT = "timeout"
    ALIVE = "alive"
    UNREACHED = "reached by no test"
    BROKEN = "not tried"


_RESULTS = {
    _ALIVE: Result.ALIVE,
    _UNREACHED: Result.UNREACHED,
    _BROKEN: Result.BROKEN,
    -signal.SIGXCPU: Result.TIMEOUT,
}


class Trial:
    """A plugin of pytest that runs the tests once as they are, then once for each mutant."""

    def __init__(self, mutants: Sequence[Mutant], jobs: int, report: Callable[[Mutant, Result], None]) -> None:
        self.mutants, self.jobs, self.report = mutants, jobs, report
        self.failed: list[str] = []
        self.error = ""
        self._failures = 0
        self._seconds: dict[int, float] = {}
        self._names: dict[int, set[str]] = {}
        self._tests: dict[tuple[str, int], set[int]] = defaultdict(set)
        self._codes: dict[types.CodeType, tuple[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failures += 1
            self.failed.append(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._list_functions()
        self._run_unchanged(session)
        if not self.failed:
            self._try_all(session)
        return True

    def _list_functions(self) -> None:
        for name in {mutant.module for mutant in self.mutants}:
            module = importlib.import_module(name)
            for function in _qualified_names(module):
                self._codes |= dict.fromkeys(_walk(find_function(module, function).__code__), (name, function))

    def _run_unchanged(self, session: pytest.Session) -> None:
        """Run every test, and note which lines each reaches."""
        codes, reached = self._codes, set[tuple[str, int]]()

        def note_call(frame: types.FrameType, _event: str, _argument: object) -> Any:
            if frame.f_code not in codes:
                return None
            reached.add((codes[frame.f_code][0], frame.f_code.co_firstlineno))
            return note_line

        def note_line(frame: types.FrameType, event: str, _argument: object) -> Any:
            if event == "line":
                reached.add((codes[frame.f_code][0], frame.f_lineno))
            return note_line

        for number, item in enumerate(session.items):
            reached.clear()
            _clear_caches()
            start = time.process_time()
            sys.settrace(note_call)
            try:
                _run(item, session.items[number + 1] if number + 1 < len(session.items) else None)
            finally:
                sys.settrace(None)
            self._seconds[number] = time.process_time() - start
            self._names[number] = _list_names(item)
            for line in reached:
                self._tests[line].add(number)

    def _try_all(self, session: pytest.Session) -> None:
        running: dict[int, Mutant] = {}
        gc.collect()
        gc.freeze()  # what the processes share stays shared
        for mutant in self.mutants:
            if len(running) >= self.jobs:
                self._wait(running)
            child = os.fork()
            if child == 0:
                self._try(session, mutant)
            running[child] = mutant
        while running:
            self._wait(running)

    def _wait(self, running: dict[int, Mutant]) -> None:
        child, status = os.wait()
        code = os.waitstatus_to_exitcode(status)
        self.report(running.pop(child), _RESULTS.get(code, Result.KILLED))

    def _try(self, session: pytest.Session, mutant: Mutant) -> None:
        """Be the process of one mutant; its exit code is the result."""
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S + int(time.process_time()),) * 2)
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MIB * 2**20,) * 2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        try:
            names = install(mutant)
        except Exception:
            os._exit(_KILLED if mutant.function is None else _BROKEN)  # an import that fails is noticed
        _clear_caches()
        try:
            numbers = self._choose(mutant, names)
            for number in numbers:
                _run(session.items[number], None)
                if self._failures:
                    os._exit(_KILLED)
        except BaseException:
            os._exit(_KILLED)
        os._exit(_ALIVE if numbers else _UNREACHED)

    def _choose(self, mutant: Mutant, names: set[str]) -> list[int]:
        """Choose the tests that reach the changed lines, or code that uses a changed constant; the quickest first."""
        lines = {(mutant.module, line) for line in mutant.lines}
        lines |= {(place[0], code.co_firstlineno) for code, place in self._codes.items() if names & set(code.co_names)}
        chosen = set[int]().union(*(self._tests[line] for line in lines))
        chosen |= {number for number, used in self._names.items() if names & used}
        return sorted(chosen, key=lambda number: self._seconds[number])


def _clear_caches() -> None:
    """Forget what functions of the product have kept: an answer of before would hide the change, and who reaches it."""
    for name, module in [*sys.modules.items()]:
        if name == "harness" or name.startswith("harness."):
            for value in [*vars(module).values()]:
                clear = getattr(value, "cache_clear", None)
                if callable(clear):
                    clear()


def _qualified_names(module: types.ModuleType) -> Iterator[str]:
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, types.FunctionType):
            yield name
        elif isinstance(value, type):
            for member, function in vars(value).items():
                function = function.fget if isinstance(function, property) else function
                if isinstance(function, types.FunctionType) and function.__code__.co_filename == module.__file__:
                    yield f"{name}.{member}"


def _walk(code: types.CodeType) -> Iterator[types.CodeType]:
    """Walk over the code of a function, and of the functions in it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from _walk(part)


def _list_names(item: pytest.Item) -> set[str]:
    """List the names of modules' constants that the test itself uses."""
    test = getattr(item, "obj", None)
    test = getattr(getattr(test, "hypothesis", None), "inner_test", test)
    code = getattr(test, "__code__", None)
    return set().union(*(part.co_names for part in _walk(code))) if code else set()


def _run(item: pytest.Item, following: pytest.Item | None) -> None:
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
