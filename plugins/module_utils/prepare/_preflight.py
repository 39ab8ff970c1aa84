# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host is, as far as its PFs and their VFs need to know, and what it is to have."""

from __future__ import annotations

import platform
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _iommu
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware import _tool
from ansible_collections.mergetb.sriov.plugins.module_utils.machine import _kernel
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _judge

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host


class Seen(t.NamedTuple):
    """The PFs that are *wanted*, those that were *found*, by name, and the *problems* with all."""

    wanted: list[_judge.WantedPf]
    found: dict[str, _judge.Facts]
    problems: list[_judge.Problem]

    @property
    def firmware(self) -> dict[str, list[dict[str, t.Any]]]:
        """What each role that sets the firmware of NICs is to set in which PFs."""
        return _judge.firmware_settings(self.wanted, self.found)


def look(
    host: Host, pfs: t.Sequence[t.Mapping[str, t.Any]], numvfs: object, *, firmware: bool
) -> Seen:
    """Find and judge *pfs*; raises `SriovError` for input that is none."""
    wanted = _judge.wanted(pfs, numvfs)
    return Seen(wanted, *_judge.look(host, wanted, firmware=firmware))


def described(host: Host, seen: Seen) -> dict[str, t.Any]:
    """What was *seen* of the host, with the keys in RETURN of the module `preflight`."""
    iommu = _iommu.platform(host)
    return {
        "platform": {
            "arch": platform.machine(),
            "iommu": iommu.name if iommu else None,
            "iommu_effective": _iommu.effective(host),
            "lockdown": _kernel.lockdown(host),
        },
        "pfs": [_described(name, facts) for name, facts in seen.found.items()],
        "wanted": [{"pf": pf.pf, "numvfs": pf.numvfs} for pf in seen.wanted],
        "firmware": seen.firmware,
        "firmware_tool": _tool.installed(host),
        "problems": [{**problem._asdict(), "text": str(problem)} for problem in seen.problems],
    }


def _described(name: str, facts: _judge.Facts) -> dict[str, t.Any]:
    return {
        "name": name,
        "address": facts.pf.address,
        "interface": facts.pf.interface,
        "mac": facts.pf.mac,
        "vendor": facts.vendor,
        "device": facts.device,
        "driver": facts.pf.driver,
        "numvfs": facts.pf.numvfs,
        "totalvfs": facts.pf.totalvfs,
        "sriov": facts.capabilities.sriov,
        "aer": facts.capabilities.aer,
        "ari": facts.capabilities.ari,
        "acs": facts.acs,
        "iommu_group": facts.iommu_group,
        "isolated": not facts.group_mates if facts.iommu_group else None,
    }
