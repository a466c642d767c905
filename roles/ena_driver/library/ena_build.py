#!/usr/bin/python
"""Install a release of Amazon's ENA driver for the running kernel, and tell which module the kernel would load.

This is one module and not several tasks, because each task costs seconds on a distant or emulated host.
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

from ..module_utils.ptp_host import read_json, run_program, text  # noqa: TID252  # found so in a role and in a collection

DOCUMENTATION = r"""
module: ena_build
short_description: Install a release of Amazon's ENA driver for the running kernel
description:
  - Without C(archive) and C(built) it checks whether the running kernel would load the driver of this archive.
  - With C(archive), the archive on this host, it builds the driver with its clock by DKMS and installs it.
  - With C(built), a module on this host that was built earlier for this very kernel, it installs that module.
  - It loads no module.
options:
  version:
    description: The driver's version, which becomes DKMS's PACKAGE_VERSION.
    type: str
    required: true
  sha256:
    description: The archive's checksum, which distinguishes builds.
    type: str
    required: true
  archive:
    description: The archive on this host.
    type: path
  built:
    description: A module on this host that was built from the archive for this kernel.
    type: path
  record:
    description: File that records which module was installed.
    type: path
    required: true
  dkms_conf:
    description: Text of dkms.conf.
    type: str
    required: true
  platforms:
    description: Packages for a build, kernel headers included, by the ID of os-release.
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
  description: The machine's architecture, as in uname.
  returned: always
  type: str
packages:
  description: Packages that a build needs on this platform.
  returned: always
  type: list
  elements: str
by_apt:
  description: Whether this platform installs packages by apt.
  returned: always
  type: bool
module:
  description: The installed module's file.
  returned: when installed
  type: str
"""

NAME = "amzn-drivers"
DRIVER_FOLDERS = ("kernel/linux/ena/", "kernel/linux/common/")
SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")
MOST_BYTES = 256 << 20  # of the driver's parts of an archive, unpacked
REASON_CHARACTERS = 400


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
    check_params(module)
    facts = {
        "kernel": kernel,
        "machine": platform.machine(),
        "packages": select_packages(params["platforms"], text("/etc/os-release"), kernel),
        "by_apt": module.get_bin_path("apt-get") is not None,
    }
    module_file = installed_module(module, kernel)
    will_install = module_file is None and bool(params["archive"] or params["built"])
    if will_install and not module.check_mode:
        if params["archive"]:
            build(module, kernel)
        else:
            install_built(module, kernel)
        write_record(module, kernel)
        module_file = installed_module(module, kernel)
        if module_file is None:
            module.fail_json(
                msg=f"ena {params['version']} was installed, and modprobe would load {modprobe_file(module, kernel)}"
            )
    module.exit_json(changed=will_install, installed=module_file is not None, module=module_file, **facts)


def check_params(module: AnsibleModule) -> None:
    """Fail the task when version, checksum or module are malformed: they become parts of paths."""
    for name, pattern in (("version", r"[0-9]+(\.[0-9]+){1,3}"), ("sha256", r"[0-9a-f]{64}")):
        if not re.fullmatch(pattern, module.params[name]):
            module.fail_json(msg=f"{name} must be like {pattern}, got: {module.params[name]!r}")
    if module.params["built"] and not module.params["built"].endswith(SUFFIXES):
        module.fail_json(
            msg=f"the file of a built module ends with one of {', '.join(SUFFIXES)}: {module.params['built']}"
        )


def select_packages(platforms: dict, os_release: str, kernel: str) -> list[str]:
    """Select a build's packages by this host's ID in os-release, else by the first of ID_LIKE in `platforms`."""
    ids = dict(re.findall(r'^(ID|ID_LIKE)="?([^"\n]*)"?$', os_release, re.MULTILINE))
    names = [ids.get("ID", ""), *ids.get("ID_LIKE", "").split()]
    templates = next((platforms[name] for name in names if name in platforms), [])
    series = ".".join(kernel.split(".")[:2])
    return [name.replace("SERIES", "" if series == "6.1" else series).replace("KERNEL", kernel) for name in templates]


def installed_module(module: AnsibleModule, kernel: str) -> str | None:
    """Return the file of the module that the kernel would load, if it was installed from this archive, else None."""
    record = read_json(module.params["record"])
    now = current_state(module, kernel)
    return now["file"] if now["file"] and record == now else None


def current_state(module: AnsibleModule, kernel: str) -> dict[str, str]:
    """Describe the archive and the module that the kernel would load; equal to the record while both are unchanged."""
    file = modprobe_file(module, kernel)
    return {"sha256": module.params["sha256"], "kernel": kernel, "file": file, "file_sha256": checksum(file)}


def write_record(module: AnsibleModule, kernel: str) -> None:
    path = module.params["record"]
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as out:
        json.dump(current_state(module, kernel), out)
    os.replace(path + ".new", path)


def modprobe_file(module: AnsibleModule, kernel: str) -> str:
    """Return the file that modprobe would load; empty when there is none."""
    modinfo = module.get_bin_path("modinfo", required=True)
    rc, out, _ = run_program(module, [modinfo, "-k", kernel, "-F", "filename", "ena"])
    return out.strip() if rc == 0 else ""


def build(module: AnsibleModule, kernel: str) -> None:
    """Unpack the source for DKMS, build and install it. Fails the task with the compiler's message."""
    dkms = module.get_bin_path("dkms")
    if dkms is None:
        module.fail_json(msg="dkms is not installed on this host")
    if not os.path.exists(f"/lib/modules/{kernel}/build/Makefile"):
        module.fail_json(msg=f"the headers of the running kernel {kernel} are not installed on this host")
    version = module.params["version"]
    source = f"/usr/src/{NAME}-{version}"
    if os.path.isdir(f"/var/lib/dkms/{NAME}/{version}"):  # from another archive, or from an interrupted build
        run_or_fail(module, dkms, "remove", f"{NAME}/{version}", "--all")
    shutil.rmtree(source, ignore_errors=True)
    unpack(module, module.params["archive"], source)
    with open(f"{source}/dkms.conf", "w", encoding="utf-8") as file:
        file.write(module.params["dkms_conf"])
    run_or_fail(module, dkms, "add", f"{NAME}/{version}")
    run_or_fail(module, dkms, "build", f"{NAME}/{version}", "-k", kernel)
    run_or_fail(module, dkms, "install", f"{NAME}/{version}", "-k", kernel, "--force")


def unpack(module: AnsibleModule, archive: str, source: str) -> None:
    """Unpack the driver's folders of the archive below `source`: regular files only, none with ".." in its name."""
    if checksum(archive) != module.params["sha256"]:
        module.fail_json(msg=f"{archive} has another checksum on this host than {module.params['sha256']}")
    remaining_bytes = MOST_BYTES
    with tarfile.open(archive) as tar:
        for member in tar:
            name = strip_top_folder(member.name)
            if not member.isreg() or not name.startswith(DRIVER_FOLDERS) or ".." in name.split("/"):
                continue
            remaining_bytes -= member.size
            if remaining_bytes < 0:
                module.fail_json(msg=f"{archive} unpacks to more than {MOST_BYTES} bytes")
            path = os.path.join(source, name)
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            with open(path, "wb") as file:
                shutil.copyfileobj(tar.extractfile(member), file)
            os.chmod(path, 0o755 if member.mode & 0o100 else 0o644)
    if not os.path.exists(f"{source}/{DRIVER_FOLDERS[0]}Makefile"):
        module.fail_json(msg=f"{archive} has no {DRIVER_FOLDERS[0]}Makefile: it is not a release of the ENA driver")


def strip_top_folder(name: str) -> str:
    """Return a member's name without the archive's top folder, if it has one."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/".join(parts if parts[:1] == ["kernel"] else parts[1:])


def install_built(module: AnsibleModule, kernel: str) -> None:
    """Install a module that was built earlier, in a folder that depmod prefers to the kernel's own modules."""
    built = module.params["built"]
    folder = f"/lib/modules/{kernel}/updates"
    os.makedirs(folder, mode=0o755, exist_ok=True)
    name = "ena.ko" + built.rpartition(".ko")[2]
    for suffix in SUFFIXES:
        if os.path.exists(f"{folder}/ena{suffix}"):
            os.unlink(f"{folder}/ena{suffix}")
    shutil.copyfile(built, f"{folder}/{name}.new")
    os.chmod(f"{folder}/{name}.new", 0o644)
    os.replace(f"{folder}/{name}.new", f"{folder}/{name}")
    run_or_fail(module, module.get_bin_path("depmod", required=True), kernel)


def run_or_fail(module: AnsibleModule, *argv: str) -> None:
    """Run a command. Fails the task with the compiler's first error, or with the end of the command's output."""
    rc, out, err = run_program(module, list(argv))
    if rc == 0:
        return
    log = text(f"/var/lib/dkms/{NAME}/{module.params['version']}/build/make.log")
    complaints = [line for line in log.splitlines() if "error:" in line.lower() or "Error " in line]
    reason = complaints[0] if complaints else (err.strip() or out.strip())[-REASON_CHARACTERS:]
    reason += explain_compiler(reason, text("/proc/version"))
    module.fail_json(
        msg=f"`{' '.join(argv)}` ended with status {rc}: {reason}", stdout=out, stderr=err, make_log=log[-20_000:]
    )


def explain_compiler(reason: str, proc_version: str) -> str:
    """Name what helps a compiler that was killed, or that does not know the options of the kernel's own compiler."""
    if "Killed" in reason:
        return "; the compiler was killed, as where memory runs out: choose a size with at least 1 GiB, or give it swap"
    built_by = re.search(r"\(([\w.-]*(?:gcc|clang)[\w.-]*) \([^)]*\) ([0-9.]+)", proc_version)
    if "unrecognized command" not in reason or built_by is None:
        return ""
    return f"; the running kernel was built by {built_by[1]} {built_by[2]}: install that compiler on the host"


def checksum(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
