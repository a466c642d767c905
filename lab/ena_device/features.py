"""Answer the driver's queries of the device's features.

Source: enum ena_admin_aq_feature_id and the structures of admin_layout; how the driver reads them:
ena_com_get_dev_attr_feat and ena_com_phc_config in its ena_com.c.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ena_device import admin_layout as al
from ena_device.device_errors import CommandRejected
from ena_device.event_queue import SUPPORTED_GROUPS
from ena_device.rings import MAX_DEPTH

IMPLEMENTATION, DEVICE_VERSION = 1, 0x10
ADDRESS_BITS, VIRTUAL_BITS = 48, 64
MAX_MTU = 9216
QUEUE_PAIRS = 4
MAX_HEADER, MAX_TX_DESCS, MAX_RX_DESCS = 96, 17, 16
RSS_TABLE_LOG_SIZE = 7
LINK_MBIT_PER_S = 25_000


@dataclass(slots=True, kw_only=True)
class OfferedFeatures:
    """Properties that the device reports at the driver's initialisation; a change takes effect at the next one."""

    mac: bytes
    no_phc: bool = False
    phc_version: int = 0
    expire_us: int = 50_000  # 0: the driver's own default
    block_us: int = 60_000

    @property
    def features(self) -> list[al.Feature]:
        return [f for f in al.Feature if not (f is al.Feature.PHC_CONFIG and self.no_phc)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostInfo:
    """The description that the driver gives of itself and its system (struct ena_admin_host_info)."""

    os: int
    distribution: str
    kernel: str
    driver: str
    module_type: int
    features: int
    phc: bool


def get_feature(
    feature: int, command: bytes, offer: OfferedFeatures, *, doorbell_offset: int, enabled_groups: int
) -> bytes:
    """Build the data of a get-feature completion. Raises CommandRejected."""
    check_offered(feature, offer)
    answers: dict[int, Callable[[], bytes]] = {
        al.Feature.DEVICE_ATTRIBUTES: lambda: _attributes(offer),
        al.Feature.MAX_QUEUES_EXT: lambda: _queues(command[al.FEATURE_VERSION_AT]),
        al.Feature.STATELESS_OFFLOAD_CONFIG: lambda: al.OFFLOADS.pack(0, 0, 0),
        al.Feature.RSS_INDIRECTION_TABLE_CONFIG: _rss_table,
        al.Feature.AENQ_CONFIG: lambda: al.AENQ.pack(SUPPORTED_GROUPS, enabled_groups),
        al.Feature.LINK_CONFIG: lambda: al.LINK.pack(LINK_MBIT_PER_S, al.LINK_25G, al.LINK_FULL_DUPLEX),
        al.Feature.PHC_CONFIG: lambda: al.PHC_GET.pack(
            offer.phc_version, doorbell_offset, offer.expire_us, offer.block_us
        ),
    }
    if feature not in answers:
        raise CommandRejected(al.Status.UNSUPPORTED_OPCODE, f"feature {feature} can only be set")
    return answers[feature]()


def check_offered(feature: int, offer: OfferedFeatures) -> None:
    if feature not in offer.features:
        raise CommandRejected(al.Status.UNSUPPORTED_OPCODE, f"no feature {feature}")


def parse_host_info(info: bytes) -> HostInfo:
    os, distribution, _, kernel, _, driver, _, _, _, _, _, _, features = al.HOST_INFO.unpack_from(info)
    return HostInfo(
        os=os,
        distribution=_text(distribution),
        kernel=_text(kernel),
        driver=f"{driver & 255}.{driver >> 8 & 255}.{driver >> 16 & 255}",
        module_type=driver >> 24,
        features=features,
        phc=bool(features & al.HOST_SUPPORTS_PHC),
    )


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("latin1")


def _attributes(offer: OfferedFeatures) -> bytes:
    supported = sum(1 << f for f in offer.features)
    return al.DEVICE_ATTRIBUTES.pack(
        IMPLEMENTATION, DEVICE_VERSION, supported, 0, ADDRESS_BITS, VIRTUAL_BITS, offer.mac, 0, MAX_MTU
    )


def _queues(version: int) -> bytes:
    numbers, depths = [QUEUE_PAIRS] * 4, [MAX_DEPTH] * 4
    return al.MAX_QUEUES_EXT.pack(version, *numbers, *depths, MAX_HEADER, MAX_TX_DESCS, MAX_RX_DESCS)


def _rss_table() -> bytes:
    # The driver creates its receive queues from this table, so the table must exist although no packet ever arrives.
    log_size = RSS_TABLE_LOG_SIZE
    return al.RSS_TABLE.pack(log_size, log_size, log_size, 0, 0, 0xFFFFFFFF, 0, 0)
