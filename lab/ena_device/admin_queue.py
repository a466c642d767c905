"""Execute the driver's admin commands and write their completions.

Source: ena_com_admin_init and ena_com_handle_admin_completion in the driver's ena_com.c; entries as in admin_layout.
"""

from collections.abc import Callable

from ena_device import admin_layout as al
from ena_device.device_errors import CommandRejected
from ena_device.guest_memory import GuestMemory
from ena_device.rings import Ring

Execute = Callable[
    [int, bytes], bytes
]  # opcode, the command's 64 bytes -> the completion's data; raises CommandRejected


class AdminQueue:
    """The command ring and the completion ring; created at the first doorbell after a reset."""

    def __init__(self, memory: GuestMemory, commands: Ring, completions: Ring) -> None:
        self._memory, self._commands, self._completions = memory, commands, completions

    def run(self, tail: int, execute: Execute, log: Callable[[str], None]) -> None:
        """Execute the commands in the ring up to the tail. Raises MessageRefused when the rings are out of reach."""
        for _ in range(self._commands.entries_up_to(tail)):
            command = self._memory.read(self._commands.address, al.ENTRY_SIZE)
            self._commands.count += 1
            command_id, opcode, _ = al.COMMAND.unpack_from(command)
            status, data = al.Status.SUCCESS, b""
            try:
                data = execute(opcode, command)
            except CommandRejected as e:
                status = al.Status(e.status)
                log(f"admin command {opcode} rejected: {e}")
            self._complete(command_id & al.COMMAND_ID_MASK, status, data)

    def _complete(self, command_id: int, status: al.Status, data: bytes) -> None:
        ring = self._completions
        entry = al.COMPLETION.pack(command_id, status, 0, 0, self._commands.count & 0xFFFF)
        window = self._memory.window(ring.address, al.ENTRY_SIZE)
        window.write(al.COMPLETION_DATA_AT, data.ljust(al.ENTRY_SIZE - al.COMPLETION_DATA_AT, b"\0"))
        window.write(al.COMPLETION_TAIL_AT, entry[al.COMPLETION_TAIL_AT :])
        window.write(0, entry[: al.COMPLETION_FLAGS_AT])
        window.publish_u8(al.COMPLETION_FLAGS_AT, ring.phase)  # last: the phase says that the entry is new
        ring.count += 1
