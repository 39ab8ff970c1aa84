# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host has of SR-IOV, as plain data."""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils import _ledger, _pci
from ansible_collections.mergetb.sriov.plugins.module_utils._errors import SriovError

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils._netlink import VfState


def gather(host: Host, selectors: t.Sequence[str] | None) -> dict[str, t.Any]:
    """The PFs that *selectors* name, or all, with their VFs, and the ledger.

    The keys are those in RETURN of `sriov_info`.
    """
    if selectors is None:
        pfs = _pci.all_pfs(host)
    else:
        pfs = [_pci.find_pf(host, selector) for selector in selectors]
    indexes = {link.name: link.index for link in host.netlink.links()}
    return {
        "iommu_groups": len(host.names("/sys/kernel/iommu_groups")),
        "pfs": [_describe_pf(host, pf, indexes.get(pf.interface or "")) for pf in pfs],
        "materializations": {
            mzid: [entry._asdict() for entry in entries]
            for mzid, entries in _ledger.read(host).items()
        },
    }


def _describe_pf(host: Host, pf: _pci.PF, ifindex: int | None) -> dict[str, t.Any]:
    device = _pci.read_device(host, pf.address)
    identity = _pci.read_identity(host, pf.address)
    states: dict[int, VfState] = {}
    problem = None
    if ifindex is not None:
        try:
            states = host.netlink.vf_states(ifindex)
        except SriovError as error:
            problem = str(error)
    elif pf.vfs:
        problem = "the PF has no network interface, which VF attributes are read through"
    return {
        "address": pf.address,
        "interface": pf.interface,
        "mac": pf.mac,
        "vendor": identity.vendor,
        "device": identity.device,
        "driver": pf.driver,
        "iommu_group": device.iommu_group,
        "numa_node": device.numa_node,
        "numvfs": pf.numvfs,
        "totalvfs": pf.totalvfs,
        "autoprobe": pf.autoprobe,
        "capabilities": _pci.read_capabilities(host, pf.address)._asdict(),
        "problem": problem,
        "vfs": [
            {
                "index": index,
                **_describe_vf(_pci.read_device(host, address)),
                **(states[index]._asdict() if index in states else {}),
            }
            for index, address in enumerate(pf.vfs)
        ],
    }


def _describe_vf(device: _pci.Device) -> dict[str, t.Any]:
    return {
        "address": device.address,
        "driver": device.driver,
        "iommu_group": device.iommu_group,
        "numa_node": device.numa_node,
    }
