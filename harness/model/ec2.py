"""Define where EC2 gives a precision clock outside a precision-time placement group.

Since 2026-06-30 most Regions give an instance its PTP hardware clock (PHC) only inside a placement group of strategy
`precision-time` (PTPG). The Regions and families below had the clock before that and still give it outside such a group
(EC2 User Guide, "Precision clock and time synchronization on your EC2 instance").
"""

LEGACY_REGIONS = frozenset(
    {
        "us-east-1",  # Northern Virginia
        "us-east-2",  # Ohio
        "ap-southeast-5",  # Malaysia
        "ap-southeast-7",  # Thailand
        "ap-northeast-1",  # Tokyo
        "eu-north-1",  # Stockholm
    }
)

LEGACY_FAMILIES = frozenset({"m7a", "m7g", "m7i", "r7a", "r7g", "r7i", "i8g", "i8ge"})


def family(instance_type: str) -> str:
    """Return the part of a type's name before its dot: `m7i` of `m7i.large`."""
    return instance_type.partition(".")[0]


def needs_precision_group(region: str, instance_type: str) -> bool:
    """Whether a type that has a PHC shows it here only inside a precision-time placement group.

    A legacy family has its clock in every Region. Names are exact: `m7i-flex` is another family than `m7i`.
    """
    return region not in LEGACY_REGIONS and family(instance_type) not in LEGACY_FAMILIES
