# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Of which vendors the firmware decides how many VFs a NIC has, and by which parameters."""

from __future__ import annotations

import typing as t


class Firmware(t.NamedTuple):
    """How a vendor's firmware is told the number of VFs. The *role* of this collection does that.

    *enable* is the parameter that switches SR-IOV on, *numvfs* the one for the most VFs of a PF.
    """

    role: str
    enable: str
    numvfs: str


# By PCI vendor. NICs of others always have VFs, or are set up by other means.
FIRMWARE = {
    # NVIDIA (Mellanox): the MFT manual, mlxconfig.
    "0x15b3": Firmware("mlx_firmware", "SRIOV_EN", "NUM_OF_VFS"),
}
