"""Parse a campaign file and flags into one frozen Campaign, and report all mistakes together.

pydantic is used only here, in `fields`, `limit_fields` and `profile_format`, to check input that people write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from harness.campaign import file_mistakes, file_schema, limits, mistakes, selection, strict_yaml
from harness.campaign.campaign_file import FILE_SCHEMA, CampaignFile, DriverKeys
from harness.campaign.choices import DriverChoice, DriverSource, Keep
from harness.campaign.limit_fields import PROFILE
from harness.campaign.limits import Requirement
from harness.campaign.mistakes import Mistake, Places
from harness.campaign.profiles import Profile, ProfileReader, refuse_profile
from harness.campaign.selection import Selection
from harness.errors import RequestError
from harness.model import Depth
from harness.model.bench_traits import BenchName, traits_of
from harness.model.cloud import CloudOptions
from harness.model.disturbances import KINDS, Disturbance
from harness.model.ec2_enums import Access
from harness.model.image_aliases import ALIASES
from harness.model.observed import READINGS
from harness.untrusted import input_checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A complete request: every default is filled in. Durations are in seconds.

    The campaign's types are `instance_types`, which may be empty, and the types of the Region that `select` selects.
    """

    bench: BenchName
    inventory: str | None
    instance_types: tuple[str, ...]
    select: Selection | None
    cloud: CloudOptions  # holds Region, image, placement and lease, which stand at the top of a campaign file
    depth: Depth
    driver: DriverChoice
    measure_duration_s: float
    measure_interval_s: float
    requirements: tuple[Requirement, ...]
    keep: Keep
    read_only: bool
    parallel: int | None  # None: the bench's own limit
    clock_names: tuple[str, ...]
    profiles: tuple[Profile, ...] = ()  # whose limits must be met too; not in campaigns of earlier versions
    expect: Mapping[str, str] = field(default_factory=dict)  # by type the outcome or reason that is no news
    measure_readings: int = READINGS  # of the clock in each sample
    disturbances: tuple[Disturbance, ...] = ()  # in their order


_KEYS_HINT = "`ptp-harness campaign keys` explains every key"


def from_yaml(
    text: str,
    *,
    where: str,
    flags: Mapping[str, Any] | None = None,
    read_profile: ProfileReader = refuse_profile,
) -> Campaign:
    """Parse a campaign file's text; `flags` (keys as in the file) override the file.

    Raises RequestError: with line and column where the text is not YAML, else with all mistakes, one a line.
    """
    data, places = load_file(text, where=where, flags=flags)
    return from_mapping(data, places=places, flags=flags, read_profile=read_profile)


def limits_from_yaml(text: str, *, where: str, bench: BenchName, read_profile: ProfileReader) -> Campaign:
    """Parse a campaign that has only the limits of a file, for hosts of a bench. Raises RequestError as `from_yaml`."""
    data, places = load_file(text, where=where)
    if "limits" not in data:
        raise RequestError(f"{where} has no key `limits`", next_step="`ptp-harness campaign keys limits` explains it")
    rest = {"instance_types": ["any"], **({"inventory": "any"} if bench is BenchName.HOSTS else {})}
    return from_mapping({"bench": bench, "limits": data["limits"], **rest}, places=places, read_profile=read_profile)


def load_file(text: str, *, where: str, flags: Mapping[str, Any] | None = None) -> tuple[Mapping[str, Any], Places]:
    """Load the keys of a campaign file, and their places. Raises RequestError where the text holds no keys."""
    loaded = strict_yaml.load(text, where=where, next_step=_KEYS_HINT)
    if not isinstance(loaded.data, dict):
        raise RequestError(
            f"{where}: a campaign is a list of `key: value` lines, such as `instance_types: [lab.phc]`",
            next_step=_KEYS_HINT,
        )
    places = Places(where=where, lines=loaded.lines, flags=flags or {})
    return {input_checks.show_key(key): value for key, value in loaded.data.items()}, places


def from_mapping(
    data: Mapping[str, Any],
    *,
    places: Places | None = None,
    flags: Mapping[str, Any] | None = None,
    read_profile: ProfileReader = refuse_profile,
) -> Campaign:
    """Parse a campaign from plain data. Raises RequestError that names all mistakes together.

    `read_profile` reads a profile that the limits name; without it there is none.
    """
    places = places or Places()
    merged = merge_flags(data, flags or {})
    if unfit := input_checks.find_unfit_text(merged):
        raise _request_error(
            [Mistake(path=text.path, problem=text.problem, remedy=text.remedy) for text in unfit], places
        )
    try:
        file = CampaignFile.model_validate(merged)
    except ValidationError as error:
        mistake_list = file_mistakes.describe_errors(error.errors(), FILE_SCHEMA)
        raise _request_error(mistake_list + _mistakes_in_types(merged), places) from error
    profiles, profile_mistakes = _read_profiles(file.limits.get(PROFILE, ()), read_profile)
    mistake_list = [
        *_mistakes_in_driver(file.driver),
        *_mistakes_in_limits(_quantities(file.limits)),
        *profile_mistakes,
        *_mistakes_in_measure(file),
        *_mistakes_in_bench(file),
        *_mistakes_in_select(file),
        *_mistakes_in_disturbances(file),
        *_mistakes_in_read_only(file),
        *_mistakes_in_types(merged),
        *_mistakes_in_expect(file),
    ]
    if mistake_list:
        raise _request_error(mistake_list, places)
    return Campaign(
        bench=file.bench,
        inventory=file.inventory,
        instance_types=file.instance_types,
        select=_select(file),
        cloud=_cloud(file),
        depth=file.depth,
        driver=_driver(file.driver),
        measure_duration_s=_measure_duration_s(file),
        measure_interval_s=file.measure.interval,
        requirements=limits.requirements(file.bench, _quantities(file.limits)),
        keep=file.keep,
        read_only=file.read_only,
        parallel=file.parallel,
        clock_names=file.clock_names,
        profiles=profiles,
        expect=file.expect,
        measure_readings=file.measure.readings,
        disturbances=file.disturbances,
    )


def merge_flags(data: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Merge flags over the file; a group such as `measure` is merged key by key."""
    groups = {key: {**data[key], **flags[key]} for key in flags if _are_groups(data.get(key), flags[key])}
    return {**data, **flags, **groups}


def _are_groups(*values: object) -> bool:
    return all(isinstance(value, dict) for value in values)


def _measure_duration_s(file: CampaignFile) -> float:
    return file.measure.duration or traits_of(file.bench).measure_s


def _select(file: CampaignFile) -> Selection | None:
    return None if file.select is None else Selection(**dict(file.select))


def _cloud(file: CampaignFile) -> CloudOptions:
    return CloudOptions(
        region=file.region, image=file.image, placement=file.placement, lease_s=file.lease, **dict(file.ec2)
    )


def _driver(driver: DriverKeys) -> DriverChoice:
    if driver.archive is not None:
        return DriverChoice(source=DriverSource.ARCHIVE, value=driver.archive, sha256=driver.sha256)
    if driver.release is not None:
        return DriverChoice(source=DriverSource.RELEASE, value=driver.release, sha256=driver.sha256)
    return DriverChoice(source=DriverSource.DISTRIBUTION)


# --- messages about mistakes -----------------------------------------------------------------------------------------


def _request_error(mistake_list: Sequence[Mistake], places: Places) -> RequestError:
    next_step = _KEYS_HINT if places.is_file else "`ptp-harness run --help` explains the flags"
    return mistakes.refuse(mistake_list, places, next_step=next_step)


def _mistakes_in_limits(quantities: Mapping[str, Mapping[str, float]]) -> list[Mistake]:
    return [
        Mistake(
            path=("limits", quantity),
            problem="names no statistic",
            remedy=f"write {file_schema.join_alternatives(limits.STATISTICS[quantity])} with its limit",
        )
        for quantity, statistics in quantities.items()
        if not statistics
    ]


def _quantities(written: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Return the limits by quantity, without the names of profiles."""
    return {quantity: statistics for quantity, statistics in written.items() if quantity != PROFILE}


def _read_profiles(names: Sequence[str], read_profile: ProfileReader) -> tuple[tuple[Profile, ...], list[Mistake]]:
    """Read each profile once, and describe those that cannot be read."""
    profiles: list[Profile] = []
    mistake_list: list[Mistake] = []
    for name in dict.fromkeys(names):
        try:
            profiles.append(read_profile(name))
        except RequestError as error:
            mistake_list.append(Mistake(path=("limits", PROFILE), problem=error.message, remedy=error.next_step))
    return tuple(profiles), mistake_list


def _mistakes_in_driver(driver: DriverKeys) -> list[Mistake]:
    sources = [name for name in ("release", "archive") if getattr(driver, name) is not None]
    mistake_list: list[Mistake] = []
    if len(sources) > 1:
        mistake_list.append(_mistake("driver", "names both a release and an archive", "leave one of them out"))
    if driver.source is not None and driver.source is not DriverSource.DISTRIBUTION and driver.source not in sources:
        key = driver.source.value
        mistake_list.append(_mistake("driver.source", f"is {key}, and driver.{key} is missing", f"add driver.{key}"))
    if driver.source is DriverSource.DISTRIBUTION and sources:
        problem = f"is distribution, and driver.{sources[0]} is given too"
        mistake_list.append(_mistake("driver.source", problem, "leave one of them out"))
    if driver.sha256 is not None and not sources:
        problem = "is given without driver.archive or driver.release"
        mistake_list.append(_mistake("driver.sha256", problem, "add the archive or release that has this checksum"))
    if driver.archive is not None and driver.sha256 is None:
        mistake_list.append(
            _mistake("driver.archive", "is given without driver.sha256", "add the checksum of the archive")
        )
    return mistake_list


def _mistakes_in_bench(file: CampaignFile) -> list[Mistake]:
    if file.bench is BenchName.HOSTS and file.inventory is None:
        return [_mistake("bench", "hosts needs an inventory", "add `inventory: FILE`")]
    if file.bench is not BenchName.HOSTS and file.inventory is not None:
        return [_mistake("inventory", f"is given, and the bench is {file.bench}, not hosts", "write `bench: hosts`")]
    if file.bench is BenchName.EC2:
        return _mistakes_in_access(file)
    ec2_keys = {"region", "image", "placement", "ec2"} & file.model_fields_set
    problem = f"is given, and the bench is {file.bench}, not ec2"
    return [_mistake(key, problem, "leave it out, or write `bench: ec2`") for key in sorted(ec2_keys)]


def _mistakes_in_access(file: CampaignFile) -> list[Mistake]:
    alias = ALIASES.get(file.image or "")
    if file.ec2.access is not Access.SSM or alias is None or alias.ssm_agent:
        return []
    others = ", ".join(name for name, other in ALIASES.items() if other.ssm_agent)
    problem = f"{file.image} has no SSM agent, which `access: ssm` needs"
    return [_mistake("image", problem, f"choose one of {others}, or write `ec2: {{access: ssh}}`")]


def _mistakes_in_select(file: CampaignFile) -> list[Mistake]:
    select = _select(file)
    if select is None or file.select is None:
        return []
    if file.bench is not BenchName.EC2:
        problem = f"is given, and the bench is {file.bench}, not ec2"
        return [_mistake("select", problem, "name types in instance_types, or write `bench: ec2`")]
    if not file.select.model_fields_set:
        remedy = "add a condition; `select: {phc: any}` takes every type of the Region"
        return [_mistake("select", "has no condition", remedy)]
    return [_mistake("select", message, "change one of them") for message in selection.selection_mistakes(select)]


def _mistakes_in_read_only(file: CampaignFile) -> list[Mistake]:
    mistake_list: list[Mistake] = []
    if file.read_only and file.depth is Depth.FULL:
        problem = "full reboots the hosts, which read_only does not allow"
        mistake_list.append(_mistake("depth", problem, "leave one of them out"))
    if file.read_only and _driver(file.driver).source is not DriverSource.DISTRIBUTION:
        problem = "asks for another driver to be installed, which read_only does not allow"
        mistake_list.append(_mistake("driver", problem, "leave one of them out"))
    return mistake_list


def _mistakes_in_disturbances(file: CampaignFile) -> list[Mistake]:
    names, mistake_list = file.disturbances, list[Mistake]()
    if names and file.depth is not Depth.FULL:
        problem = f"are named, and depth {file.depth} disturbs no clock"
        mistake_list.append(_mistake("disturbances", problem, "write `depth: full`, or leave them out"))
    if len(set(names)) < len(names):
        mistake_list.append(_mistake("disturbances", "name one twice", "name each once"))
    outside = [name for name in names if KINDS[name].by_bench] if not traits_of(file.bench).disturbs else []
    if outside:
        problem = f"name {', '.join(outside)}, which only the lab can cause: it is done from outside of the host"
        mistake_list.append(_mistake("disturbances", problem, "leave it out, or write `bench: lab`"))
    return mistake_list


def _mistakes_in_types(data: Mapping[str, Any]) -> list[Mistake]:
    if "instance_types" in data or "select" in data:
        return []
    if data.get("bench") == BenchName.EC2:
        return [Mistake(path=(), problem="neither instance_types nor select is given", remedy="add one of them")]
    return [_mistake("instance_types", "is missing", "add a list such as [lab.phc, lab.no-phc]")]


def _mistakes_in_expect(file: CampaignFile) -> list[Mistake]:
    """Find expected types that no host has; those that conditions select are not known yet."""
    unknown = [name for name in file.expect if name not in file.instance_types] if file.select is None else []
    return [
        Mistake(
            path=("expect", name),
            problem="is no type of this campaign",
            remedy=mistakes.suggest(name, file.instance_types, otherwise="add it to instance_types, or leave it out"),
        )
        for name in unknown
    ]


def _mistakes_in_measure(file: CampaignFile) -> list[Mistake]:
    if file.measure.interval <= _measure_duration_s(file):
        return []
    problem = f"{file.measure.interval:g} s is longer than the {_measure_duration_s(file):g} s of measuring"
    return [_mistake("measure.interval", problem, "shorten it, or measure longer")]


def _mistake(path: str, problem: str, remedy: str) -> Mistake:
    return Mistake(path=tuple(path.split(".")), problem=problem, remedy=remedy)
