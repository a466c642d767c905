"""Campaign files and flags: whole values, and every mistake at once in one sentence."""

import time
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.campaign import key_table, limits
from harness.campaign.campaign import Campaign, from_mapping, from_yaml
from harness.campaign.campaign_file import json_schema
from harness.campaign.choices import DriverChoice, DriverSource, Keep
from harness.campaign.fields import parse_duration_s
from harness.campaign.mistakes import Places
from harness.campaign.selection import PhcClaim, Selection
from harness.errors import RequestError
from harness.model import Depth
from harness.model.bench_traits import BENCHES, BenchName
from harness.model.cloud import CloudOptions
from harness.model.controller_address import NETWORKS
from harness.model.ec2_enums import Access, Architecture, Market

FULL = """
bench: ec2
region: eu-north-1
instance_types: [m7i.large, c8g.large]
image: al2023
placement: precision-time
ec2:
  zones: [eu-north-1b, eu-north-1a]
  subnet: subnet-0a1b
  access: ssm
  controller_cidr: 192.0.2.7/32
  instance_profile: session-manager
  user: admin
  market: spot
  other_sizes: true
  volume_gib: 20
  owner: ada
depth: quick
driver: {release: 2.17.0g}
measure: {duration: 10m, interval: 2s}
limits: {error_bound_ns: {max: 40_000}, offset_ns: {p99_abs: 500}}
keep: supported
lease: 90m
read_only: false
parallel: 3
clock_names: [ena-ptp-*, igb-*]
"""


def test_every_key() -> None:
    assert from_yaml(FULL, where="c.yaml") == Campaign(
        bench="ec2",
        inventory=None,
        instance_types=("m7i.large", "c8g.large"),
        select=None,
        cloud=CloudOptions(
            region="eu-north-1",
            image="al2023",
            user="admin",
            placement="precision-time",
            zones=("eu-north-1b", "eu-north-1a"),
            subnet="subnet-0a1b",
            access=Access.SSM,
            controller_cidr="192.0.2.7/32",
            instance_profile="session-manager",
            market=Market.SPOT,
            other_sizes=True,
            volume_gib=20,
            owner="ada",
            lease_s=5400.0,
        ),
        depth=Depth.QUICK,
        driver=DriverChoice(source=DriverSource.RELEASE, value="2.17.0g"),
        measure_duration_s=600.0,
        measure_interval_s=2.0,
        requirements=limits.requirements("ec2", {"error_bound_ns": {"max": 40_000}, "offset_ns": {"p99_abs": 500}}),
        keep=Keep.SUPPORTED,
        read_only=False,
        parallel=3,
        clock_names=("ena-ptp-*", "igb-*"),
    )


def test_defaults_of_the_lab() -> None:
    assert from_mapping({"instance_types": ["lab.phc"]}) == Campaign(
        bench="lab",
        inventory=None,
        instance_types=("lab.phc",),
        select=None,
        cloud=CloudOptions(),
        depth=Depth.STANDARD,
        driver=DriverChoice(source=DriverSource.DISTRIBUTION),
        measure_duration_s=60.0,
        measure_interval_s=1.0,
        requirements=limits.LAB and limits.requirements("lab"),
        keep=Keep.NONE,
        read_only=False,
        parallel=None,
        clock_names=("ena-ptp-*",),
    )


@pytest.mark.parametrize("bench", BenchName)
def test_how_long_to_measure_depends_on_the_bench(bench: BenchName) -> None:
    inventory = {"inventory": "hosts.yaml"} if bench is BenchName.HOSTS else {}
    requested = from_mapping({"bench": bench.value, "instance_types": ["x"], **inventory})
    assert requested.measure_duration_s == BENCHES[bench].measure_s


def test_flags_go_before_the_file_key_by_key() -> None:
    flags = {"keep": "none", "depth": "quick", "measure": {"duration": "30s"}}
    found = from_yaml(FULL, where="c.yaml", flags=flags)
    seen = (found.keep, found.depth, found.measure_duration_s, found.measure_interval_s, found.cloud.region)
    assert seen == (Keep.NONE, Depth.QUICK, 30.0, 2.0, "eu-north-1")


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("60s", 60.0), ("5m", 300.0), ("1.5 h", 5400.0), ("1d", 86400.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("value", ["", "60", "0s", "-5s", "5 minutes", "5mm", "s", "1e3s", "nan s", 60, None, True, []])
def test_not_durations(value: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration_s(value)


DRIVERS: list[tuple[dict[str, Any], DriverChoice | str]] = [
    ({}, DriverChoice(source=DriverSource.DISTRIBUTION)),
    ({"source": "distribution"}, DriverChoice(source=DriverSource.DISTRIBUTION)),
    (
        {"archive": "ena.tar.gz", "sha256": "a" * 64},
        DriverChoice(source=DriverSource.ARCHIVE, value="ena.tar.gz", sha256="a" * 64),
    ),
    ({"source": "release"}, "driver.source: is release, and driver.release is missing; add driver.release"),
    (
        {"source": "distribution", "release": "2.17.0g"},
        "driver.source: is distribution, and driver.release is given too; leave one of them out",
    ),
    (
        {"release": "2.17.0g", "archive": "x", "sha256": "a" * 64},
        "driver: names both a release and an archive; leave one of them out",
    ),
    (
        {"archive": "ena.tar.gz"},
        "driver.archive: is given without driver.sha256; add the checksum of the archive",
    ),
    (
        {"sha256": "a" * 64},
        "driver.sha256: is given without driver.archive or driver.release; "
        "add the archive or release that has this checksum",
    ),
]


@pytest.mark.parametrize(("driver", "wanted"), DRIVERS)
def test_drivers(driver: dict[str, Any], wanted: DriverChoice | str) -> None:
    try:
        found: object = from_mapping({"instance_types": ["x"], "driver": driver}).driver
    except RequestError as refused:
        found = refused.message.removeprefix("the command line: ")
    assert found == wanted


def refusal(text: str, flags: dict[str, Any] | None = None) -> str:
    with pytest.raises(RequestError) as refused:
        from_yaml(text, where="c.yaml", flags=flags)
    return refused.value.message


def refused_lines(text: str, flags: dict[str, Any] | None = None) -> list[str]:
    """The lines about mistakes, below the line that counts them."""
    header, *lines = refusal(text, flags).splitlines()
    assert header == f"{len(lines)} mistake{'s' * (len(lines) > 1)} in campaign c.yaml"
    return lines


def test_every_mistake_is_named_at_once_with_its_line() -> None:
    text = """
bench: lap
instance_type: [x]
measure: {duraton: 60s,
          interval: 5}
limits:
  offset: {p99_abs: 3}
  offset_ns: {p99abs: 2, max: x}
depth: dep
parallel: 0
"""
    assert refused_lines(text) == [
        "c.yaml:1: instance_types: is missing; add a list such as [lab.phc, lab.no-phc]",
        f"c.yaml:2: bench: is 'lap'; write {', '.join([*BenchName][:-1])} or {[*BenchName][-1]} (did you mean 'lab'?)",
        "c.yaml:3: instance_type: unknown key; did you mean 'instance_types'?",
        "c.yaml:4: measure.duraton: unknown key; did you mean 'duration'?",
        'c.yaml:5: measure.interval: is 5; write a duration with its unit, such as "60s", "5m" or "2h"',
        "c.yaml:7: limits.offset: unknown key; did you mean 'offset_ns'?",
        "c.yaml:8: limits.offset_ns.max: is 'x'; write a time such as 500ns, 20us or 1.5ms, or a number of ns",
        "c.yaml:8: limits.offset_ns.p99abs: unknown key; did you mean 'p99_abs'?",
        "c.yaml:9: depth: is 'dep'; write quick, standard or full",
        "c.yaml:10: parallel: is 0; write a whole number from 1 to 1000",
    ]


def test_a_mistake_in_a_flag_names_the_flag_and_one_in_the_file_its_line() -> None:
    text = "instance_types: [x]\nmeasure:\n  interval: 1\nlease: soon\n"
    flags = {"measure": {"duration": "2"}, "depth": "deep", "lease": "1h"}
    assert refused_lines(text, flags) == [
        "the command line: --depth: is 'deep'; write quick, standard or full",
        'the command line: --duration: is \'2\'; write a duration with its unit, such as "60s", "5m" or "2h"',
        'c.yaml:3: measure.interval: is 1; write a duration with its unit, such as "60s", "5m" or "2h"',
    ]


def test_of_many_mistakes_the_first_twenty_of_the_file_are_named() -> None:
    text = "".join(f"wrong{number}: 1\n" for number in range(25)) + "instance_types: [x]\n"
    header, *lines, last = refusal(text).splitlines()
    assert (header, len(lines), last) == ("25 mistakes in campaign c.yaml", 20, "and 5 more")
    assert [line.split(":")[1] for line in lines] == [str(number) for number in range(1, 21)]


PYDANTIC_WORDS = ("input should", "value error", "valid string", "greater than", "should have", "assertion")
JUNK: list[Any] = [None, True, 7, -1, 1e300, "", "x y", "soon", [], [[]], {}, {"x": 1}, "{[}", 10**30]


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_no_message_about_any_key_is_in_the_words_of_pydantic(junk: Any) -> None:
    for row in key_table.list_keys():
        written: dict[str, Any] = {"bench": "ec2", "instance_types": ["m7i.large"]}
        inner = written
        for key in row.path[:-1]:
            inner = inner.setdefault(str(key), {})
        inner[str(row.path[-1])] = junk
        try:
            from_mapping(written, places=Places(where="c.yaml"))
        except RequestError as refused:
            message = refused.message
            assert f"c.yaml:1: {row.key}" in message
            assert not any(words in message.lower() for words in PYDANTIC_WORDS), message
            assert "; " in message, "it says what to do"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: [1\nb: }", "c.yaml:2:2: expected ',' or ']', but got ':'"),
        ("a: 'x", "c.yaml:1:6: found unexpected end of stream"),
        ("a: @x", "c.yaml:1:4: found character '@' that cannot start any token"),
        ("a: 1\n--- \nb: 2", "c.yaml:2:1: but found another document"),
    ],
)
def test_yaml_errors_have_their_place(text: str, wanted: str) -> None:
    assert refusal(text) == wanted


@pytest.mark.parametrize("text", ["", "- lab.phc", "lab.phc", "7"])
def test_a_file_that_is_no_campaign(text: str) -> None:
    assert refusal(text) == "c.yaml: a campaign is a list of `key: value` lines, such as `instance_types: [lab.phc]`"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("instance_types: lab.phc", "instance_types: is 'lab.phc'; write a list such as [lab.phc, lab.no-phc]"),
        ("instance_types: [7]", "instance_types.0: is 7; write the name of a type, host or group"),
        ("{instance_types: [x], bench: hosts}", "bench: hosts needs an inventory; add `inventory: FILE`"),
        (
            "{instance_types: [x], inventory: i.yaml}",
            "inventory: is given, and the bench is lab, not hosts; write `bench: hosts`",
        ),
        (
            "{instance_types: [x], read_only: true, driver: {release: 2.17.0}}",
            "driver: asks for another driver to be installed, which read_only does not allow; leave one of them out",
        ),
        (
            "{instance_types: [x], driver: {release: newest}}",
            "driver.release: is 'newest'; write the number of a release such as 2.17.0g",
        ),
        (
            "{instance_types: [x], read_only: true, depth: full}",
            "depth: full reboots the hosts, which read_only does not allow; leave one of them out",
        ),
        ("{instance_types: [x], read_only: yes please}", "read_only: is 'yes please'; write true or false"),
        ("{instance_types: [x], keep: }", "keep: has no value; write none, supported or ask"),
        (
            "{instance_types: [x], measure: {duration: 5s, interval: 10s}}",
            "measure.interval: 10 s is longer than the 5 s of measuring; shorten it, or measure longer",
        ),
        (
            "{instance_types: [x], limits: {offset_ns: {p99_abs: .nan}}}",
            "limits.offset_ns.p99_abs: is nan; write a time such as 500ns, 20us or 1.5ms, or a number of ns",
        ),
        (
            "{instance_types: [x], limits: {offset_ns: {}}}",
            "limits.offset_ns: names no statistic; write p99_abs, median_abs or max with its limit",
        ),
        (
            "{instance_types: [x], limits: {offset_ns: {max: '500_000'}}}",
            "limits.offset_ns.max: is '500_000'; write a time such as 500ns, 20us or 1.5ms, or a number of ns",
        ),
        (
            "{instance_types: [x], limits: {phc_read_success: {min: 99%}}}",
            "limits.phc_read_success.min: is '99%'; write a number such as 0.99",
        ),
        (
            "{instance_types: [x], limits: {second_opinion_drift_ppb: {max: 5us}}}",
            "limits.second_opinion_drift_ppb.max: is '5us'; "
            "write a frequency such as 800ppb or 50ppm, or a number of ppb",
        ),
        (
            "{instance_types: [x], lease: forever}",
            'lease: is \'forever\'; write a duration with its unit, such as "60s", "5m" or "2h"',
        ),
        (
            "instance_types: []",
            "instance_types: is empty; write a list such as [lab.phc, lab.no-phc], or leave the key out",
        ),
        (
            "{instance_types: [x], clock_names: ['a\u00adb']}",
            "clock_names.0: holds U+00AD, which is no printable character; remove it",
        ),
    ],
)
def test_single_mistakes(text: str, wanted: str) -> None:
    assert refused_lines(text) == [f"c.yaml:1: {wanted}"]


LIMITS = [
    ("offset_ns", "max", "20ns", 20.0),
    ("offset_ns", "p99_abs", "500us", 500_000.0),
    ("offset_ns", "median_abs", "1.5 ms", 1_500_000.0),
    ("error_bound_ns", "max", "0.1us", 100.0),
    ("chrony_bound_ns", "p99", "2s", 2_000_000_000.0),
    ("second_opinion_drift_ppb", "max", "50ppm", 50_000.0),
    ("second_opinion_drift_ppb", "max", "800ppb", 800.0),
    ("convergence_s", "max", "500ms", 0.5),
    ("convergence_s", "max", "2m", 120.0),
    ("convergence_s", "max", 90, 90.0),
    ("offset_ns", "max", 1500, 1500.0),
    ("phc_read_success", "min", 0.98, 0.98),
]


@pytest.mark.parametrize(("quantity", "statistic", "written", "value"), LIMITS)
def test_a_limit_may_have_a_unit(quantity: str, statistic: str, written: object, value: float) -> None:
    text = yaml.safe_dump({"instance_types": ["x"], "limits": {quantity: {statistic: written}}})
    requirements = from_yaml(text, where="c.yaml").requirements
    (limit,) = [limit for limit in requirements if limit.quantity == quantity]
    assert (limit.statistic, limit.value, limit.unit) == (statistic, value, limits.UNITS[quantity])
    jsonschema.validate(yaml.safe_load(text), json_schema())


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
"""A few hundred bytes that stand for 9^8 texts."""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (LAUGHS, "c.yaml:1:4: aliases such as '&a' are not allowed: write the value out"),
        ("instance_types: [x]\nimage: *a\n", "c.yaml:2:8: aliases such as '*a' are not allowed: write the value out"),
        ("instance_types: [x]\nkeep: none\nkeep: ask\n", "c.yaml:3:1: the key 'keep' appears twice"),
        ("instance_types: [x]\nec2: {owner: a, owner: b}", "c.yaml:2:17: the key 'owner' appears twice"),
        ("instance_types: " + "[" * 5000, "c.yaml:1:25: nested more than 8 deep"),
        ("instance_types: [" + "x" * 5000 + "]", "c.yaml:1:18: a text of more than 4096 characters"),
        ("# " + "x" * 300_000, "c.yaml: more than 262144 bytes are no campaign"),
    ],
    ids=["a bomb", "an alias", "a key twice", "a key twice in a group", "deep", "a long text", "a long file"],
)
def test_what_would_be_larger_or_other_than_it_looks_is_refused(text: str, wanted: str) -> None:
    assert refusal(text) == wanted


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "instance_types: [x]\nparallel: 0x" + "f" * 4000,
        "instance_types: [" + ", ".join(["[[[[1]]]]"] * 4000) + "]",
        "instance_types: [x]\nlimits: {" + ", ".join(f"quantity{number}: 1" for number in range(5000)) + "}",
        "instance_types: [x]\n" + "\n".join(f"{'k' * 90}{number}: 1" for number in range(2000)),
        "instance_types: [x]\nlease: " + "9" * 4000,
    ],
    ids=["a number", "lists", "limits", "keys", "a duration"],
)
def test_no_refusal_is_as_long_as_what_is_refused(text: str) -> None:
    begun = time.monotonic()
    assert len(refusal(text)) < 8000
    assert time.monotonic() - begun < 20


words = st.text(alphabet=st.sampled_from("abelnms_:[]{}-,.&*!#'\"\n 0123%@|>?"), max_size=60)


@given(
    text=st.one_of(
        st.text(max_size=60), words, st.sampled_from(["a: !!int x", "!!timestamp x", "a: !!bool x", "? [a]: b"])
    )
)
def test_any_text_is_a_campaign_or_refused_in_one_sentence(text: str) -> None:
    try:
        found: object = from_yaml(text, where="c.yaml")
    except RequestError as refused:
        found = refused
    assert isinstance(found, Campaign | RequestError)


keys = st.sampled_from(
    [
        "bench",
        "instance_types",
        "select",
        "phc",
        "family",
        "limit",
        "measure",
        "limits",
        "driver",
        "lease",
        "depth",
        "keep",
        "x",
    ]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["5m", "ec2"])
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | keys, inner, max_size=3),
    max_leaves=8,
)


@given(written=st.dictionaries(keys, trees, max_size=6))
def test_any_mapping_is_a_campaign_or_refused(written: dict[str, Any]) -> None:
    try:
        found: object = from_mapping(written)
    except RequestError as refused:
        found = refused
    assert isinstance(found, Campaign | RequestError)


# --- select ---------------------------------------------------------------------------------------------------------

SELECT = """
bench: ec2
instance_types: [m7i.large]
select:
  phc: supported
  family: [c8*, r7i]
  size: large
  arch: arm64
  min_vcpus: 2
  max_vcpus: 8
  min_memory_gib: 4
  max_memory_gib: 64
  max_price_per_hour: 0.5
  current_generation: true
  exclude: [c8gn, "*.metal*"]
  one_size_per_family: true
  limit: 5
"""


def test_every_key_of_select() -> None:
    found = from_yaml(SELECT, where="c.yaml")
    assert (found.instance_types, found.select) == (
        ("m7i.large",),
        Selection(
            phc=PhcClaim.SUPPORTED,
            family=("c8*", "r7i"),
            size=("large",),
            arch=Architecture.ARM64,
            min_vcpus=2,
            max_vcpus=8,
            min_memory_gib=4.0,
            max_memory_gib=64.0,
            max_price_per_hour=0.5,
            current_generation=True,
            exclude=("c8gn", "*.metal*"),
            one_size_per_family=True,
            limit=5,
        ),
    )
    jsonschema.validate(yaml.safe_load(SELECT), json_schema())


def test_select_may_stand_without_types() -> None:
    text = "{bench: ec2, select: {phc: any}}"
    found = from_yaml(text, where="c.yaml")
    assert (found.instance_types, found.select) == ((), Selection())
    jsonschema.validate(yaml.safe_load(text), json_schema())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{bench: ec2}", ["neither instance_types nor select is given; add one of them"]),
        (
            "{select: {phc: any}}",
            ["select: is given, and the bench is lab, not ec2; name types in instance_types, or write `bench: ec2`"],
        ),
        (
            "{bench: ec2, select: {}}",
            ["select: has no condition; add a condition; `select: {phc: any}` takes every type of the Region"],
        ),
        (
            "{bench: ec2, select: {phc: yes, familly: m7i, arch: mips, limit: 0, max_price_per_hour: cheap}}",
            [
                "select.phc: is true; write supported, unsupported, unknown or any",
                "select.arch: is 'mips'; write x86_64 or arm64",
                "select.max_price_per_hour: is 'cheap'; write a number above 0",
                "select.limit: is 0; write a whole number from 1 to 1000000",
                "select.familly: unknown key; did you mean 'family'?",
            ],
        ),
        (
            "{bench: ec2, select: {min_vcpus: 8, max_vcpus: 4, min_memory_gib: 8, max_memory_gib: 7.5}}",
            [
                "select: min_vcpus of 8 is more than max_vcpus of 4; change one of them",
                "select: min_memory_gib of 8 is more than max_memory_gib of 7.5; change one of them",
            ],
        ),
        (
            "{bench: ec2, select: {family: [M7i]}}",
            ["select.family.0: is 'M7i'; write a pattern such as m7i, c8* or [cr]7i"],
        ),
        (
            "{bench: ec2, select: {family: []}}",
            [
                "select.family: is empty; write a pattern such as m7i, c8* or [cr]7i or a list such as [c8*, r7i], "
                "or leave the key out"
            ],
        ),
        ("{bench: ec2, select: phc}", ["select: is 'phc'; write a group of `key: value` lines"]),
    ],
)
def test_mistakes_in_select(text: str, wanted: list[str]) -> None:
    assert refused_lines(text) == [f"c.yaml:1: {line}" for line in wanted]


# --- the schema of campaign files -----------------------------------------------------------------------------------

WHOLE = """
bench: lab
instance_types: [lab.phc, lab.driver-off]
measure: {duration: 60s, interval: 1s}
limits: {offset_ns: {p99_abs: 50us}}
keep: none
lease: 2h
"""


def test_the_schema_takes_a_right_file() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(WHOLE), schema)
    assert from_yaml(WHOLE, where="x").measure_duration_s == 60


@pytest.mark.parametrize(
    "wrong",
    [
        "{}",
        "{instance_types: []}",
        "{instance_types: [x], measures: {}}",
        "{instance_types: [x], lease: 7}",
        "{instance_types: [x], lease: soon}",
        "{instance_types: [x], limits: {offset: {max: 1}}}",
        "{instance_types: [x], limits: {offset_ns: {mean: 1}}}",
        "{instance_types: [x], limits: {offset_ns: {}}}",
        "{instance_types: [x], limits: {offset_ns: {max: 5ppm}}}",
        "{instance_types: [x], limits: {phc_read_success: {min: 99%}}}",
        "{bench: ec2, select: {max_price_per_hour: 0}}",
        "{instance_types: [x], keep: maybe}",
        "{instance_types: [x], parallel: 0}",
        "{bench: ec2, select: {phc: perhaps}}",
        "{bench: ec2, select: {family: [M7i]}}",
        "{instance_types: [-x]}",
        "{instance_types: [x], clock_names: ['{{ x }}']}",
        "{bench: ec2, instance_types: [x], ec2: {user: -oProxyCommand=x}}",
    ],
)
def test_the_schema_refuses_what_the_command_refuses(wrong: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(wrong), json_schema())
    with pytest.raises(RequestError):
        from_yaml(wrong, where="x")


@pytest.mark.parametrize("key", ["region: eu-north-1", "image: al2023", "placement: none", "ec2: {market: spot}"])
def test_what_only_ec2_knows_is_refused_elsewhere(key: str) -> None:
    with pytest.raises(RequestError, match=f"{key.partition(':')[0]}: is given, and the bench is lab, not ec2"):
        from_yaml(f"instance_types: [lab.phc]\n{key}\n", where="c.yaml")


def test_session_manager_needs_an_image_with_its_agent() -> None:
    ask = "{{bench: ec2, instance_types: [x], image: {}, ec2: {{access: ssm}}}}"
    assert refusal(ask.format("debian-13")) == (
        "1 mistake in campaign c.yaml\nc.yaml:1: image: debian-13 has no SSM agent, which `access: ssm` needs; "
        "choose one of al2023, ubuntu-22.04, ubuntu-24.04, or write `ec2: {access: ssh}`"
    )
    for image in ("al2023", "ubuntu-24.04", "ami-0123456789abcdef0"):
        assert from_yaml(ask.format(image), where="c.yaml").cloud.access is Access.SSM


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{zone: [a]}", "ec2.zone: unknown key; did you mean 'zones'?"),
        ("{market: auction}", "ec2.market: is 'auction'; write on-demand or spot"),
        ("{controller_cidr: 0.0.0.0/0}", f"ec2.controller_cidr: is '0.0.0.0/0'; write {NETWORKS}"),
        ("{controller_cidr: 10.0.0.0/15}", f"ec2.controller_cidr: is '10.0.0.0/15'; write {NETWORKS}"),
        ("{controller_cidr: 192.0.2.7}", f"ec2.controller_cidr: is '192.0.2.7'; write {NETWORKS}"),
        ("{controller_cidr: 192.0.2.7/24}", f"ec2.controller_cidr: is '192.0.2.7/24'; write {NETWORKS}"),
        ("{controller_cidr: 192.0.2.256/32}", f"ec2.controller_cidr: is '192.0.2.256/32'; write {NETWORKS}"),
        ("{volume_gib: 4}", "ec2.volume_gib: is 4; write a whole number from 8 to 16384"),
        ("spot", "ec2: is 'spot'; write a group of `key: value` lines"),
    ],
)
def test_mistakes_in_what_ec2_is_told(text: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        from_yaml(f"bench: ec2\ninstance_types: [m7i.large]\nec2: {text}\n", where="c.yaml")
    assert f"c.yaml:3: {words}" in caught.value.message
