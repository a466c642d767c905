"""Enums in the program, words in what is stored, printed and set: no format shows that they are enums."""

import json
from pathlib import Path

import pytest

from harness.benches.ec2.instances.launch_records import LaunchRecord, LaunchRecords
from harness.campaign import stored
from harness.campaign.campaign import from_mapping
from harness.model import Token
from harness.model.bench_traits import BenchName
from harness.model.ec2_enums import Access, Architecture, GroupStrategy, Market, PlacementKeyword
from infra.stack_settings import SettingsError, read

WORDS = {
    Access: ["ssh", "ssm"],
    Architecture: ["x86_64", "arm64"],
    Market: ["on-demand", "spot"],
    GroupStrategy: ["precision-time", "cluster"],
    PlacementKeyword: ["auto", "none", "precision-time", "cluster"],
}


def test_the_words_are_those_of_ec2_and_of_earlier_versions() -> None:
    assert {kind: [word.value for word in kind] for kind in WORDS} == WORDS


def test_a_stored_campaign_holds_words_and_is_read_into_enums() -> None:
    campaign = from_mapping(
        {
            "bench": "ec2",
            "select": {"arch": "arm64"},
            "placement": "none",
            "ec2": {"access": "ssm", "market": "spot"},
        }
    )
    document = json.loads(json.dumps(stored.to_document(campaign)))
    cloud = document["cloud"]
    assert (document["bench"], document["select"]["arch"]) == ("ec2", "arm64")
    assert (cloud["access"], cloud["market"], cloud["placement"]) == ("ssm", "spot", "none")
    read_campaign = stored.from_document(document)
    assert read_campaign == campaign
    assert (read_campaign.bench, read_campaign.cloud.access) == (BenchName.EC2, Access.SSM)
    assert type(read_campaign.cloud.market) is Market


@pytest.mark.parametrize("written", ["ssh", "ssm", None])
def test_a_launch_record_holds_the_word_and_one_of_an_early_version_means_ssh(
    written: str | None, tmp_path: Path
) -> None:
    records, token = LaunchRecords(tmp_path), Token(run="k3f9", host="m7i.large")
    record = LaunchRecord(
        token=token,
        instance_type="m7i.large",
        folder=records.folder(token),
        region="eu-north-1",
        stack=token.slug,
        intent="begin",
        created_utc="2026-11-21T12:05:00+00:00",
        expires_utc="2026-11-21T14:05:00+00:00",
        access=Access(written or "ssh"),
    )
    records.write(record)
    (path,) = record.folder.iterdir()
    document = json.loads(path.read_text())
    assert document["access"] == record.access.value
    if written is None:
        del document["access"]
        path.write_text(json.dumps(document))
    assert records.read(record.folder) == record


def test_the_program_s_settings_are_refused_with_the_words_that_fit() -> None:
    with pytest.raises(SettingsError) as refused:
        read({"access": "telnet", "market": "barter"}.get, region="eu-north-1")
    assert "access: 'telnet' is not ssh or ssm" in str(refused.value)
    assert "market: 'barter' is not on-demand or spot" in str(refused.value)
