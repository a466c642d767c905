"""Read profiles: those that come along, and a file of one's own."""

from functools import cache
from importlib import resources
from pathlib import Path

from harness.campaign.profile_format import parse_profile
from harness.campaign.profiles import Profile
from harness.errors import RequestError
from harness.untrusted import input_checks
from harness.untrusted.nearest import format_suggestion


@cache
def load_standards() -> tuple[Profile, ...]:
    """Load the profiles that come along, in the order of their names."""
    files = {file.name: file for file in (resources.files("harness.campaign") / "standards").iterdir()}
    return tuple(parse_profile(files[name].read_text(), where=name) for name in sorted(files))


def read_profile(name_or_file: str) -> Profile:
    """Read a profile that comes along by its name, or a file. Raises RequestError."""
    standards = {profile.name: profile for profile in load_standards()}
    if name_or_file in standards:
        return standards[name_or_file]
    if not name_or_file.endswith((".yaml", ".yml")):
        raise RequestError(
            f"there is no profile {name_or_file!r}{format_suggestion(name_or_file, tuple(standards))}",
            next_step=f"one of {', '.join(standards)}, or a file such as mine.yaml",
        )
    try:
        with Path(name_or_file).open("rb") as file:
            content = file.read(input_checks.MOST_BYTES + 1)
        if len(content) > input_checks.MOST_BYTES:
            raise RequestError(f"{name_or_file}: more than {input_checks.MOST_BYTES} bytes are no profile")
        return parse_profile(content.decode(), where=name_or_file)
    except OSError as error:
        raise RequestError(f"cannot read the profile {name_or_file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"the profile {name_or_file} is not text: {error.reason} at byte {error.start}") from error
