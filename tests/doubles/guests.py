"""Instances that are real machines: each one that moto runs is a lab guest, booted as cloud-init boots an image.

The guest gets what its instance was asked for: the image's user with the key pair's public key, and the host key and
boot commands of the user data. EC2's link-local time server is the lab's, its address the instance's public one. An
image that is made of a guest is a snapshot of its disk, and instances of it boot from that. A guest that is stopped
goes on, since the lab copies the disks of running guests only, which write down first all that they have; with the copy
it is gone, since nobody starts a stopped instance here.
"""

import argparse
import base64
import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from moto.core.responses import ActionResult
from moto.ec2.models import EC2Backend
from moto.ec2.models.amis import Ami
from moto.ec2.models.instances import Instance, StateReason
from moto.ec2.responses import EC2Response
from moto.server import ThreadedMotoServer

from harness import wiring
from harness.benches.ec2.images import boot_image
from harness.benches.lab.bench import LabBench
from harness.host import ssh
from harness.model import Machine, Token
from harness.system import proc, settings
from tests.doubles import ec2_server

USUAL = "lab.phc"
_show = ec2_server.show

RELAY = """
import socket, sys
ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ours.bind(("169.254.169.123", 123))
while True:
    asked, who = ours.recvfrom(512)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.settimeout(1)
        there.sendto(asked, (sys.argv[1], int(sys.argv[2])))
        try:
            ours.sendto(there.recv(512), who)
        except TimeoutError:
            pass
"""


_terminate = Instance.terminate


class Guests:
    """The lab's guests behind moto's instances. `kinds` says which lab type an instance type is."""

    def __init__(self, bench: LabBench, kinds: Mapping[str, str], folder: Path) -> None:
        self._bench, self._kinds, self._folder = bench, kinds, folder
        self._tokens: dict[str, Token] = {}
        self._booting: dict[str, threading.Thread] = {}
        self._copying: list[threading.Thread] = []

    def install(self) -> None:
        """Let moto's instances be guests, from RunInstances to TerminateInstances."""
        run, begin, terminate = EC2Response.run_instances, Instance.__init__, Instance.terminate
        copy = EC2Backend.create_image

        def begun(instance: Instance, *words: Any, **named: Any) -> None:
            begin(instance, *words, **named)
            _show(instance, "pending")

        def run_instances(response: EC2Response) -> ActionResult:
            answer = run(response)
            for instance in answer.result.instances:  # type: ignore[attr-defined]
                if instance.id not in self._booting:
                    self._booting[instance.id] = threading.Thread(target=self._boot, args=(instance,), daemon=True)
                    self._booting[instance.id].start()
            return answer

        def terminated(instance: Instance) -> Any:
            before = terminate(instance)
            if (booting := self._booting.pop(instance.id, None)) is not None:
                _show(instance, "shutting-down")
                threading.Thread(target=self._end, args=(instance, booting), daemon=True).start()
            return before

        def create_image(backend: EC2Backend, instance_id: str, *words: Any, **named: Any) -> Ami:
            made = copy(backend, instance_id, *words, **named)
            made.state = "pending"
            self._copying.append(threading.Thread(target=self._copy, args=(instance_id, made), daemon=True))
            self._copying[-1].start()
            return made

        EC2Backend.create_image = create_image  # type: ignore[method-assign, assignment]
        EC2Response.run_instances = run_instances  # type: ignore[method-assign, assignment]
        Instance.__init__ = begun  # type: ignore[method-assign, assignment]
        Instance.terminate = terminated  # type: ignore[method-assign, assignment]

    def close(self) -> None:
        """Remove whatever guest is left, and whatever disk was copied."""
        for copying in self._copying:
            copying.join()
        for left in self._bench.resources():
            self._bench.release(Token.parse(left.token))
        for snapshot in self._bench.snapshots.all():
            self._bench.snapshots.delete(snapshot.name, self._bench.records)

    def _boot(self, instance: Instance) -> None:
        kind = self._kinds.get(str(instance.instance_type), USUAL)
        self._tokens[instance.id] = token = Token(run="instances", host=instance.id)
        try:
            copied = {snapshot.name: snapshot for snapshot in self._bench.snapshots.all()}.get(instance.image_id)
            if copied is None:
                machine = self._bench.provision(token, kind, _say)
            else:
                machine = self._bench.restore(token, copied, _say)
            self._begin(instance, machine)
            instance.nics[0].public_ip = machine.address
            _show(instance, "running")
        except Exception as error:  # what an instance does that comes to nothing
            _say(f"{instance.id} does not start: {type(error).__name__}: {error}")
            _terminate(instance)  # its volume goes with it
            instance.state_reason = StateReason("Server.InternalError: internal error", "Server.InternalError")
            _show(instance, "terminated")

    def _copy(self, instance_id: str, made: Ami) -> None:
        record = self._bench.records.find(self._tokens[instance_id])
        assert record is not None
        self._bench.snapshots.create(made.id, record, _say)
        self._bench.release(record.token)
        made.state = "available"

    def _end(self, instance: Instance, booting: threading.Thread) -> None:
        booting.join()
        self._bench.release(self._tokens[instance.id])
        _show(instance, "terminated")

    def _begin(self, instance: Instance, machine: Machine) -> None:
        """What cloud-init does at the first boot."""
        folder = self._folder / instance.id
        folder.mkdir(parents=True)
        known = ssh.write_known_hosts(machine, folder)
        reached = ssh.wait_for_login(machine, known, tries=5, first_backoff_s=0.5, progress=_say)
        assert reached.reached, reached.detail
        document = json.loads(_user_data(instance).removeprefix("#cloud-config\n"))
        backend = instance.ec2_backend
        key = backend.key_pairs[instance.key_name].material_public.decode()
        image = backend.amis[instance.image_id]
        user = boot_image.login_user({"Name": image.name, "OwnerId": image.owner_id}) or "admin"
        script = _first_boot(user, key, document["ssh_keys"], machine)
        for words in [*(command[-1] for command in document["bootcmd"]), script]:  # last what changes the host key
            proc.run(ssh.build_command(machine, known, "sh", "-s"), stdin=words, timeout_s=120)


def _first_boot(user: str, key: str, host_keys: Mapping[str, str], machine: Machine) -> str:
    host, _, port = (machine.second_opinion or "").partition(" ")
    relay = "systemd-run --unit=link-local-time --collect python3 -c"
    return f"""set -eu
id {user} > /dev/null 2>&1 || useradd -m -s /bin/bash -p '*' {user}
echo '{user} ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/90-cloud-init-users
install -d -m 700 -o {user} -g {user} /home/{user}/.ssh
echo '{key.strip()}' > /home/{user}/.ssh/authorized_keys
chown {user}: /home/{user}/.ssh/authorized_keys
ip address add 169.254.169.123/32 dev lo
{relay} '{RELAY}' {host} {port}
umask 077
cat > /etc/ssh/ssh_host_ed25519_key <<'END'
{host_keys["ed25519_private"].strip()}
END
echo '{host_keys["ed25519_public"]}' > /etc/ssh/ssh_host_ed25519_key.pub
systemctl reload ssh
"""


def _user_data(instance: Instance) -> str:
    said = instance.user_data
    if isinstance(said, list):
        said = said[0] if said else ""
    text = str(said or "")
    return text if text.startswith("#") else base64.b64decode(text).decode()


def _say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def main() -> None:
    """Serve on 127.0.0.1. The port is the only word on standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", action="append", default=[], metavar="m7i.large=lab.phc")
    kinds = dict(one.split("=", 1) for one in parser.parse_args().kind)
    with tempfile.TemporaryDirectory(prefix="ptp-instances-") as folder:
        found = settings.load({**os.environ, "PTP_HARNESS_STATE_DIR": folder})
        bench = wiring.lab_bench(found)
        bench.prepare(sorted({USUAL, *kinds.values()}), _say)
        guests = Guests(bench, kinds, Path(folder) / "boot")
        ec2_server.install()
        guests.install()
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        print(server.get_host_and_port()[1], flush=True)
        try:
            sys.stdin.read()  # until whoever started us closes it
        finally:
            server.stop()
            guests.close()


if __name__ == "__main__":
    main()
