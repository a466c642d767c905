"""Evidence is whole or absent, and any later change shows."""

import stat
from pathlib import Path

import pytest

from harness.errors import HarnessError, SetupError
from harness.store.evidence_folder import EvidenceFolder


def test_a_file_is_written_whole_and_for_us_alone(tmp_path: Path) -> None:
    folder = EvidenceFolder.create(tmp_path / "run").host("lab.phc")
    path = folder.write("facts.json", "{}")
    assert path == tmp_path / "run/lab.phc/facts.json"
    assert path.read_text() == "{}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["facts.json"]


def test_changes_after_the_checksums_show(tmp_path: Path) -> None:
    folder = EvidenceFolder.create(tmp_path)
    for name in ("same", "edited", "gone"):
        folder.host("a").write(name, name)
    folder.write_checksums()
    assert folder.list_changed() == []
    (tmp_path / "a/edited").write_text("other")
    (tmp_path / "a/gone").unlink()
    (tmp_path / "a/new").write_text("new")
    assert folder.list_changed() == ["a/edited", "a/gone", "a/new"]


def test_the_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    folder = EvidenceFolder.create(tmp_path)
    folder.write("empty", b"")
    folder.write_checksums()
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert (tmp_path / "SHA256SUMS").read_text() == f"{digest}  empty\n"


def test_a_file_that_is_not_there_is_not_kept(tmp_path: Path) -> None:
    folder = EvidenceFolder.create(tmp_path / "to")
    folder.copy_file(tmp_path / "serial.log")
    (tmp_path / "device.log").write_text("words")
    folder.copy_file(tmp_path / "device.log")
    assert [path.name for path in folder.path.iterdir()] == ["device.log"]


def test_an_unwritable_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"cannot write evidence to .*PTP_HARNESS_STATE_DIR"):
        EvidenceFolder.create(tmp_path / "file" / "run")


@pytest.mark.parametrize("name", ["../x", "..", ".", "", "/etc", "a/b", "-x", "a\nb", "a b", "x" * 200])
def test_a_host_s_part_lies_inside(tmp_path: Path, name: str) -> None:
    folder = EvidenceFolder.create(tmp_path / "run")
    with pytest.raises(HarnessError, match="is not a valid name of an evidence folder"):
        folder.host(name)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "..", "", "a\0b", "link/x"])
def test_a_file_lies_inside(tmp_path: Path, name: str) -> None:
    folder = EvidenceFolder.create(tmp_path / "run")
    (folder.path / "link").symlink_to(tmp_path)
    with pytest.raises(HarnessError, match="would lie outside the folder of evidence"):
        folder.write(name, "words")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_no_link_is_written_through(tmp_path: Path) -> None:
    folder, elsewhere = EvidenceFolder.create(tmp_path / "run"), tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    for name in ("a", ".a.partial", "device.log"):
        (folder.path / name).symlink_to(elsewhere)
    (tmp_path / "device.log").write_text("log")
    folder.write("a", "words")
    folder.copy_file(tmp_path / "device.log")
    assert elsewhere.read_text() == "mine"
    assert [(folder.path / name).read_text() for name in ("a", "device.log")] == ["words", "log"]


def test_text_that_no_encoding_can_write_is_written(tmp_path: Path) -> None:
    assert EvidenceFolder.create(tmp_path).write("a", "x\ud800y").read_text() == "x\ufffdy"
