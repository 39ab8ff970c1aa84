#!/usr/bin/python
# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_cmdline
short_description: Set kernel arguments for the next boot, and judge the IOMMU
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Adds and removes single arguments in the configuration of the boot loader, and leaves all else
    as it is. Then it has the boot entries made again and reads them back. If that fails, or an
    entry has lost an argument, the module puts the files back and fails.
  - It works with GRUB of Debian and Ubuntu, with C(grubby) of RHEL and Fedora, and with
    C(/etc/kernel/cmdline) and C(kernel-install) or C(proxmox-boot-tool), whichever the host has. If
    the host has none of them, the running kernel must have the arguments already.
  - GRUB's configuration is a shell script. The module does not edit your lines in it. It asks a
    shell what they come to, before and after. It keeps its arguments in
    C(/etc/default/grub.d/zz-mergetb-sriov.cfg), which C(update-grub) reads last. That file adds to
    what the others say and takes from it, so conditions and commands in them stay in force. If
    C(update-grub) would read it too early, or it could not keep an argument, the module changes
    nothing and fails. The file remembers what you asked for. It is gone once O(absent) has named
    all of that.
  - C(grubby) changes the entries of all kernels. For kernels to come, the module keeps the same
    lines at the end of C(/etc/default/grub), and edits C(/etc/kernel/cmdline).
  - Lines of C(/etc/kernel/cmdline) that begin with C(#) are comments. But systemd before 257 takes
    them for arguments, so they must not contradict O(present).
  - It refuses ostree, and unified kernel images that C(kernel-install) does not make, and changes
    nothing there. It does not find GRUB without C(update-grub) or C(grubby), as on SUSE and Arch.
    Set the arguments by hand there.
  - A shell reads GRUB's configuration in check mode, too, and runs the commands in it, as it does
    at every update of a kernel.
  - An argument with a comma-separated value counts for each of the values. V(intel_iommu=on,sm_on)
    is as good as V(intel_iommu=on).
  - Runs of it on one host wait for each other.
  - It never reboots. RV(reboot_required) tells whether a reboot is needed.
extends_documentation_fragment:
  - mergetb.sriov._attributes
  - mergetb.sriov._attributes.change
options:
  iommu:
    description:
      - Set what the IOMMU of this platform needs, and take away what switches an IOMMU off.
      - The ACPI table of the firmware tells the platform. Intel's (C(DMAR)) needs
        V(intel_iommu=on); AMD's (C(IVRS)) and Arm's (C(IORT)) need nothing. The module takes
        V(amd_iommu=on) away, which the kernel does not know.
      - A reboot is then required only if the IOMMU is not effective. If no reboot can make it
        effective, the module fails and says what can.
    type: bool
    default: false
  present:
    description:
      - Kernel arguments that the next boot must have.
      - They replace the opposite of a value that is V(on), V(off), V(pt) or V(nopt). An argument of
        the same name with another value stays, because some may be given several times.
    type: list
    elements: str
    default: []
  absent:
    description:
      - Kernel arguments that the next boot must not have.
      - V(name=value) means that value, also within a comma-separated list. V(name) means the
        argument with any value but one that O(present) wants.
      - Name here what the module has added to take it back. With GRUB, the arguments that it
        removed for them then come back.
    type: list
    elements: str
    default: []
seealso:
  - module: mergetb.sriov.reboot_marker
"""

EXAMPLES = r"""
- name: Have the IOMMU at the next boot, without translation for the host's own devices
  mergetb.sriov.kernel_cmdline:
    iommu: true
    present: [iommu=pt]

- name: Give the guests 16 huge pages of 1 GiB
  mergetb.sriov.kernel_cmdline:
    present: [default_hugepagesz=1G, hugepagesz=1G, hugepages=16]
    absent: [hugepages]

- name: Take the arguments of the IOMMU back
  mergetb.sriov.kernel_cmdline:
    absent: [intel_iommu=on, iommu=pt]
"""

RETURN = r"""
boot_loader:
  description:
    - What the host keeps its kernel arguments with; V(grub), V(grubby), V(systemd-boot) or V(none).
  returned: success
  type: str
  sample: grub
configured:
  description:
    - The kernel arguments of the first boot entry, in check mode as they would be; null where the
      boot loader does not show its entries.
  returned: success
  type: list
  elements: str
  sample: [root=UUID=9d47, ro, quiet, intel_iommu=on, iommu=pt]
running:
  description: The arguments that the running kernel was started with.
  returned: success
  type: list
  elements: str
  sample: [root=UUID=9d47, ro, quiet]
pending:
  description: How the running kernel's arguments differ from what is wanted.
  returned: success
  type: dict
  contains:
    missing:
      description: Wanted arguments that it was started without.
      type: list
      elements: str
      sample: [intel_iommu=on, iommu=pt]
    unwanted:
      description: Arguments that it was started with and that it must not have.
      type: list
      elements: str
      sample: [intel_iommu=off]
iommu:
  description: The IOMMU of the platform.
  returned: success
  type: dict
  contains:
    platform:
      description: The IOMMU that the firmware announces; null if it announces none.
      type: str
      sample: Intel VT-d
    effective:
      description: Whether the running kernel drives it and has put devices behind it.
      type: bool
      sample: false
reboot_required:
  description:
    - Whether a reboot is needed. With O(iommu) it is if the IOMMU is not effective. Without, it is
      if the running kernel has other arguments than those asked for.
  returned: success
  type: bool
  sample: true
reason:
  description: Why a reboot is required; empty where it is not.
  returned: success
  type: str
  sample: the kernel was started without intel_iommu=on and with intel_iommu=off
reboot_cause:
  description:
    - Why O(iommu) takes a reboot, in the form that M(mergetb.sriov.reboot_marker) takes; null if it
      takes none.
  returned: success
  type: dict
  sample: null
steps:
  description: What was done, or would be in check mode, by what it is done to.
  returned: success
  type: dict
  sample:
    /etc/default/grub.d/zz-mergetb-sriov.cfg: [write]
    boot entries of grub: [make again, remove intel_iommu=off, add intel_iommu=on iommu=pt]
"""

import functools
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _command_line, _loaders
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._module import run_module
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger

ARGUMENT_SPEC: dict[str, t.Any] = {
    "iommu": {"type": "bool", "default": False},
    "present": {"type": "list", "elements": "str", "default": []},
    "absent": {"type": "list", "elements": "str", "default": []},
}


def run(host: Host, params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    with _ledger.exclusive(host, check_mode=check_mode):
        arguments = _loaders.plan_host(
            host, iommu=params["iommu"], present=params["present"], absent=params["absent"]
        )
        plan = arguments.plan
        configured = plan.entries if check_mode else _loaders.apply(arguments)
    running, wanted = arguments.running, arguments.wanted
    return {
        "changed": plan.changed,
        "boot_loader": arguments.loader.name,
        "configured": _command_line.arguments(configured[0]) if configured else None,
        "running": _command_line.arguments(running),
        "pending": {
            "missing": _command_line.missing(running, wanted),
            "unwanted": _command_line.unwanted(running, wanted),
        },
        "iommu": {
            "platform": arguments.platform.name if arguments.platform else None,
            "effective": arguments.effective,
        },
        "reboot_required": bool(arguments.reason),
        "reason": arguments.reason,
        "reboot_cause": arguments.reboot_cause and arguments.reboot_cause._asdict(),
        "steps": arguments.steps,
        "diff": [
            *(
                {
                    "before_header": path,
                    "after_header": path,
                    "before": arguments.files[path],
                    "after": text,
                }
                for path, text in plan.files.items()
            ),
            {
                "before_header": f"boot entries of {arguments.loader.name}",
                "after_header": f"boot entries of {arguments.loader.name}",
                "before": "".join(f"{entry}\n" for entry in arguments.entries or []),
                "after": "".join(f"{entry}\n" for entry in plan.entries or []),
            },
        ],
    }


def main() -> None:
    run_module(functools.partial(run, Host()), ARGUMENT_SPEC)


if __name__ == "__main__":
    main()
