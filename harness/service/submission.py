"""Check a campaign that somebody submits. It is a stranger's: it may name no file of this machine."""

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from urllib.parse import urlsplit

from harness.campaign import campaign, stored
from harness.campaign.campaign import Campaign
from harness.campaign.choices import DriverSource, Keep
from harness.campaign.mistakes import Mistake, Places, refuse
from harness.campaign.profiles import Profile
from harness.campaign.run_plan import UnknownTypesError, check_types, estimate_run_s, place_unknown_types
from harness.model.bench_traits import BenchName
from harness.runs.prepare import Benches
from harness.store.task_lines import NewTask
from harness.system import profile_files
from harness.untrusted.addresses import may_be_public

WHERE = "campaign.yaml"
_HINT = "GET /v1/campaign-schema has every key"


def read_campaign(
    text: str,
    *,
    benches: Benches,
    offered: Sequence[str],
    own: Sequence[str] | None = None,
    hosts_allowed: Sequence[str],
    where: str = WHERE,
) -> Campaign:
    """Parse and check a campaign, YAML or JSON. Raises MistakesError with all mistakes, and RequestError.

    `offered`: the benches that campaigns may use, `own`: those of this machine among them (None: all of them).
    `hosts_allowed`: hosts of which driver archives may come; empty: every host with a public address.
    """
    written, places = campaign.load_file(text, where=where)
    requested = campaign.from_mapping(written, places=places, read_profile=_read_standard)
    mistakes = [*_mistakes_of_files(requested), *_mistakes_in_archive(requested, hosts_allowed)]
    if requested.bench not in offered:
        problem = f"is {requested.bench}, and this service has {', '.join(offered) or 'none'}"
        mistakes.append(Mistake(path=("bench",), problem=problem, remedy="take one of these"))
    if mistakes:
        raise refuse(mistakes, places, next_step=_HINT)
    if requested.bench == BenchName.LAB and (own is None or requested.bench in own):  # a site may have other types
        _check_types(requested, benches, places)
    return requested


def make_task(
    text: str,
    requested: Campaign,
    *,
    submitter: str,
    priority: int = 0,
    requested_site: str | None = None,
    site: str | None = None,
    idempotency_key: str | None = None,
    schedule: str | None = None,
    typical_s: Mapping[str, float] = MappingProxyType({}),
) -> NewTask:
    """Make the task of a checked campaign. `typical_s`: how long hosts of its types took before.

    `site`: that carries it out; `requested_site`: that the request names.
    """
    parts = "\0".join([text, str(priority), requested_site or ""])
    hosts = max(1, len(requested.instance_types))
    return NewTask(
        document=text,
        campaign=stored.to_document(requested),
        bench=requested.bench,
        hosts=hosts,
        submitter=submitter,
        fingerprint=hashlib.sha256(parts.encode()).hexdigest(),
        site=site,
        priority=priority,
        expected_s=estimate_run_s(requested, typical_s),
        idempotency_key=idempotency_key,
        schedule=schedule,
    )


def _read_standard(name: str) -> Profile:
    """Read a profile that comes along; a file would be one of this machine. Raises RequestError."""
    return profile_files.find_standard(name) or profile_files.refuse_unknown(
        name, otherwise="; a service reads no files of profiles"
    )


def _mistakes_of_files(requested: Campaign) -> list[Mistake]:
    mistakes: list[Mistake] = []
    if requested.inventory is not None:
        problem = "names a file, and a service reads no files for those who submit"
        mistakes.append(Mistake(path=("inventory",), problem=problem, remedy="use the command on that machine"))
    if requested.keep is Keep.ASK:
        problem = "is ask, and nobody sits at the terminal of a service"
        mistakes.append(Mistake(path=("keep",), problem=problem, remedy="write `keep: supported` or `keep: none`"))
    return mistakes


def _mistakes_in_archive(requested: Campaign, hosts_allowed: Sequence[str]) -> list[Mistake]:
    """Find a URL that would have the service look into its own network. What a name leads to is not asked here.

    The download itself connects to the address that it checked, at every redirect (host/driver_archive.py).
    """
    driver = requested.driver
    if driver.source is not DriverSource.ARCHIVE or driver.value is None:
        return []
    path = ("driver", "archive")
    url = urlsplit(driver.value)
    if url.scheme != "https" or not url.hostname:
        return [
            Mistake(path=path, problem="is no https URL", remedy="name the archive by https://, with driver.sha256")
        ]
    if hosts_allowed and url.hostname not in hosts_allowed:
        listed = ", ".join(hosts_allowed)
        return [Mistake(path=path, problem=f"is of {url.hostname}", remedy=f"this service takes archives of {listed}")]
    if not hosts_allowed and not may_be_public(url.hostname):
        problem = f"is of {url.hostname}, which has no public address"
        return [Mistake(path=path, problem=problem, remedy="start the service with --archive-host for that host")]
    return []


def _check_types(requested: Campaign, benches: Benches, places: Places) -> None:
    """Refuse types that the lab does not have, with their lines. Raises MistakesError."""
    bench = benches.make_bench(requested)
    try:
        check_types(bench.expand(requested.instance_types), list(bench.types()), requested.bench)
    except UnknownTypesError as error:
        raise place_unknown_types(error, requested.instance_types, places) from error
