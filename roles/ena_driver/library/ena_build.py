#!/usr/bin/python
"""Which module of the ENA driver does this kernel load, and how does it come to load the one that was asked for?

One module instead of a row of tasks: each task costs seconds on a far or emulated host.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import tarfile

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.ptp_host import read_json, text  # noqa: TID252  # found so in a role and in a collection

DOCUMENTATION = r"""
module: ena_build
short_description: Have a release of Amazon's ENA driver installed for the running kernel
description:
  - Without C(archive) and C(built) it looks whether the running kernel would load the driver of this archive.
  - With C(archive), the archive on this host, it builds that by DKMS, with its clock, and installs it.
  - With C(built), a module on this host that was built before for this very kernel, it installs that.
  - It loads nothing.
options:
  version:
    description: The driver's version, which becomes DKMS's PACKAGE_VERSION.
    type: str
    required: true
  sha256:
    description: The archive's checksum, which tells one build from another.
    type: str
    required: true
  archive:
    description: The archive on this host.
    type: path
  built:
    description: A module on this host that was built from the archive for this kernel.
    type: path
  record:
    description: Where it is written down which module was installed.
    type: path
    required: true
  dkms_conf:
    description: Text of dkms.conf.
    type: str
    required: true
  platforms:
    description: Packages that a build needs and those of the kernel's headers, by the ID of os-release.
    type: dict
    required: true
author:
  - PTP Harness (@ptp-harness)
"""

RETURN = r"""
installed:
  description: Whether the running kernel loads the module of this archive.
  returned: always
  type: bool
kernel:
  description: The running kernel's release.
  returned: always
  type: str
machine:
  description: The machine's architecture, as uname tells it.
  returned: always
  type: str
packages:
  description: Packages that a build needs on this platform.
  returned: always
  type: list
  elements: str
module:
  description: The installed module's file.
  returned: when installed
  type: str
"""

NAME = "amzn-drivers"
PARTS = ("kernel/linux/ena/", "kernel/linux/common/")
ENDS = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")
MOST_BYTES = 256 << 20  # of the driver's parts of an archive, unpacked
TAIL = 400


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "version": {"type": "str", "required": True},
            "sha256": {"type": "str", "required": True},
            "archive": {"type": "path"},
            "built": {"type": "path"},
            "record": {"type": "path", "required": True},
            "dkms_conf": {"type": "str", "required": True},
            "platforms": {"type": "dict", "required": True},
        },
        mutually_exclusive=[("archive", "built")],
        supports_check_mode=True,
    )
    params, kernel = module.params, os.uname().release
    refuse(module)
    said = {
        "kernel": kernel,
        "machine": platform.machine(),
        "packages": packages(params["platforms"], text("/etc/os-release"), kernel),
    }
    before = installed(module, kernel)
    acts = before is None and bool(params["archive"] or params["built"])
    if acts and not module.check_mode:
        if params["archive"]:
            build(module, kernel)
        else:
            take(module, kernel)
        write_down(module, kernel)
        before = installed(module, kernel)
        if before is None:
            module.fail_json(
                msg=f"ena {params['version']} was installed, and modprobe would load {found(module, kernel)}"
            )
    module.exit_json(changed=acts, installed=before is not None, module=before, **said)


def refuse(module: AnsibleModule) -> None:
    """Fail the task where version, checksum or module have another form than theirs: they become parts of paths."""
    for name, pattern in (("version", r"[0-9]+(\.[0-9]+){1,3}"), ("sha256", r"[0-9a-f]{64}")):
        if not re.fullmatch(pattern, module.params[name]):
            module.fail_json(msg=f"{name} must be like {pattern}, got: {module.params[name]!r}")
    if module.params["built"] and not module.params["built"].endswith(ENDS):
        module.fail_json(msg=f"the file of a built module ends with one of {', '.join(ENDS)}: {module.params['built']}")


def packages(platforms: dict, os_release: str, kernel: str) -> list[str]:
    """What a build needs, by this host's ID in os-release, else by the first of ID_LIKE that is known."""
    words = dict(re.findall(r'^(ID|ID_LIKE)="?([^"\n]*)"?$', os_release, re.MULTILINE))
    names = [words.get("ID", ""), *words.get("ID_LIKE", "").split()]
    wanted = next((platforms[name] for name in names if name in platforms), [])
    series = ".".join(kernel.split(".")[:2])
    return [name.replace("SERIES", "" if series == "6.1" else series).replace("KERNEL", kernel) for name in wanted]


def installed(module: AnsibleModule, kernel: str) -> str | None:
    """The file of the module that the kernel would load, when it is the one of this archive."""
    record = read_json(module.params["record"])
    now = as_it_is(module, kernel)
    return now["file"] if now["file"] and record == now else None


def as_it_is(module: AnsibleModule, kernel: str) -> dict[str, str]:
    """What ties the archive to the module that the kernel would load."""
    file = found(module, kernel)
    return {"sha256": module.params["sha256"], "kernel": kernel, "file": file, "file_sha256": checksum(file)}


def write_down(module: AnsibleModule, kernel: str) -> None:
    path = module.params["record"]
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as out:
        json.dump(as_it_is(module, kernel), out)
    os.replace(path + ".new", path)


def found(module: AnsibleModule, kernel: str) -> str:
    """The file that modprobe would load; empty where there is none."""
    modinfo = module.get_bin_path("modinfo", required=True)
    rc, out, _ = module.run_command([modinfo, "-k", kernel, "-F", "filename", "ena"])
    return out.strip() if rc == 0 else ""


def build(module: AnsibleModule, kernel: str) -> None:
    """Put the source where DKMS looks for it, build and install it. Fails the task with the compiler's words."""
    dkms = module.get_bin_path("dkms")
    if dkms is None:
        module.fail_json(msg="dkms is not installed on this host")
    if not os.path.exists(f"/lib/modules/{kernel}/build/Makefile"):
        module.fail_json(msg=f"the headers of the running kernel {kernel} are not installed on this host")
    version = module.params["version"]
    source = f"/usr/src/{NAME}-{version}"
    if os.path.isdir(f"/var/lib/dkms/{NAME}/{version}"):  # of another archive, or of a build that broke off
        call(module, dkms, "remove", f"{NAME}/{version}", "--all")
    shutil.rmtree(source, ignore_errors=True)
    unpack(module, module.params["archive"], source)
    with open(f"{source}/dkms.conf", "w", encoding="utf-8") as file:
        file.write(module.params["dkms_conf"])
    call(module, dkms, "add", f"{NAME}/{version}")
    call(module, dkms, "build", f"{NAME}/{version}", "-k", kernel)
    call(module, dkms, "install", f"{NAME}/{version}", "-k", kernel, "--force")


def unpack(module: AnsibleModule, archive: str, source: str) -> None:
    """Write the driver's own parts of the archive below `source`: regular files only, none with ".." in its name."""
    if checksum(archive) != module.params["sha256"]:
        module.fail_json(msg=f"{archive} has another checksum on this host than {module.params['sha256']}")
    left = MOST_BYTES
    with tarfile.open(archive) as whole:
        for member in whole:
            name = inside(member.name)
            if not member.isreg() or not name.startswith(PARTS) or ".." in name.split("/"):
                continue
            left -= member.size
            if left < 0:
                module.fail_json(msg=f"{archive} unpacks to more than {MOST_BYTES} bytes")
            path = os.path.join(source, name)
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            with open(path, "wb") as file:
                shutil.copyfileobj(whole.extractfile(member), file)
            os.chmod(path, 0o755 if member.mode & 0o100 else 0o644)
    if not os.path.exists(f"{source}/{PARTS[0]}Makefile"):
        module.fail_json(msg=f"{archive} has no {PARTS[0]}Makefile: it is not a release of the ENA driver")


def inside(name: str) -> str:
    """A member's name within the archive's top folder, if it has one."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/".join(parts if parts[:1] == ["kernel"] else parts[1:])


def take(module: AnsibleModule, kernel: str) -> None:
    """Put a module that was built before where depmod prefers it to the kernel's own."""
    built = module.params["built"]
    folder = f"/lib/modules/{kernel}/updates"
    os.makedirs(folder, mode=0o755, exist_ok=True)
    name = "ena.ko" + built.rpartition(".ko")[2]
    for other in ENDS:
        if os.path.exists(f"{folder}/ena{other}"):
            os.unlink(f"{folder}/ena{other}")
    shutil.copyfile(built, f"{folder}/{name}.new")
    os.chmod(f"{folder}/{name}.new", 0o644)
    os.replace(f"{folder}/{name}.new", f"{folder}/{name}")
    call(module, module.get_bin_path("depmod", required=True), kernel)


def call(module: AnsibleModule, *argv: str) -> None:
    """Run a command. Fails the task with the compiler's first complaint, or with the command's last words."""
    rc, out, err = module.run_command(list(argv))
    if rc == 0:
        return
    log = text(f"/var/lib/dkms/{NAME}/{module.params['version']}/build/make.log")
    complaints = [line for line in log.splitlines() if "error:" in line.lower() or "Error " in line]
    words = complaints[0] if complaints else (err.strip() or out.strip())[-TAIL:]
    module.fail_json(
        msg=f"`{' '.join(argv)}` ended with status {rc}: {words}", stdout=out, stderr=err, make_log=log[-20_000:]
    )


def checksum(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
