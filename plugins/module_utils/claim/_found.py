# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run finds on its host: the PFs, their VFs and what these have, and whole functions."""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _whole
from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import (
    Claim,
    FunctionClaim,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import (
    NoVfAttributesError,
    VfState,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _pci
from ansible_collections.mergetb.sriov.plugins.module_utils.vf import _attributes, _isolation

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim._request import AnyClaim
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import Link
    from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import (
        Ledger,
        VfEntry,
    )


# A driver may take seconds to make a hundred VFs.
_SETTLE_SECONDS = 30
_SETTLE_EVERY = 0.1


class UnsettledError(SriovError):
    """The VFs of a PF are just being made or destroyed, so nothing is known about them."""


class HostPf(t.NamedTuple):
    """A PF of the host as the run found it, with the attributes of its VFs by index.

    *states* is `None` if the NIC keeps none for its VFs (no VST).
    """

    pf: _pci.PF
    link: Link
    states: dict[int, VfState] | None


class Found(t.NamedTuple):
    """What a run found on its host.

    *host_pfs* are the PFs that it is about, by permanent MAC, and *drivers* the drivers of all of
    their VFs; *devices* are the devices that the run is about. Both are by address. *functions* are
    the PCI functions of all interfaces of the host by the MACs that these have. *claimed* are the
    VFs that are claimed, and *whole* is what is known of the whole functions.
    """

    ledger: Ledger
    host_pfs: dict[str, HostPf]
    drivers: dict[str, str | None]
    devices: dict[str, _pci.Device]
    functions: dict[str, dict[str, str]]
    claimed: frozenset[tuple[str, int]]
    whole: _whole.Whole


def look(host: Host, mzid: str, claims: t.Sequence[AnyClaim], ledger: Ledger) -> Found:
    """Read the host, with the devices that are claimed or that *mzid* holds."""
    claimed = frozenset((item.pf_mac, item.vf) for item in claims if isinstance(item, Claim))
    vfs = {*claimed, *(entry.key for entry in _ledger.vfs(ledger).get(mzid, []))}
    whole = _whole.look(
        host, [item for item in claims if isinstance(item, FunctionClaim)], mzid, ledger
    )
    host_pfs = read_pfs(host, {mac for mac, _vf in vfs})
    # A VF that the kernel has locked keeps nobody from the others, so no more are read.
    addresses = [
        host_pfs[mac].pf.vfs[vf]
        for mac, vf in sorted(vfs)
        if mac in host_pfs and 0 <= vf < len(host_pfs[mac].pf.vfs)
    ]
    functions: dict[str, dict[str, str]] = {}
    for link in host.netlink.links():
        # What is stacked on an interface shows its MAC, too, but has no permanent one.
        if link.permanent_mac:
            function = _pci.function_of_interface(host, link.name) or ""
            for mac in {link.mac, link.permanent_mac} - {None}:
                functions.setdefault(str(mac), {})[link.name] = function
    return Found(
        ledger,
        host_pfs,
        {
            address: host.link(f"{_pci.DEVICES}/{address}/driver")
            for host_pf in host_pfs.values()
            for address in host_pf.pf.vfs
        },
        {
            **dict(zip(addresses, _pci.read_devices(host, addresses))),
            **{address: function.device for address, function in whole.functions.items()},
        },
        functions,
        claimed,
        whole,
    )


def read_pfs(host: Host, macs: t.Iterable[str]) -> dict[str, HostPf]:
    """The PFs with the permanent *macs*, by MAC; those that the host does not have are left out.

    Raises `SriovError` with all PFs whose VFs are being made or destroyed all the time.
    """
    wanted = set(macs)
    host_pfs: dict[str, HostPf] = {}
    problems: list[str] = []

    def settled() -> bool:
        problems.clear()
        links = host.netlink.links()
        interfaces, ambiguous = interfaces_of(host, wanted, links)
        if ambiguous:
            raise SriovError("; ".join(ambiguous.values()))
        for mac, link in interfaces.items():
            if mac not in host_pfs:
                try:
                    host_pfs[mac] = read_pf(host, link, links)
                except UnsettledError as error:
                    problems.append(str(error))
        return not problems

    if not host.wait_for(settled, seconds=_SETTLE_SECONDS, every=_SETTLE_EVERY):
        raise SriovError("; ".join(problems))
    return host_pfs


def interfaces_of(
    host: Host, macs: t.Container[str], links: t.Iterable[Link]
) -> tuple[dict[str, Link], dict[str, str]]:
    """The interfaces of the PFs with the permanent *macs*, and what is wrong where that is unclear.

    What lies on an interface may have its permanent MAC, too (ipvlan, MACsec), but no function.
    """
    functions: dict[str, dict[str, Link]] = {}
    for link in links:
        if link.permanent_mac in macs:
            address = _pci.function_of_interface(host, link.name)
            if address is not None and not _pci.is_vf(host, address):
                functions.setdefault(str(link.permanent_mac), {}).setdefault(address, link)
    ambiguous = {
        mac: f"{mac} is the permanent MAC of several PFs: {', '.join(sorted(found))}. Their VFs "
        "cannot be told apart: take the driver from all but one, or mend the MACs of the cards"
        for mac, found in functions.items()
        if len(found) > 1
    }
    found = {mac: next(iter(found.values())) for mac, found in functions.items()}
    return {mac: link for mac, link in found.items() if mac not in ambiguous}, ambiguous


def read_pf(host: Host, link: Link, links: t.Sequence[Link]) -> HostPf:
    """The PF with the interface *link*, one of *links*, which are the host's.

    Raises `UnsettledError` while VFs are being made or destroyed. The kernel makes all `virtfnN`
    links before it counts the VFs, and destroys them before it counts none (sriov_enable(),
    sriov_disable()), so that links, count and attributes are equal in number once that has ended.
    Whether the driver keeps attributes at all does not depend on the moment.
    """
    name = f"PF {link.name} ({link.permanent_mac})"
    states: dict[int, VfState] | None
    try:
        pf = _pci.find_pf(host, link.name, links)
        try:
            states = host.netlink.vf_states(link.ifindex)
        except NoVfAttributesError:
            states = None
        again = _pci.find_pf(host, link.name, links)
    except OSError as error:
        raise UnsettledError(f"{name} cannot be read: {error}") from error
    count = pf.numvfs or 0
    told = count if states is None else len(states)
    if pf != again or not len(pf.vfs) == count == told:
        raise UnsettledError(
            f"{name}: its VFs are just being made or destroyed ({len(pf.vfs)} are on PCI, the "
            f"driver counts {count}, attributes are there for {told}): run this again when that "
            "has ended"
        )
    return HostPf(pf, link, states)


def states_of(host_pfs: t.Mapping[str, HostPf]) -> dict[int, dict[int, VfState]]:
    """The attributes of the VFs of *host_pfs* by interface index, for those that keep any."""
    return {
        host_pf.link.ifindex: host_pf.states
        for host_pf in host_pfs.values()
        if host_pf.states is not None
    }


def address_of(entry: VfEntry, host_pfs: t.Mapping[str, HostPf]) -> str | None:
    """The present address of the VF of *entry*; `None` if it is gone."""
    host_pf = host_pfs.get(entry.pf_mac)
    return host_pf.pf.vfs[entry.vf] if host_pf and entry.vf < len(host_pf.pf.vfs) else None


def target(entry: VfEntry, host_pfs: t.Mapping[str, HostPf]) -> _isolation.Target:
    """What *entry* promises of its VF."""
    return _isolation.Target(
        # The MAC tells apart what a model may give one name.
        _attributes.Vf(
            f"{entry.pf_name} ({entry.pf_mac})", host_pfs[entry.pf_mac].link.ifindex, entry.vf
        ),
        entry.address,
        entry.values,
        entry.driver,
        name=entry.label,
    )
