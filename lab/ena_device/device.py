"""Emulate the device behind its registers: resets, the admin queue, events and the clock's configuration.

Source: ena_regs_defs.h, and for the order of the steps ena_com.c of the driver (ena_com_dev_reset, ena_com_admin_init).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from ena_device import admin_layout as al
from ena_device import features
from ena_device import registers as reg
from ena_device.admin_queue import AdminQueue
from ena_device.device_errors import CommandRejected, MessageRefused
from ena_device.doorbell import Doorbell
from ena_device.event_queue import EventQueue
from ena_device.guest_memory import GuestMemory, Window
from ena_device.interrupts import Interrupts
from ena_device.network import NetworkSocket
from ena_device.packets import PacketCounts, PacketQueues
from ena_device.pci_config import PciConfig
from ena_device.phc import RESPONSE_SIZE
from ena_device.rings import Ring

BAR0_SIZE, BAR1_SIZE = 0x4000, 0x2000
MANAGEMENT_VECTOR = 0
_MMIO_RESPONSE_SIZE, _MMIO_VALUE_AT, _MMIO_OFFSET_AT = 8, 4, 2  # ena_admin_ena_mmio_req_read_less_resp
_RECORDED_RESETS = 64


@dataclass(slots=True)
class Totals:
    """Counts that outlive a reset; they last as long as the device process."""

    resets: list[int]  # reasons the driver gave, the last 64
    packets: PacketCounts = field(default_factory=PacketCounts)


class Ena:
    """The device. _reset_state() creates all state that a reset of the device discards."""

    def __init__(
        self,
        *,
        offer: features.OfferedFeatures,
        config: PciConfig,
        doorbell: Doorbell,
        log: Callable[[str], None],
        network: NetworkSocket | None = None,
    ) -> None:
        self.offer, self.config, self.doorbell, self.log = offer, config, doorbell, log
        self.network = network
        self.memory, self.interrupts = GuestMemory(), Interrupts()
        self.totals = Totals([])
        self.host: features.HostInfo | None = None
        self.mtu = 1500
        self.link, self.keepalive = True, True
        self._reset_state()

    def reset(self, cause: str) -> None:
        self.doorbell.stop()
        self._reset_state()
        self.log(f"reset {cause}")

    def _reset_state(self) -> None:
        self._registers = {
            reg.VERSION: reg.VERSION_VALUE,
            reg.CONTROLLER_VERSION: reg.CONTROLLER_VERSION_VALUE,
            reg.CAPS: reg.CAPS_VALUE,
            reg.DEV_STS: reg.DEV_STS_READY,
        }
        self._admin: AdminQueue | None = None
        self.events = EventQueue(self.memory)
        send = self._send_frame if self.network else None
        self.queues = PacketQueues(self.memory, self.interrupts, self.totals.packets, send)
        self._phc_address: int | None = None
        self._phc_window: Window | None = None

    @property
    def phc_configured(self) -> bool:
        return self._phc_address is not None

    def read_register(self, offset: int) -> int:
        return self._registers.get(offset, 0)

    def write_register(self, offset: int, value: int) -> None:
        """Write a register. Raises MessageRefused when the driver points to memory out of reach, or to invalid data."""
        if offset in reg.STORED:
            self._registers[offset] = value
        elif offset == reg.PHC_DOORBELL:
            self.doorbell.ring(value & 0xFFFF)
        elif offset == reg.MMIO_REG_READ:
            self._read_by_memory(value)
        elif offset == reg.DEV_CTL:
            self._write_device_control(value)
        elif offset == reg.AQ_DOORBELL:
            self._run_admin_queue(value & 0xFFFF)
        elif offset == reg.AENQ_HEAD_DOORBELL:
            self._write_event_head(value)
        elif reg.SQ_DOORBELLS <= offset < reg.SQ_DOORBELLS + reg.REGISTER_SIZE * reg.QUEUES:
            self.queues.ring_doorbell((offset - reg.SQ_DOORBELLS) // reg.REGISTER_SIZE, value & 0xFFFF)
        elif reg.CQ_UNMASKS <= offset < reg.CQ_UNMASKS + reg.REGISTER_SIZE * reg.QUEUES:
            self.queues.unmask((offset - reg.CQ_UNMASKS) // reg.REGISTER_SIZE, value)

    def memory_changed(self) -> None:
        """Follow a change of guest memory by QEMU: the page of the clock's response may have moved, or may be gone."""
        if self._phc_address is None:
            return
        try:
            window = self.memory.window(self._phc_address, RESPONSE_SIZE)
        except MessageRefused:
            self.doorbell.stop()
            self._phc_window = None
            return
        if window != self._phc_window:
            self._phc_window = window
            self.doorbell.start(window)
            self.doorbell.flush()

    def receive_frames(self) -> None:
        """Give the frames that have arrived to the driver; with the link down they are dropped."""
        if self.network is None:
            return
        for frame in self.network.receive(self.offer.mac):
            if self.link:
                self.queues.receive(frame)
            else:
                self.totals.packets.receive_drops += 1

    def _send_frame(self, frame: bytes) -> bool:
        return self.network is not None and self.link and self.network.send(frame)

    def set_link(self, up: bool) -> None:
        self.link = up
        self.events.add(al.EventGroup.LINK_CHANGE, al.LINK_CHANGE.pack(up))

    def request_reset(self) -> None:
        self.events.add(al.EventGroup.DEVICE_REQUEST_RESET, b"")

    def tick(self) -> None:
        """Do the work that is due by time: the keep-alive event, events that waited for room, delayed answers."""
        counts = self.totals.packets
        self.events.queue_keep_alive(counts.receive_drops, counts.send_drops, alive=self.keepalive)
        if self.events.deliver():
            self.interrupts.fire(MANAGEMENT_VECTOR)
        self.doorbell.flush()

    def _make_ring(self, low: int, high: int, caps: int) -> Ring:
        base = al.address(self.read_register(low), self.read_register(high) & reg.BASE_HI_MASK)
        return Ring(base=base, depth=self.read_register(caps) & reg.DEPTH_MASK, entry_size=al.ENTRY_SIZE)

    def _read_by_memory(self, value: int) -> None:
        """Answer a register read into memory (ena_com_reg_bar_read32): the request number is written last."""
        address = al.address(
            self.read_register(reg.MMIO_RESP_LO), self.read_register(reg.MMIO_RESP_HI) & reg.BASE_HI_MASK
        )
        window = self.memory.window(address, _MMIO_RESPONSE_SIZE)
        offset = value >> 16
        window.write(_MMIO_VALUE_AT, self.read_register(offset).to_bytes(reg.REGISTER_SIZE, "little"))
        window.publish_u16(_MMIO_OFFSET_AT, offset)
        window.publish_u16(0, value & 0xFFFF)

    def _write_device_control(self, value: int) -> None:
        if not value & reg.DEV_CTL_RESET:
            self._registers[reg.DEV_STS] = reg.DEV_STS_READY | reg.DEV_STS_RESET_DONE
            return
        reason = reg.reset_reason(value)
        self.totals.resets = [*self.totals.resets, reason][-_RECORDED_RESETS:]
        self.reset(f"by the driver, reason {reason}")
        self._registers[reg.DEV_STS] = reg.DEV_STS_READY | reg.DEV_STS_RESETTING

    def _run_admin_queue(self, tail: int) -> None:
        if self._admin is None:
            commands = self._make_ring(reg.AQ_BASE_LO, reg.AQ_BASE_HI, reg.AQ_CAPS)
            completions = self._make_ring(reg.ACQ_BASE_LO, reg.ACQ_BASE_HI, reg.ACQ_CAPS)
            self._admin = AdminQueue(self.memory, commands, completions)
        self._admin.run(tail, self._execute, self.log)
        self.doorbell.flush()
        if not self.read_register(reg.INTR_MASK) & reg.INTR_MASK_ADMIN:
            self.interrupts.fire(MANAGEMENT_VECTOR)

    def _write_event_head(self, head: int) -> None:
        if self.events.is_open:
            self.events.set_head(head)
        else:
            self.events.open(self._make_ring(reg.AENQ_BASE_LO, reg.AENQ_BASE_HI, reg.AENQ_CAPS), head)

    def _execute(self, opcode: int, command: bytes) -> bytes:
        """Execute one admin command. Raises CommandRejected."""
        handler = self._commands().get(opcode)
        if handler is None:
            raise CommandRejected(al.Status.BAD_OPCODE, f"no admin command {opcode}")
        return handler(command)

    def _commands(self) -> dict[int, Callable[[bytes], bytes]]:
        return {
            al.Opcode.CREATE_SQ: self.queues.create_submission,
            al.Opcode.DESTROY_SQ: self.queues.destroy_submission,
            al.Opcode.CREATE_CQ: self.queues.create_completion,
            al.Opcode.DESTROY_CQ: self.queues.destroy_completion,
            al.Opcode.GET_FEATURE: self._get_feature,
            al.Opcode.SET_FEATURE: self._set_feature,
            al.Opcode.GET_STATS: self._get_statistics,
        }

    def _get_statistics(self, command: bytes) -> bytes:
        if command[al.STATS_TYPE_AT] != al.STATS_BASIC:
            raise CommandRejected(al.Status.UNSUPPORTED_OPCODE, f"statistics of type {command[al.STATS_TYPE_AT]}")
        return self.queues.statistics()

    def _get_feature(self, command: bytes) -> bytes:
        feature = command[al.FEATURE_ID_AT]
        groups = self.events.enabled_groups
        return features.get_feature(
            feature, command, self.offer, doorbell_offset=self.doorbell.offset, enabled_groups=groups
        )

    def _set_feature(self, command: bytes) -> bytes:
        feature = command[al.FEATURE_ID_AT]
        features.check_offered(feature, self.offer)
        if feature == al.Feature.AENQ_CONFIG:
            self.events.enabled_groups = al.AENQ.unpack_from(command, al.SET_VALUES_AT)[1]
            self.set_link(self.link)
        elif feature == al.Feature.MTU:
            self.mtu = al.MTU.unpack_from(command, al.SET_VALUES_AT)[0]
        elif feature == al.Feature.HOST_ATTR_CONFIG:
            self._read_host_info(al.address(*al.HOST_ATTRIBUTES.unpack_from(command, al.SET_VALUES_AT)))
        elif feature == al.Feature.PHC_CONFIG:
            self.configure_phc(command)
        return b""

    def _read_host_info(self, address: int) -> None:
        if address:
            self.host = features.parse_host_info(self._guest_window(address, al.HOST_INFO_SIZE).read(al.HOST_INFO_SIZE))
            self.log(f"driver {self.host}")

    def configure_phc(self, command: bytes) -> None:
        low, high, _, length = al.PHC_SET.unpack_from(command, al.PHC_SET_AT)
        if length != RESPONSE_SIZE:
            raise CommandRejected(
                al.Status.ILLEGAL_PARAMETER, f"a clock response of {length} bytes, {RESPONSE_SIZE} expected"
            )
        address = al.address(low, high)
        self._phc_window = self._guest_window(address, RESPONSE_SIZE)
        self._phc_address = address
        self.doorbell.start(self._phc_window)
        self.log("clock configured")

    def _guest_window(self, address: int, length: int) -> Window:
        try:
            return self.memory.window(address, length)
        except MessageRefused as e:
            raise CommandRejected(al.Status.ILLEGAL_PARAMETER, str(e)) from e
