"""Does the role chrony_phc see a chronyd that drops the clock's readings?"""

from collections.abc import Callable
from types import ModuleType

import pytest

SERVER = "^,?,10.0.2.2,1,1,377,2,-0.001161911,-0.001161911,0.000898655"


@pytest.mark.parametrize(
    ("poll", "reach", "age_s", "hardly"),
    [
        (0, "0", 1.0, False),  # chronyd has only just started
        (0, "0", 4.9, False),
        (0, "0", 5.0, True),
        (0, "1", 5.0, False),
        (0, "377", 3600.0, False),
        (0, "360", 3600.0, False),
        (0, "120", 3600.0, True),
        (0, "0", 3600.0, True),
        (3, "1", 20.0, False),
        (3, "0", 20.0, True),
        (-2, "7", 20.0, True),
        (-2, "17", 20.0, False),
    ],
)
def test_readings_that_are_hardly_taken(
    load: Callable[[str], ModuleType], poll: int, reach: str, age_s: float, hardly: bool
) -> None:
    module = load("chrony_phc/library/chrony_phc.py")
    line = f"#,?,PHC0,0,{poll},{reach},12,-0.000035113,-0.000057847,0.000005110"
    assert module.most_readings_dropped(f"{line}\n{SERVER}\n", age_s) is hardly


@pytest.mark.parametrize("sources", ["", "506 Cannot talk to daemon\n", f"{SERVER}\n"])
def test_no_clock_among_the_sources_is_not_for_this_to_say(load: Callable[[str], ModuleType], sources: str) -> None:
    assert load("chrony_phc/library/chrony_phc.py").most_readings_dropped(sources, 3600.0) is False


TRACKING = (
    "50484330,PHC0,1,1795237501.1,{system},-0.000000084,0.0000001,-6.1,0.1,5.4,0.000300000,0.000091000,1.0,Normal"
)


@pytest.mark.parametrize(
    ("system", "low_ns", "high_ns", "refuted"),
    [
        ("0.000000000", -100_000, 100_000, False),
        ("0.000000000", 241_000, 441_000, False),  # the bound: 91 us + 300 us / 2
        ("0.000000000", 241_002, 441_000, True),
        ("0.000000000", -1_041_000, -841_000, True),
        ("-0.000600000", -1_041_000, -841_000, False),
        ("0.000600000", -1_041_000, -842_000, True),
    ],
)
def test_a_reading_may_refute_the_bound(
    load: Callable[[str], ModuleType], system: str, low_ns: int, high_ns: int, refuted: bool
) -> None:
    module = load("chrony_phc/library/chrony_phc.py")
    assert module.bound_refuted(TRACKING.format(system=system), low_ns, high_ns) is refuted


@pytest.mark.parametrize("tracking", ["", "506 Cannot talk to daemon\n", TRACKING.replace("PHC0", "192.0.2.1")])
def test_what_follows_no_phc_is_not_refuted(load: Callable[[str], ModuleType], tracking: str) -> None:
    module = load("chrony_phc/library/chrony_phc.py")
    assert module.bound_refuted(tracking.format(system="0"), 10**9, 10**9) is False


class Task(Exception):
    """A task that failed."""


class Asked:
    """What the module sees of Ansible."""

    def __init__(self, **params: str) -> None:
        good = {"device": "/dev/ptp_ena", "device_unit": r"dev-ptp\x2dena.device", "service": "chrony.service"}
        self.params = good | {"link_rules": ""} | params

    def fail_json(self, msg: str) -> None:
        raise Task(msg)


RULE = 'SUBSYSTEM=="ptp", ATTR{clock_name}=="%s", SYMLINK+="ptp_chrony", TAG+="systemd"'


@pytest.mark.parametrize("rules", ["", "# words\n" + RULE % "ena-ptp-*|KVM virtual PTP" + "\n"])
def test_rules_that_make_the_link(load: Callable[[str], ModuleType], rules: str) -> None:
    load("chrony_phc/library/chrony_phc.py").check_params(Asked(link_rules=rules))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("link_rules", RULE % 'x", RUN+="/bin/touch /x'),
        ("link_rules", RULE % "x\n" + RULE % "y"),
        ("link_rules", RULE % "x" + "\n" + RULE % "y"),
        ("link_rules", 'RUN+="/bin/touch /x"'),
        ("link_rules", "# words\r" + 'RUN+="/bin/touch /x"'),
        ("device", "/dev/x\n"),
        ("device", "x"),
        ("device_unit", "../x.device"),
        ("device_unit", "x/y.device"),
        ("service", "--root=/x.service"),
        ("service", "x.service\n"),
    ],
)
def test_what_is_more_than_a_name_is_refused(load: Callable[[str], ModuleType], name: str, value: str) -> None:
    with pytest.raises(Task, match=name):
        load("chrony_phc/library/chrony_phc.py").check_params(Asked(**{name: value}))


@pytest.mark.parametrize(
    ("complaint", "enforce", "told"),
    [
        ("Could not open /etc/chrony.conf : Permission denied", "1\n", True),
        ("Could not open /etc/chrony.conf : Permission denied", "0\n", False),
        ("Could not open /etc/chrony.conf : Permission denied", "", False),
        ("Could not open /dev/ptp_ena : No such device", "1", False),
    ],
)
def test_a_denial_of_selinux_says_how_it_is_found(
    load: Callable[[str], ModuleType], complaint: str, enforce: str, told: bool
) -> None:
    hint = load("chrony_phc/library/chrony_phc.py").explain_denial(complaint, enforce)
    assert ("ausearch -m avc -c chronyd" in hint) is told
