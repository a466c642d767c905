"""Read profiles: those that come along, and a file of one's own."""

from functools import cache
from importlib import resources
from typing import NoReturn

from harness.campaign.profile_format import parse_profile
from harness.campaign.profiles import Profile
from harness.errors import RequestError
from harness.system.text_files import read_text
from harness.untrusted.nearest import format_suggestion


@cache
def load_standards() -> tuple[Profile, ...]:
    """Load the profiles that come along, in the order of their names."""
    files = {file.name: file for file in (resources.files("harness.campaign") / "standards").iterdir()}
    return tuple(parse_profile(files[name].read_text(), where=name) for name in sorted(files))


def find_standard(name: str) -> Profile | None:
    """Find a profile that comes along by its name; None where none has it."""
    return next((profile for profile in load_standards() if profile.name == name), None)


def refuse_unknown(name: str, *, otherwise: str) -> NoReturn:
    """Raise the RequestError of a name that no profile has. `otherwise`: what else may be named, to end a sentence."""
    standards = [profile.name for profile in load_standards()]
    raise RequestError(
        f"there is no profile {name!r}{format_suggestion(name, standards)}",
        next_step=f"one of {', '.join(standards)}{otherwise}",
    )


def read_profile(name_or_file: str) -> Profile:
    """Read a profile that comes along by its name, or a file. Raises RequestError."""
    standard = find_standard(name_or_file)
    if standard is not None:
        return standard
    if not name_or_file.endswith((".yaml", ".yml")):
        refuse_unknown(name_or_file, otherwise=", or a file such as mine.yaml")
    return parse_profile(read_text(name_or_file, kind="profile", title="the profile"), where=name_or_file)
