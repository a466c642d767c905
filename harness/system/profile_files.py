"""Read profiles: those that come along, and a file of one's own."""

from functools import cache
from importlib import resources

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
    return parse_profile(read_text(name_or_file, kind="profile", title="the profile"), where=name_or_file)
