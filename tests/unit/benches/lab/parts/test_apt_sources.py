"""The machine's own mirror, from both styles of apt's configuration."""

from pathlib import Path

import pytest

from harness.benches.lab.parts import apt_sources
from harness.benches.lab.parts.apt_sources import AptSource, debian_mirror, parse_deb822, parse_one_line
from harness.errors import SetupError

DEB822 = """\
Types: deb deb-src
# a comment inside
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main

Types: deb
URIs: https://inline.example/debian
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_deb822_gives_enabled_binary_sources_with_their_keyrings() -> None:
    assert parse_deb822(DEB822) == [
        AptSource(
            uri="http://mirror.example/debian",
            suites=("bookworm", "bookworm-updates"),
            components=("main", "contrib"),
            keyring="/usr/share/keyrings/debian-archive-keyring.gpg",
        ),
        AptSource(
            uri="http://mirror.example/debian-security",
            suites=("bookworm-security",),
            components=("main",),
            keyring=None,
        ),
        AptSource(
            uri="https://inline.example/debian",
            suites=("trixie",),
            components=("main",),
            keyring="-----BEGIN PGP PUBLIC KEY BLOCK----- . -----END PGP PUBLIC KEY BLOCK-----",
        ),
    ]


def test_one_line_style_gives_deb_lines_only() -> None:
    text = """\
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/apt/keyrings/k.gpg] http://a.example/debian bookworm main non-free # why
deb-src http://a.example/debian bookworm main
deb cdrom:[Debian]/ bookworm main
not a line of apt
"""
    assert parse_one_line(text) == [
        AptSource(
            uri="http://a.example/debian",
            suites=("bookworm",),
            components=("main", "non-free"),
            keyring="/etc/apt/keyrings/k.gpg",
        ),
        AptSource(uri="cdrom:[Debian]/", suites=("bookworm",), components=("main",), keyring=None),
    ]


def source(uri: str, suite: str, component: str = "main") -> AptSource:
    return AptSource(uri=uri, suites=(suite,), components=(component,), keyring=None)


def test_the_mirror_is_debians_own_release_and_nothing_else() -> None:
    browser = source("https://dl.example/chrome/deb/", "stable")
    others = [
        source("cdrom:[Debian]/", "bookworm"),
        source("http://a.example/debian-security", "bookworm-security"),
        source("https://b.example/apt", "cloud-sdk-bookworm"),
        source("https://download.example/linux/debian", "bookworm", "stable"),
    ]
    mirror = source("http://a.example/debian/", "bookworm")
    assert debian_mirror([browser, *others, mirror]) == mirror
    assert debian_mirror([*others, browser]) == browser  # a mirror may have any path
    assert debian_mirror(others) is None


def test_lines_name_the_labs_suites_on_this_machines_mirror(tmp_path: Path) -> None:
    keyring = tmp_path / "keys.gpg"
    keyring.touch()
    (tmp_path / "sources.list").write_text(f"deb [signed-by={keyring}] http://a.example/debian bookworm main\n")
    assert apt_sources.lines(etc_apt=tmp_path) == (
        f"deb [signed-by={keyring}] http://a.example/debian trixie main\n"
        f"deb [signed-by={keyring}] http://a.example/debian trixie-updates main\n"
        f"deb [signed-by={keyring}] http://a.example/debian trixie-backports main\n"
    )


def test_a_machine_without_a_mirror_or_its_keys_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"no Debian mirror in .*sources\.list"):
        apt_sources.lines(etc_apt=tmp_path)
    (tmp_path / "sources.list").write_text("deb [signed-by=/nowhere/k.gpg] http://a.example/debian bookworm main\n")
    with pytest.raises(SetupError, match=r"/nowhere/k\.gpg is missing \(install the package debian-archive-keyring\)"):
        apt_sources.lines(etc_apt=tmp_path)
