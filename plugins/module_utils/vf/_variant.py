# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which VFIO driver fits a PCI function best.

A vendor's variant of `vfio-pci` can do more for its own functions, such as move a guest to another
host while it runs. Each VFIO driver tells the functions that it is for as module aliases that begin
with `vfio_pci:`; `vfio-pci` itself is for all (Documentation/driver-api/vfio-pci-device-specific-
driver-acceptance.rst, drivers/vfio/pci/vfio_pci.c).
"""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

AUTO = "auto"
GENERIC = "vfio-pci"
_GENERIC_MODULE = "vfio_pci"


def best(host: Host, addresses: t.Iterable[str]) -> dict[str, str]:
    """The VFIO driver that fits each function best, by address.

    Raises `SriovError` if several variants are for one function.
    """
    aliases = {address: _alias(host, address) for address in addresses}
    drivers = {alias: _driver_for(host, alias) for alias in dict.fromkeys(aliases.values())}
    return {address: drivers[alias] for address, alias in aliases.items()}


def _alias(host: Host, address: str) -> str | None:
    modalias = host.read(f"{_pci.DEVICES}/{address}/modalias") or ""
    bus, _colon, function = modalias.partition(":")
    return f"vfio_pci:{function}" if bus == "pci" else None


def _driver_for(host: Host, alias: str | None) -> str:
    if alias is None:
        return GENERIC
    # It fails if no module is for the function, as where VFIO is built into the kernel.
    modules = host.run(["modprobe", "--resolve-alias", alias]).out.split()
    variants = sorted({module.replace("-", "_") for module in modules} - {_GENERIC_MODULE})
    if len(variants) > 1:
        raise SriovError(
            f"the VFIO drivers {', '.join(variants)} are all for functions of {alias}: name the "
            f"one to use instead of {AUTO}"
        )
    # A variant driver has the name of its module; only vfio-pci is called otherwise.
    return variants[0] if variants else GENERIC
