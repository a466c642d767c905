"""Describe each key of a campaign file, for its JSON schema and its documentation page."""

from collections.abc import Mapping

from harness.campaign.limits import STATISTICS
from harness.model.bench_traits import BENCHES
from harness.model.disturbances import KINDS
from harness.untrusted.input_checks import KeyPath

_QUANTITIES: Mapping[str, str] = {
    "offset_ns": "Offset of the system clock from its source, as chronyd reports it",
    "chrony_bound_ns": "chrony's bound: |offset| + root dispersion + root delay / 2",
    "error_bound_ns": "chrony's bound plus the error bound that the driver publishes",
    "phc_read_success": "Share of PHC readings that the driver served",
    "phc_offset_ns": "Offset of the system clock from the PHC, by the fastest reading of each burst",
    "second_opinion_offset_ns": "Offset of the system clock from an NTP server that does not follow the PHC",
    "second_opinion_drift_ppb": "Drift of the system clock against that NTP server",
    "convergence_s": "Time from the start of chronyd until it has converged",
}

_STATISTICS: Mapping[str, str] = {
    "p99_abs": "Limit for the 99th percentile of the absolute values",
    "median_abs": "Limit for the absolute value of the median",
    "p99": "Limit for the 99th percentile",
    "max": "Limit for the largest absolute value",
    "min": "Lower limit",
}

MEANINGS: Mapping[KeyPath, str] = {
    ("bench",): f"Source of hosts: {', '.join(f'{name} ({traits.hosts_are})' for name, traits in BENCHES.items())}",
    ("inventory",): "Ansible inventory that lists the hosts; required with the bench hosts, refused with others",
    ("region",): "Region of EC2; by default the Region of the AWS configuration",
    ("instance_types",): (
        "Types to qualify, in this order, one host for each; with the bench hosts, names of hosts or groups. "
        "Required unless select is given"
    ),
    ("select",): "Conditions that select types of the EC2 Region in addition to instance_types; a type must meet all",
    ("select", "phc"): "What the API must claim about the PTP hardware clock of a type; unknown: it makes no claim",
    ("select", "family"): "Families to take, as shell patterns",
    ("select", "size"): "Sizes to take, as shell patterns",
    ("select", "arch"): "Processor architecture",
    ("select", "min_vcpus"): "Least number of vCPUs",
    ("select", "max_vcpus"): "Largest number of vCPUs",
    ("select", "min_memory_gib"): "Least memory, in GiB",
    ("select", "max_memory_gib"): "Largest memory, in GiB",
    ("select", "max_price_per_hour"): "Highest price in USD per hour; a type with an unknown price is not selected",
    ("select", "current_generation"): "Whether to take only types of the current generation",
    ("select", "exclude"): "Types or families to leave out, as shell patterns",
    ("select", "one_size_per_family"): "Whether to take only the smallest type of each family that meets the rest",
    ("select", "limit"): "Largest number of types to select; the first ones of the list are taken",
    ("image",): "Image of EC2 hosts: an alias such as al2023 or debian-13, an image id (ami-...), or baked:NAME",
    ("placement",): (
        "Placement of EC2 hosts: auto (a precision-time group for types that need one), none, precision-time, "
        "cluster, or group:NAME for an existing placement group"
    ),
    ("ec2",): "Further settings of EC2 instances",
    ("ec2", "zones"): "Availability zones to try, in this order; by default all that offer the type, by name",
    ("ec2", "subnet"): "Subnet for the hosts; by default the default subnet of each zone",
    ("ec2", "access"): "How to reach hosts: ssh (to their address) or ssm (SSH through AWS Session Manager)",
    (
        "ec2",
        "controller_cidr",
    ): "Networks from which SSH is admitted, several between commas; default: the public address of this machine",
    ("ec2", "instance_profile"): "IAM instance profile of the hosts; Session Manager (access: ssm) may need one",
    ("ec2", "user"): "Login user; by default the user of the image",
    ("ec2", "market"): "How instances are paid for",
    ("ec2", "other_sizes"): "Whether to try other sizes of the same family where no zone has capacity",
    ("ec2", "volume_gib"): "Size of the root volume, in GiB",
    ("ec2", "owner"): "Person or team in the owner tag of every resource; by default your user name on this machine",
    ("depth",): (
        "How far to go: quick (until chronyd follows the PHC), standard (with measuring), "
        "full (all again after a reboot)"
    ),
    ("disturbances",): (
        "Disturbances of the clock to try with depth full, in this order: "
        f"{', '.join(f'{name} ({kind.summary})' for name, kind in KINDS.items())}"
    ),
    ("driver",): "ENA driver to install on the hosts; by default the driver of the image",
    ("driver", "source"): "Source of the driver; follows from release or archive where one of them is given",
    ("driver", "release"): "Number of a release of amzn-drivers, which is downloaded",
    ("driver", "archive"): "Path or https URL of a release archive; sha256 is then required",
    ("driver", "sha256"): "Checksum that the archive must have",
    ("measure",): "How to measure each host",
    ("measure", "duration"): "How long to measure each host",
    ("measure", "interval"): "Time between two samples",
    ("measure", "readings"): "Readings of the clock in each sample, 40 ms apart; the fastest one counts",
    ("limits",): (
        "Limits that a clock must meet, by quantity and statistic. The limits of a quantity replace the bench's own "
        "limits for this quantity; `plan` prints all of them"
    ),
    ("limits", "profile"): (
        "Profiles whose limits must be met too: a name that `ptp-harness profiles` lists, a file of your own, or a list"
    ),
    **{("limits", quantity): meaning for quantity, meaning in _QUANTITIES.items()},
    **{
        ("limits", quantity, statistic): _STATISTICS[statistic]
        for quantity, statistics in STATISTICS.items()
        for statistic in statistics
    },
    ("expect",): (
        "Verdicts that are no news, by type: `m5.large: no_phc`. A host with the expected outcome or reason counts as "
        "passed in the exit code and in JUnit, one with another verdict as failed"
    ),
    ("keep",): "Hosts to keep at the end: none, supported (all that passed), or ask (a person chooses among these)",
    ("lease",): "Time after which a host ends itself, even if the harness is gone",
    ("read_only",): "Whether to change nothing on the hosts and to judge them as they are",
    ("parallel",): "Largest number of hosts at once",
    ("clock_names",): "Names of the clocks that count, as shell patterns of /sys/class/ptp/*/clock_name",
}
"""The meaning of every key. Items of lists have no entry."""
