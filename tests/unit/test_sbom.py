"""The list of an image's packages: all of the lock that this Python takes, with hashes, and of the published form."""

import json
from pathlib import Path

import jsonschema
import pytest

from tools import sbom

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "tests" / "data" / "cyclonedx" / "bom-1.6.json").read_text())

LOCK = f"""\
apple==1.2 \\
    --hash=sha256:{"a" * 64} \\
    --hash=sha256:{"b" * 64}
    # via
    #   ptp-harness (pyproject.toml)
    #   pear
pear==2.0+local ; python_version >= '3.0' \\
    --hash=sha256:{"c" * 64}
    # via ptp-harness (pyproject.toml)
plum==3.0 ; sys_platform == 'win32' \\
    --hash=sha256:{"d" * 64}
    # via pear
"""


def test_it_reads_what_this_python_takes_of_a_lock() -> None:
    apple, pear = sbom.read_lock(LOCK)
    assert (apple.name, apple.version, apple.hashes) == ("apple", "1.2", ["a" * 64, "b" * 64])
    assert apple.needed_by == ["ptp-harness", "pear"]
    assert (pear.purl, pear.needed_by) == ("pkg:pypi/pear@2.0%2Blocal", ["ptp-harness"])


def test_a_document_has_packages_of_both_kinds_and_who_needs_which() -> None:
    debian = [("libc6", "2.36-9", "amd64")]
    document = sbom.make_document("ptp-harness", "0.1.0", sbom.read_lock(LOCK), debian)
    jsonschema.validate(document, SCHEMA)
    assert [part["purl"] for part in document["components"]] == [
        "pkg:pypi/apple@1.2",
        "pkg:pypi/pear@2.0%2Blocal",
        "pkg:deb/debian/libc6@2.36-9?arch=amd64",
    ]
    needs = {entry["ref"]: entry["dependsOn"] for entry in document["dependencies"]}
    assert needs == {
        "pkg:pypi/ptp-harness@0.1.0": ["pkg:pypi/apple@1.2", "pkg:pypi/pear@2.0%2Blocal"],
        "pkg:pypi/pear@2.0%2Blocal": ["pkg:pypi/apple@1.2"],
        "pkg:pypi/apple@1.2": [],
    }


def test_the_schema_refuses_what_is_not_of_the_published_form() -> None:
    document = sbom.make_document("ptp-harness", "0.1.0", sbom.read_lock(LOCK), [])
    for wrong in ({"bomFormat": "SPDX"}, {"components": [{"type": "librarian", "name": "x"}]}, {"serialNumber": "1"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document | wrong, SCHEMA)


def test_the_real_lock_gives_the_same_document_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    debian = tmp_path / "debian"
    debian.write_text("libc6\t2.36-9\tamd64\n")
    words = [str(ROOT / "requirements" / "run.txt"), "--name", "ptp-harness", "--version", "0.1.0"]
    documents = []
    for _ in range(2):
        assert sbom.main([*words, "--debian", str(debian)]) == 0
        documents.append(capsys.readouterr().out)
    assert documents[0] == documents[1]
    document = json.loads(documents[0])
    jsonschema.validate(document, SCHEMA)
    names = {part["name"] for part in document["components"]}
    assert {"ansible-core", "fastapi", "libc6"} <= names
    assert "colorama" not in names, "of Windows alone"
