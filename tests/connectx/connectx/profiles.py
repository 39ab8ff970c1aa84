# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cards that can be emulated, as data.

Ids are those of the PCI ID database and of the firmware. A profile's TLVs and fields bear the names
that they have in the database of `mstflint`; the values are the defaults of the emulated card.
"""

from __future__ import annotations

import typing as t

Values = t.Mapping[str, int]


class Profile(t.NamedTuple):
    """A product; *hardware_id* is what the firmware calls the chip, *tlvs* what it can store.

    A warm reboot never loads the TLVs in *power_cycle*.
    """

    device_id: int
    hardware_id: int
    name: str
    description: str
    ports: int
    tlvs: t.Mapping[str, Values]
    power_cycle: t.Collection[str] = ()


_MAX_VFS = 127

_ETHERNET: dict[str, Values] = {
    "nv_global_pci_cap": {
        "sriov_support": 1,
        "max_vfs_per_pf_valid": 1,
        "max_vfs_per_pf": _MAX_VFS,
        "max_num_pfs": 2,
        "num_pf_msix_supported": 1,
        "max_num_pf_msix": 127,
        "num_vf_msix_supported": 1,
        "max_num_vf_msix": 127,
        "max_total_msix_valid": 1,
        "max_total_msix": 8192,
        "per_pf_total_vf_supported": 1,
        "max_acc_outstanding_read_byte_supported": 1,
    },
    "nv_global_pci_conf": {
        "num_pfs_valid": 1,
        "num_pfs": 2,
        "num_pf_msix_valid": 1,
        "num_pf_msix": 63,
        "num_vf_msix_valid": 1,
        "num_vf_msix": 11,
    },
    "nv_global_pci_conf_2": {},
    "nv_pci_cap": {"advanced_pci_settings_supported": 1},
    "nv_pci_conf": {},
    "nv_pf_pci_conf": {},
    "nv_sw_offload_cap": {},
    "nv_sw_offload_conf": {},
    "nv_rom_boot_conf1": {"legacy_boot_protocol": 1},
    "nv_rom_boot_conf2": {},
    "nv_rom_ib_boot_conf": {},
    "nv_keep_link_up": {"keep_eth_link_up": 1},
    "nv_host_chaining_cap": {"chain_mode_basic_supported": 1},
    "nv_host_chaining_conf": {},
}

_IB, _ETH = 1, 2
_VPI: dict[str, Values] = {**_ETHERNET, "nv_vpi_link_type": {"default_link_type": _ETH}}

_EMBEDDED_CPU = 1
_BLUEFIELD: dict[str, Values] = {
    **_VPI,
    "nv_internal_cpu_cap": {
        "embedded_cpu_model_supported": 1,
        "separate_host_model_supported": 1,
        "host_page_supplier_supported": 1,
        "host_esw_manager_supported": 1,
        "host_ib_vport0_supported": 1,
        "disable_offload_engine_supported": 1,
    },
}
_DPU_MODE: Values = {"internal_cpu_model": _EMBEDDED_CPU}
_NIC_MODE: Values = {
    "internal_cpu_model": _EMBEDDED_CPU,
    "page_supplier": 1,
    "esw_manager": 1,
    "ib_vport0": 1,
    "offload_engine": 1,
}

_BLUEFIELD_2 = Profile(
    device_id=0xA2D6,
    hardware_id=0x214,
    name="MBF2H332A-AENO_Ax_Bx",
    description="BlueField-2 DPU 25GbE Dual-Port SFP56",
    ports=2,
    tlvs={**_BLUEFIELD, "nv_internal_cpu_conf": _NIC_MODE},
    power_cycle=("nv_internal_cpu_conf",),
)

PROFILES = {
    "ConnectX-4 Lx": Profile(
        device_id=0x1015,
        hardware_id=0x20B,
        name="MCX4121A-ACA_Ax",
        description="ConnectX-4 Lx EN network interface card; 25GbE dual-port SFP28; PCIe3.0 x8",
        ports=2,
        tlvs=_ETHERNET,
    ),
    "ConnectX-5": Profile(
        device_id=0x1019,
        hardware_id=0x20D,
        name="MCX516A-CDA_Ax_Bx",
        description="ConnectX-5 Ex EN network interface card; 100GbE dual-port QSFP28",
        ports=2,
        tlvs=_ETHERNET,
    ),
    "ConnectX-5 VPI": Profile(
        device_id=0x1017,
        hardware_id=0x20D,
        name="MCX556A-ECA_Ax",
        description="ConnectX-5 VPI adapter card; EDR IB and 100GbE; dual-port QSFP28",
        ports=2,
        tlvs=_VPI,
    ),
    "ConnectX-6 Dx": Profile(
        device_id=0x101D,
        hardware_id=0x212,
        name="MCX623106AN-CDA_Ax",
        description="ConnectX-6 Dx EN adapter card; 100GbE; Dual-port QSFP56; PCIe 4.0 x16",
        ports=2,
        tlvs=_ETHERNET,
    ),
    "ConnectX-7": Profile(
        device_id=0x1021,
        hardware_id=0x218,
        name="MCX755106AS-HEA_Ax",
        description="ConnectX-7 VPI adapter card; 200GbE; Dual-port QSFP112; PCIe 5.0 x16",
        ports=2,
        tlvs=_VPI,
    ),
    "BlueField-2 NIC": _BLUEFIELD_2,
    "BlueField-2 DPU": _BLUEFIELD_2._replace(
        tlvs={**_BLUEFIELD, "nv_internal_cpu_conf": _DPU_MODE}
    ),
}
