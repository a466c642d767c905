"""Read the values of --format, FORM or FORM=FILE, and write a report in each of its forms to where they say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

from harness.cli import output
from harness.errors import RequestError, SetupError
from harness.store.evidence_folder import EvidenceFolder
from harness.untrusted.nearest import nearest_names

Form = TypeVar("Form", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTarget(Generic[Form]):
    """A form of the report, and the file that it is written to; None stands for standard output."""

    form: Form
    file: Path | None


def read_targets(texts: Sequence[str] | None, forms: type[Form], *, json: bool) -> tuple[ReportTarget[Form], ...]:
    """Parse the values of --format before anything is done; `json` stands for one more, of the form json.

    Raises RequestError, also for a file that cannot be written.
    """
    targets = [_parse_target(text, forms) for text in texts or ()]
    if json and not any(target.file is None for target in targets):
        targets.append(ReportTarget(form=forms("json"), file=None))
    printed = [target.form.value for target in targets if target.file is None]
    if len(printed) > 1:
        raise RequestError(
            f"standard output takes one form, not {' and '.join(printed)}",
            next_step=f"--format {printed[-1]}=FILE writes it to a file",
        )
    files = [target.file.resolve() for target in targets if target.file]
    for file in files:
        if files.count(file) > 1:
            raise RequestError(f"--format names the file {file.name} twice", next_step="a file for each form")
        if not file.parent.is_dir():
            raise RequestError(f"there is no folder {file.parent} for the report {file.name}", next_step="make it")
        if file.is_dir():
            raise RequestError(f"{file} is a folder, not a file for a report", next_step="name a file in it")
    return tuple(targets)


def _parse_target(text: str, forms: type[Form]) -> ReportTarget[Form]:
    name, equals, file = text.partition("=")
    if name not in set(forms):
        near = nearest_names(name, forms, most=1, likeness=0.6)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise RequestError(
            f"--format {name!r} is not one of {', '.join(forms)}{hint}",
            next_step="--format FORM or --format FORM=FILE",
        )
    if equals and not file:
        raise RequestError(f"--format {text!r} names no file", next_step=f"--format {name}=FILE")
    return ReportTarget(form=forms(name), file=Path(file) if file else None)


def write_targets(targets: Sequence[ReportTarget[Form]], render: Callable[[Form], str], *, command: str) -> None:
    """Write what `render` makes to each target. A failure does not stop the others.

    Raises SetupError at the end, with the command that writes the report again.
    """
    errors: list[str] = []
    for target in targets:
        content = render(target.form)
        if target.file is None:
            output.write(content)
            continue
        try:
            EvidenceFolder(target.file.absolute().parent).write(target.file.name, content)
        except SetupError as error:
            errors.append(error.message)
    if errors:
        raise SetupError("; ".join(errors), next_step=f"`{command} --format FORM=FILE` writes it again")
