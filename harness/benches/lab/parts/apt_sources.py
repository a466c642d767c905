"""Find this machine's Debian mirror and the keyring for it in the machine's own apt configuration."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SetupError

DEBIAN_12, DEBIAN_13 = "bookworm", "trixie"
SUITES = {
    DEBIAN_13: (DEBIAN_13, f"{DEBIAN_13}-updates", f"{DEBIAN_13}-backports"),
    DEBIAN_12: (DEBIAN_12, f"{DEBIAN_12}-updates", f"{DEBIAN_13}-backports"),
}
"""The suites from which a root of each release is made. The kernels of guests are Debian 13's backports."""
DEFAULT_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_ONE_LINE = re.compile(r"^\s*deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.*)$")
_DEBIAN_SUITE = re.compile(r"^(?:(?:old)*stable|testing|unstable|sid|bookworm|trixie|forky)(?:-updates|-backports)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class AptSource:
    """A source of apt: a URI with its suites, components and keyring."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    keyring: str | None


def parse_deb822(text: str) -> list[AptSource]:
    """Parse the enabled binary sources of a `.sources` file (sources.list(5), deb822 style)."""
    return [source for stanza in re.split(r"\n\s*\n", _without_comments(text)) for source in _stanza(stanza)]


def parse_one_line(text: str) -> list[AptSource]:
    """Parse the `deb` lines of a `.list` file (sources.list(5), one-line style)."""
    matches = (_ONE_LINE.match(line.partition("#")[0]) for line in text.splitlines())
    return [
        AptSource(
            uri=match["uri"],
            suites=(match["suite"],),
            components=tuple(match["components"].split()),
            keyring=_option(match["options"] or "", "signed-by"),
        )
        for match in matches
        if match is not None
    ]


def debian_mirror(sources: list[AptSource]) -> AptSource | None:
    """Return the source of a Debian release's own packages, or None: no security archive, third party or disc."""
    candidates = [
        source
        for source in sources
        if "main" in source.components
        and any(_DEBIAN_SUITE.match(suite) for suite in source.suites)
        and not source.uri.startswith("cdrom:")
    ]
    named_debian = [source for source in candidates if source.uri.rstrip("/").endswith("/debian")]
    return next(iter(named_debian or candidates), None)


def read(etc_apt: Path = Path("/etc/apt")) -> list[AptSource]:
    """Read all apt sources of this machine, `sources.list` first."""
    files = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]
    parse = {".list": parse_one_line, ".sources": parse_deb822}
    return [
        source
        for path in files
        if path.suffix in parse and path.is_file()
        for source in parse[path.suffix](path.read_text(errors="replace"))
    ]


def lines(release: str = DEBIAN_13, etc_apt: Path = Path("/etc/apt")) -> str:
    """Return apt lines for a release on this machine's mirror. Raises SetupError without mirror or keyring."""
    mirror = debian_mirror(read(etc_apt))
    if mirror is None:
        raise SetupError(
            f"no Debian mirror in {etc_apt}/sources.list or {etc_apt}/sources.list.d",
            next_step="add one, such as the `deb` line of any Debian release with `main`, and run again",
        )
    keyring = mirror.keyring if mirror.keyring and mirror.keyring.startswith("/") else DEFAULT_KEYRING
    if not Path(keyring).is_file():
        raise SetupError(f"{keyring} is missing", next_step="install the package debian-archive-keyring")
    return "".join(f"deb [signed-by={keyring}] {mirror.uri} {suite} main\n" for suite in SUITES[release])


def _stanza(text: str) -> Iterator[AptSource]:
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line[:1].isspace():
            fields[name] = fields.get(name, "") + "\n" + line
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value
    values = {key: value.split() for key, value in fields.items()}
    if "deb" not in values.get("types", []) or fields.get("enabled", "yes").strip().lower() == "no":
        return
    for uri in values.get("uris", []):
        yield AptSource(
            uri=uri,
            suites=tuple(values.get("suites", [])),
            components=tuple(values.get("components", [])),
            keyring=" ".join(values.get("signed-by", [])) or None,
        )


def _option(options: str, name: str) -> str | None:
    assignments = (assignment.partition("=") for assignment in options.split())
    return next((value for key, _, value in assignments if key.lower() == name), None)


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))
