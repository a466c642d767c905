"""The settings of a pod: the key by which pods prove each other's instances comes from the secret."""

from pathlib import Path

import pytest

from harness.cluster import pod_settings
from harness.cluster.jobs import SIGNING_KEY
from harness.errors import RequestError
from tests.unit.cluster.test_suites import make_campaign

HERE = {"HOME": "/home/ada"}


def test_the_signing_key_is_that_of_the_secret_unless_a_variable_names_one(tmp_path: Path) -> None:
    assert pod_settings.load(HERE, tmp_path).signing_key is None
    (tmp_path / SIGNING_KEY).write_text("k" * 64)
    assert pod_settings.load(HERE, tmp_path).signing_key == tmp_path / SIGNING_KEY
    named = {**HERE, "PTP_HARNESS_SIGNING_KEY": "/etc/key"}
    assert pod_settings.load(named, tmp_path).signing_key == Path("/etc/key")


def test_a_campaign_in_a_cloud_needs_the_key(tmp_path: Path) -> None:
    without = pod_settings.load(HERE, tmp_path)
    pod_settings.require_signing_key(make_campaign("lab", ["lab.phc"]), without)
    with pytest.raises(RequestError, match="the secret ptp-harness has no key signing-key"):
        pod_settings.require_signing_key(make_campaign("ec2", ["m7i.large"]), without)
    (tmp_path / SIGNING_KEY).write_text("k" * 64)
    pod_settings.require_signing_key(make_campaign("ec2", ["m7i.large"]), pod_settings.load(HERE, tmp_path))
