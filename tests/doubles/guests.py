"""Back moto's instances by lab guests, each configured by cloud-init, or as cloud-init does it at a first boot.

A guest of a cloud's image gets the user data and the key pair's public key as its seed. Any other guest gets the
image's user with that key, and the host key and boot commands of the user data, by commands. The lab's time server
answers at EC2's link-local address; the guest's address is the instance's public one. An image of a guest is a snapshot
of its disk, and instances of this image boot from it. A stopped guest keeps running, because the lab only copies disks
of running guests, which first write all data to disk; after the copy the guest is removed, because no test starts a
stopped instance again.
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
from harness.benches.lab.guests.cloud_seed import CloudSeed
from harness.benches.lab.io import guest_agent
from harness.benches.lab.truths.truths import TRUTHS
from harness.host import ssh
from harness.model import Machine, Token
from harness.system import proc, settings
from tests.doubles import ec2_server, sessions

DEFAULT_TYPE = "lab.phc"
AGENT_REGISTERS_AFTER_S = 3.0
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
    """The lab's guests behind moto's instances. `kinds` maps instance types to lab types."""

    def __init__(self, bench: LabBench, kinds: Mapping[str, str], folder: Path) -> None:
        self._bench, self._kinds, self._folder = bench, kinds, folder
        self._tokens: dict[str, Token] = {}
        self._booting: dict[str, threading.Thread] = {}
        self._copying: list[threading.Thread] = []

    def install(self) -> None:
        """Replace moto's functions, so that guests back its instances from RunInstances to TerminateInstances."""
        run, init_instance, terminate = EC2Response.run_instances, Instance.__init__, Instance.terminate
        copy = EC2Backend.create_image

        def init_pending(instance: Instance, *args: Any, **kwargs: Any) -> None:
            init_instance(instance, *args, **kwargs)
            _show(instance, "pending")

        def run_instances(response: EC2Response) -> ActionResult:
            answer = run(response)
            for instance in answer.result.instances:  # type: ignore[attr-defined]
                if instance.id not in self._booting:
                    self._booting[instance.id] = threading.Thread(target=self._boot, args=(instance,), daemon=True)
                    self._booting[instance.id].start()
            return answer

        def terminate_in_background(instance: Instance) -> Any:
            result = terminate(instance)
            if (booting := self._booting.pop(instance.id, None)) is not None:
                _show(instance, "shutting-down")
                threading.Thread(target=self._shut_down, args=(instance, booting), daemon=True).start()
            return result

        def create_image(backend: EC2Backend, instance_id: str, *args: Any, **kwargs: Any) -> Ami:
            image = copy(backend, instance_id, *args, **kwargs)
            image.state = "pending"
            self._copying.append(threading.Thread(target=self._copy, args=(instance_id, image), daemon=True))
            self._copying[-1].start()
            return image

        EC2Backend.create_image = create_image  # type: ignore[method-assign, assignment]
        EC2Response.run_instances = run_instances  # type: ignore[method-assign, assignment]
        Instance.__init__ = init_pending  # type: ignore[method-assign, assignment]
        Instance.terminate = terminate_in_background  # type: ignore[method-assign, assignment]

    def close(self) -> None:
        """Remove all remaining guests and copied disks."""
        for copying in self._copying:
            copying.join()
        for resource in self._bench.resources():
            self._bench.release(Token.parse(resource.token))
        for snapshot in self._bench.snapshots.all():
            self._bench.snapshots.delete(snapshot.name, self._bench.records)

    def _boot(self, instance: Instance) -> None:
        kind = self._kinds.get(str(instance.instance_type), DEFAULT_TYPE)
        self._tokens[instance.id] = token = Token(run="instances", host=instance.id)
        try:
            snapshot_of_image = {snapshot.name: snapshot for snapshot in self._bench.snapshots.all()}.get(
                instance.image_id
            )
            by_cloud_init = TRUTHS[kind].image.by_cloud_init
            seed = (
                CloudSeed(user_data=_user_data(instance), public_key=_public_key(instance)) if by_cloud_init else None
            )
            if snapshot_of_image is None:
                machine = self._bench.provision(token, kind, _log_progress, seed=seed)
            else:
                machine = self._bench.restore(token, snapshot_of_image, _log_progress, seed=seed)
            if by_cloud_init:
                self._serve_link_local_time(token, machine)
            else:
                self._configure_first_boot(instance, machine)
            instance.nics[0].public_ip = machine.address
            _show(instance, "running")
        except Exception as error:  # the instance fails like a real one
            _log_progress(f"{instance.id} does not start: {type(error).__name__}: {error}")
            _terminate(instance)  # its volume goes with it
            instance.state_reason = StateReason("Server.InternalError: internal error", "Server.InternalError")
            _show(instance, "terminated")

    def _copy(self, instance_id: str, image: Ami) -> None:
        record = self._bench.records.find(self._tokens[instance_id])
        assert record is not None
        self._bench.snapshots.create(image.id, record, _log_progress, memory=False)
        self._bench.release(record.token)
        image.state = "available"

    def _shut_down(self, instance: Instance, booting: threading.Thread) -> None:
        booting.join()
        self._bench.release(self._tokens[instance.id])
        _show(instance, "terminated")

    def _configure_first_boot(self, instance: Instance, machine: Machine) -> None:
        """Configure the guest as cloud-init does at the first boot."""
        folder = self._folder / instance.id
        folder.mkdir(parents=True)
        known_hosts = ssh.write_known_hosts(machine, folder)
        login = ssh.wait_for_login(machine, known_hosts, tries=5, first_backoff_s=0.5, progress=_log_progress)
        assert login.reached, login.detail
        document = json.loads(_user_data(instance).removeprefix("#cloud-config\n"))
        key = _public_key(instance)
        image = instance.ec2_backend.amis[instance.image_id]
        user = boot_image.login_user({"Name": image.name, "OwnerId": image.owner_id}) or "admin"
        script = _first_boot(user, key, document["ssh_keys"], machine)
        for shell_input in [*(command[-1] for command in document["bootcmd"]), script]:  # the host key changes last
            proc.run(ssh.build_command(machine, known_hosts, "sh", "-s"), stdin=shell_input, timeout_s=120)

    def _serve_link_local_time(self, token: Token, machine: Machine) -> None:
        record = self._bench.records.find(token)
        assert record is not None
        with guest_agent.connect(record.sockets / "agent") as port:
            result = port.shell(_link_local_time(machine), deadline_s=120)
        assert result.status == 0, result.out


def _public_key(instance: Instance) -> str:
    """Return the public key of the instance's key pair."""
    return str(instance.ec2_backend.key_pairs[instance.key_name].material_public.decode())


def _link_local_time(machine: Machine) -> str:
    """Make a script for root by which the lab's time server answers at EC2's link-local address."""
    host, _, port = (machine.second_opinion or "").partition(" ")
    return f"""ip address add 169.254.169.123/32 dev lo
systemd-run --unit=link-local-time --collect python3 -c '{RELAY}' {host} {port}
"""


def _first_boot(user: str, key: str, host_keys: Mapping[str, str], machine: Machine) -> str:
    return f"""set -eu
id {user} > /dev/null 2>&1 || useradd -m -s /bin/bash -p '*' {user}
echo '{user} ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/90-cloud-init-users
install -d -m 700 -o {user} -g {user} /home/{user}/.ssh
echo '{key.strip()}' > /home/{user}/.ssh/authorized_keys
chown {user}: /home/{user}/.ssh/authorized_keys
{_link_local_time(machine)}umask 077
cat > /etc/ssh/ssh_host_ed25519_key <<'END'
{host_keys["ed25519_private"].strip()}
END
echo '{host_keys["ed25519_public"]}' > /etc/ssh/ssh_host_ed25519_key.pub
systemctl reload ssh
"""


def _user_data(instance: Instance) -> str:
    encoded = instance.user_data
    if isinstance(encoded, list):
        encoded = encoded[0] if encoded else ""
    text = str(encoded or "")
    return text if text.startswith("#") else base64.b64decode(text).decode()


def _log_progress(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


def main() -> None:
    """Serve on 127.0.0.1. Standard output holds only the port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", action="append", default=[], metavar="m7i.large=lab.phc")
    parser.add_argument("--policy", type=Path, help="an IAM policy that all calls need")
    options = parser.parse_args()
    kinds = dict(option.split("=", 1) for option in options.kind)
    with tempfile.TemporaryDirectory(prefix="ptp-instances-") as folder:
        loaded_settings = settings.load({**os.environ, "PTP_HARNESS_STATE_DIR": folder})
        bench = wiring.lab_bench(loaded_settings)
        bench.prepare(sorted({DEFAULT_TYPE, *kinds.values()}), _log_progress)
        guests = Guests(bench, kinds, Path(folder) / "boot")
        ec2_server.install()
        ec2_server.install_policy(options.policy)
        sessions.REGISTERS_AFTER_S = AGENT_REGISTERS_AFTER_S
        guests.install()
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        print(server.get_host_and_port()[1], flush=True)
        try:
            sys.stdin.read()  # until the parent process closes it
        finally:
            server.stop()
            guests.close()


if __name__ == "__main__":
    main()
