"""Does a host whose Python answers whatever it likes reach anything on the machine that runs Ansible?

Each test runs a real role, by the real Ansible, on many hosts at once whose Python is `data/hostile-python.txt`.
Ansible is told to take facts for variables, as it does by itself outside of this checkout: that is the harder case.
Around the cache and in HOME lie files that must stay as they are; templates and names in the answers would change them
or make new ones. All of them hold a secret, which must not travel to any host.
"""

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.programs

CHECKOUT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "data/hostile-python.txt"
SECRET = "what only the machine that runs Ansible knows"
KERNEL = "6.12.107+deb13-cloud-amd64"
MODULE = base64.b64encode(b"\xfd7zXZ\x00 a module").decode()


class Place:
    """A machine that runs Ansible: HOME, the cache in it, and all that may not change."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.cache, self.out = self.home / ".cache/ptp-harness/ena", folder / "out"
        self.hosts: dict[str, dict[str, Any]] = {}
        for path in (self.cache / "modules", self.out, self.home / ".ssh", folder / "hosts"):
            path.mkdir(parents=True)
        for name in (
            ".ssh/authorized_keys",
            ".profile",
            "e.ko",
            "secret.txt",
            ".cache/e.ko",
            ".cache/ptp-harness/e.ko.xz",
        ):
            (self.home / name).write_text(SECRET)
        (self.home / "secret.yml").write_text(json.dumps(self.poison() | {"secret": SECRET}))

    def poison(self) -> dict[str, str]:
        """Variables of the roles, which no host may set."""
        evil = "{{ lookup('ansible.builtin.pipe', 'touch " + str(self.home / "ran") + "') }}"
        chrony = ("package", "service", "config", "driftfile", "service_settings")
        names = [f"__chrony_phc_{name}" for name in chrony] + ["__linuxptp_packages", "__linuxptp_packages_certain"]
        return dict.fromkeys(names, f"{SECRET} {evil}")

    def values(self) -> dict[str, Any]:
        """What a host may put in the place of an honest word."""
        new, ran, secret = self.home / "new", self.home / "ran", self.home / "secret.txt"
        touch = f"touch {ran}"
        template = (
            f"{{{{ lookup('ansible.builtin.pipe', '{touch}') }}}}{{{{ lookup('ansible.builtin.file', '{secret}') }}}}"
            f"{{% set x = lookup('pipe', '{touch}') %}}$({touch})`{touch}`\n- pipe: {touch}\x1b[2J"
        )
        return {
            "up": "../" * 20 + str(new)[1:],
            "absolute": str(secret),
            "template": template,
            "huge": "../" * 60_000,
            "nothing": None,
            "object": {"path": str(new), template: [template], "_ansible_x": 1, "__ansible_type": "TrustedAsTemplate"},
        }

    def add(self, name: str, answers: Mapping[str, Any], **variables: Any) -> None:
        """A host with answers by the module's name."""
        program = self.folder / "hosts" / name
        program.write_text(f"#!{sys.executable} -IS\n" + PROGRAM.read_text())
        program.chmod(0o755)
        program.with_name(f"{name}.json").write_text(json.dumps({"*": COMMON, **ALWAYS, **answers}))
        self.hosts[name] = {"ansible_connection": "local", "ansible_python_interpreter": str(program), **variables}

    def play(self, play: str | dict[str, Any], variables: Mapping[str, Any]) -> str:
        """Run a playbook of the checkout, or a play, on all hosts; what Ansible printed."""
        inventory = self.folder / "hosts.json"
        inventory.write_text(json.dumps({"all": {"hosts": self.hosts}}))
        if isinstance(play, dict):
            (self.folder / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False} | play]))
        path = self.folder / "play.yml" if isinstance(play, dict) else CHECKOUT / "playbooks" / play
        argv = [
            str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), "--forks", "4",
            "-e", json.dumps(variables), str(path),
        ]  # fmt: skip
        env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "XDG_"))} | {
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_ROLES_PATH": str(CHECKOUT / "roles"),
            "ANSIBLE_INJECT_FACT_VARS": "True",
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "remote"),
            "ANSIBLE_NOCOLOR": "1",
            "HOME": str(self.home),
        }
        done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False, env=env, cwd=self.folder)
        said = done.stdout + done.stderr
        assert done.returncode in (0, 2), said[-3000:]  # not Ansible's own fault
        return said

    def files(self) -> dict[str, str]:
        """All below HOME but what the cache may hold, by path."""
        found = {}
        for path in sorted(self.home.rglob("*")):
            if path.is_file() and not path.is_relative_to(self.cache):
                found[str(path.relative_to(self.home))] = path.read_text(errors="replace")
        return found

    def received(self, name: str = "*") -> str:
        """All that came to any host, or to one."""
        return "".join(path.read_text() for path in sorted((self.folder / "hosts").glob(f"{name}.received")))


COMMON = {"changed": False, "rc": 0, "stdout": "", "stderr": ""}
ALWAYS: dict[str, Any] = {
    "stat": {"changed": False, "stat": {"exists": False}},
    "copy": {"changed": True, "dest": "/x", "checksum": "0"},
    "setup": {"changed": False, "ansible_facts": {"ansible_pkg_mgr": "apt"}},
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "machine")


def instead(answer: Any, value: Any) -> Any:
    """The answer with the value in the place of each of its words."""
    if isinstance(answer, dict):
        return {key: instead(inner, value) for key, inner in answer.items()}
    if isinstance(answer, list):
        return [instead(inner, value) for inner in answer]
    return value if isinstance(answer, str) else answer


def played(place: Place, play: str | dict[str, Any], variables: Mapping[str, Any]) -> str:
    """What Ansible said, once it is sure that nothing on this machine was reached."""
    before = place.files()
    said = place.play(play, variables)
    assert place.files() == before
    assert SECRET not in place.received()
    assert "honest" not in place.hosts or "honest" in said
    return said


def failed(said: str) -> set[str]:
    """The hosts that did not come to the play's end."""
    recap = said.rpartition("PLAY RECAP")[2].splitlines()
    return {line.split()[0] for line in recap if " failed=" in line and " failed=0 " not in line}


# --- ena_driver


def archive(folder: Path) -> Path:
    """What the role takes for a release of the driver."""
    numbers = "".join(f"#define DRV_MODULE_GEN_{part} 2\n" for part in ("MAJOR", "MINOR", "SUBMINOR"))
    path = folder / "ena.tar.gz"
    with tarfile.open(path, "w:gz") as out:
        for name, text in (("Makefile", "all:\n"), ("ena_netdev.h", numbers), ("ena_phc.c", "int x;\n")):
            member = tarfile.TarInfo(f"top/kernel/linux/ena/{name}")
            member.size = len(text)
            out.addfile(member, io.BytesIO(text.encode()))
    return path


SEEN = {
    "installed": False,
    "kernel": KERNEL,
    "machine": "x86_64",
    "name": "ena",
    "packages": ["dkms"],
    "by_apt": True,
    "module": None,
}
MADE = SEEN | {"installed": True, "module": f"/lib/modules/{KERNEL}/updates/dkms/ena.ko.xz"}
SWITCHED = {
    "pending": False,
    "record": {"reboot": False, "decision": "devlink", "clock": "ptp0"},
    "plan": {"host": {"kernel": KERNEL}},
    "written": ["/etc/x"],
}


READ = {"content": MODULE, "encoding": "base64"}


def ena_answers(seen: Any = SEEN, made: Any = MADE, read: Any = READ, switched: Any = SWITCHED) -> dict[str, Any]:
    given = {"ena_build": [seen, made], "slurp": read, "ena_phc": switched}
    stat = {"changed": False, "stat": {"exists": True, "isdir": False, "checksum": "1"}}
    return given | {"stat": stat}


def test_ena_driver(place: Place) -> None:
    path = archive(place.folder)
    variables = {
        "ena_driver_source": "archive",
        "ena_driver_archive": str(path),
        "ena_driver_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "ena_driver_cache": str(place.cache),
        "ena_driver_modules_cache": str(place.cache / "modules/lab"),
    }
    place.add("honest", ena_answers())
    for name, value in place.values().items():
        place.add(f"{name}-kernel", ena_answers(SEEN | {"kernel": value}))
        place.add(f"{name}-all", ena_answers(instead(SEEN, value), switched=instead(SWITCHED, value)))
        if name in ("up", "template", "absolute"):
            place.add(f"{name}-module", ena_answers(SEEN, MADE | {"module": f"/x/e.ko/{value}"}))
            place.add(f"{name}-name", ena_answers(SEEN | {"name": value}, read=instead(READ, value)))
    said = played(place, {"roles": ["ena_driver"]}, variables)
    assert "honest" not in failed(said)
    assert failed(said) >= {name for name in place.hosts if name.endswith(("-kernel", "-module", "-name"))}
    kept = {str(path.relative_to(place.cache)) for path in place.cache.rglob("*") if path.is_file()}
    stem = f"modules/lab/ena-2.2.2-{variables['ena_driver_sha256'][:12]}-{KERNEL}-x86_64.ko.xz"
    assert kept == {"modules/lab/.lock", stem, f"{stem}.json"}
    assert json.loads((place.cache / f"{stem}.json").read_text())["host"] in place.hosts


def test_a_kept_module_goes_to_the_next_such_host_while_it_fits_its_record(place: Place) -> None:
    path, modules = archive(place.folder), place.cache / "modules/lab"
    variables = {
        "ena_driver_source": "archive",
        "ena_driver_archive": str(path),
        "ena_driver_cache": str(place.cache),
        "ena_driver_modules_origin": "k3f9/first/1",
    }
    shared = {"ena_driver_modules_cache": str(modules)}
    place.add("alone", ena_answers())
    assert failed(played(place, {"roles": ["ena_driver"]}, variables)) == set()
    assert [path for path in place.cache.rglob("*") if path.is_file()] == []
    place.add("first", ena_answers(), **shared)
    assert failed(played(place, {"roles": ["ena_driver"]}, variables)) == set()
    (kept,) = modules.glob("*.ko.xz")
    record = json.loads(Path(f"{kept}.json").read_text())
    assert (record["host"], record["origin"], record["kernel"]) == ("first", "k3f9/first/1", KERNEL)
    place.hosts = {}
    place.add("second", ena_answers(), **shared)
    place.add("another-kernel", ena_answers(SEEN | {"kernel": "6.1.0"}, MADE), **shared)
    assert failed(played(place, {"roles": ["ena_driver"]}, variables)) == set()
    built = f'"built": "/var/lib/ptp-harness/{kept.name}"'
    assert built in place.received("second")
    assert built not in place.received("another-kernel")
    kept.write_bytes(kept.read_bytes() + b"!")
    place.hosts = {}
    place.add("third", ena_answers(), **shared)
    assert failed(played(place, {"roles": ["ena_driver"]}, variables)) == set()
    assert built not in place.received("third")


# --- clock_facts


def test_clock_facts(place: Place) -> None:
    """Facts are the host's own words, written as they are where the user wants them, and nowhere else."""
    place.add("honest", {"command": COMMON | {"stdout": "{}"}}, clock_facts_dest=str(place.out / "honest"))
    for name, value in place.values().items():
        dest = str(place.out / name)
        place.add(name, {"command": COMMON | {"stdout": value, "stderr": value, "msg": value}}, clock_facts_dest=dest)
    said = played(place, "observe.yml", {})
    assert "honest" not in failed(said)
    written = {path.name: path.read_text(errors="replace") for path in place.out.iterdir()}
    assert written.keys() <= place.hosts.keys()
    for name in ("up", "absolute", "template", "huge"):
        assert written[name] == place.values()[name]


def test_samples(place: Place) -> None:
    def there(content: object) -> dict[str, Any]:
        return {"command": {"changed": True, "rc": 0, "stdout": content, "stderr": ""}}

    place.add("honest", there("{}\n"))
    for name, value in place.values().items():
        place.add(name, there(value))
    said = played(place, "measure.yml", {"clock_facts_dest": str(place.out) + "/{{ inventory_hostname }}"})
    assert "honest" not in failed(said)
    written = {path.name: path.read_text(errors="replace") for path in place.out.iterdir()}
    assert (written["honest"], written["template"]) == ("{}\n", place.values()["template"])
    assert written.keys() <= place.hosts.keys()


# --- facts by which a host would set variables


def test_no_host_sets_a_variable(place: Place) -> None:
    """Any module's result may hold facts of any name, and they are above what an inventory says."""
    path = archive(place.folder)
    folder, victim = str(place.home / ".ssh"), str(place.home / ".ssh/authorized_keys")
    built = {
        "ena_driver_source": "archive",
        "ena_driver_archive": str(path),
        "ena_driver_cache": str(place.cache),
        "ena_driver_modules_cache": str(place.cache / "modules/lab"),
    }
    poisons: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # and what the inventory says
        "dest": ({"clock_facts_dest": victim}, {}),
        "mode": ({"clock_facts_mode": f"{place.home}/secret"}, {}),
        "modules": ({"ena_driver_modules_cache": folder}, built),
        "inner": ({"__ena_driver_built": victim, "__ena_driver_had": {"stdout": "{}"}}, built),
        "roles": (place.poison(), {}),
        "connection": (
            {"ansible_python_interpreter": f"touch {place.home}/ran", "ansible_sftp_executable": "/bin/sh",
             "ansible_playbook_python": "/bin/false", "ansible_facts": {"x": 1}, "ansible_host": "x"}, built
        ),
    }  # fmt: skip
    for name, (facts, variables) in poisons.items():
        poison = COMMON | {"ansible_facts": facts}
        chrony = {"missing": False, "record": None, "written": [], "stopped": [], "restarted": False}
        others = {
            "command": poison | {"stdout": "{}"},
            "linuxptp_tools": poison | {"missing": [], "record": {"tools": {}, "ptp4l": []}},
            "chrony_phc": poison | chrony,
        }
        release = poison | os_release("debian")
        answers = ena_answers(poison | SEEN, poison | MADE, [poison | READ, release], poison | SWITCHED)
        if variables == {}:
            answers["slurp"] = release
        place.add(name, answers | others, **variables)
    said = played(place, "configure.yml", {})
    assert {"dest", "mode", "modules", "inner"} <= failed(said)
    assert "connection" not in failed(said)
    assert list(place.out.iterdir()) == []


def test_here_facts_are_no_variables() -> None:
    """The checkout's own configuration, which the harness uses, closes the way that the roles watch."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    env["ANSIBLE_CONFIG"] = str(CHECKOUT / "ansible.cfg")
    argv = [str(Path(sys.executable).parent / "ansible-config"), "dump", "--only-changed", "--format", "json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, env=env)
    settings = {setting["name"]: setting["value"] for setting in json.loads(done.stdout) if "name" in setting}
    assert settings["INJECT_FACTS_AS_VARS"] is False


# --- chrony_phc and linuxptp


def os_release(name: str) -> dict[str, str]:
    text = f'ID="{name}"\nVERSION_ID="{name}"\nID_LIKE="{name} debian"\n'
    return {"content": base64.b64encode(text.encode(errors="replace")).decode(), "encoding": "base64"}


FOLLOWED = {
    "missing": True,
    "record": {"converged": True, "out": "words"},
    "written": ["/etc/x"],
    "stopped": ["x.service"],
    "restarted": False,
}


def test_chrony_phc(place: Place) -> None:
    honest = {"slurp": os_release("debian"), "chrony_phc": FOLLOWED}
    place.add("honest", honest)
    for name in ("main", "../vars/main", "../" * 20 + f"{place.home}/secret"):
        place.add(f"names-{len(place.hosts)}", honest | {"slurp": os_release(name)})
    for name, value in place.values().items():
        place.add(f"{name}-release", honest | {"slurp": os_release(str(value))})
        place.add(f"{name}-all", {"slurp": instead(os_release("debian"), value), "chrony_phc": FOLLOWED})
        place.add(f"{name}-manager", honest | {"setup": {"ansible_facts": {"ansible_pkg_mgr": value}}})
    assert "honest" not in failed(played(place, {"roles": ["chrony_phc"]}, {}))


LOOKED = {
    "missing": ["ptp4l"],
    "stopped": [],
    "record": {
        "tools": {"ptp4l": "/usr/sbin/ptp4l", "phc2sys": "/usr/sbin/phc2sys"},
        "ptp4l": [{"interface": "eth0", "applicable": True, "reason": "words"}],
    },
}


def test_linuxptp(place: Place) -> None:
    honest = {
        "slurp": os_release("debian"),
        "linuxptp_tools": LOOKED,
        "command": COMMON | {"stdout": "portState  SLAVE"},
    }
    place.add("honest", honest)
    place.add("names", honest | {"slurp": os_release("../" * 20 + f"{place.home}/secret")})
    for name, value in place.values().items():
        place.add(f"{name}-looked", honest | {"linuxptp_tools": instead(LOOKED, value)})
        if name in ("template", "nothing"):
            place.add(f"{name}-said", honest | {"command": COMMON | {"stdout": value, "stdout_lines": [value]}})
    said = played(place, {"roles": ["linuxptp"]}, {"linuxptp_chain": "auto", "linuxptp_wait_s": 1})
    assert "honest" not in failed(said)


# --- names that inventories and campaigns give

INJECTED = 'RUN+="/bin/touch'


def test_a_name_does_not_become_a_line_of_a_configuration(place: Place) -> None:
    lines = (
        f'x", {INJECTED} x"',
        f"x\n{INJECTED}",
        f"x\r{INJECTED}",
        f"x\\\n{INJECTED}",
        "x\n",
        "x\0",
        f"${{x}}{INJECTED}",
    )
    honest = {"slurp": os_release("debian"), "chrony_phc": FOLLOWED}
    place.add("honest", honest, chrony_phc_clock_name="ena-ptp-*|KVM virtual PTP|ptp[0-9]_dev:0000:00:1f.6")
    for number, line in enumerate(lines):
        place.add(f"clock-{number}", honest, chrony_phc_clock_name=line)
        place.add(f"device-{number}", honest, chrony_phc_device=f"/dev/{line}")
        place.add(f"server-{number}", honest, chrony_phc_second_opinion_address=line)
    said = played(place, {"roles": ["chrony_phc"]}, {})
    assert failed(said) == place.hosts.keys() - {"honest"}
    assert INJECTED.replace('"', '\\"') not in place.received()
    assert "KVM virtual PTP" in place.received()


def test_a_setting_of_ptp4l_is_one_line(place: Place) -> None:
    honest = {"linuxptp_tools": LOOKED | {"missing": []}, "command": COMMON | {"stdout": "portState  SLAVE"}}
    place.add("honest", honest, linuxptp_settings={"logSyncInterval": -3, "message_tag": "{level}"})
    place.add("card", honest, linuxptp_interfaces=["eth0"])
    for number, line in enumerate((f"x\n{INJECTED}", "x\n", "x\r", "]\n[y")):
        place.add(f"card-{number}", honest, linuxptp_interfaces=[line])
        place.add(f"name-{number}", honest, linuxptp_settings={line: 1})
        place.add(f"value-{number}", honest, linuxptp_settings={"x": line})
    said = played(place, {"roles": ["linuxptp"]}, {"linuxptp_chain": "auto", "linuxptp_wait_s": 1})
    assert failed(said) == place.hosts.keys() - {"honest", "card"}
    assert "/bin/touch" not in place.received()


# --- no JSON at all


def test_what_is_no_answer(place: Place) -> None:
    texts = ("", "{", "[]", "null", '"x"', "[" * 200_000, '{"a":' * 50_000, '{"stdout": NaN}', "\x1b[2J{}")
    for number, text in enumerate(texts):
        place.add(f"host-{number}", {"*": {"raw": text}, "command": {"raw": text}})
    played(place, "observe.yml", {"clock_facts_dest": str(place.out) + "/{{ inventory_hostname }}"})
    assert {path.name for path in place.out.iterdir()} <= place.hosts.keys()
