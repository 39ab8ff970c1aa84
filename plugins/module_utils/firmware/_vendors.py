# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which vendors' NICs are told by their firmware to have VFs, and by which parameters."""

from __future__ import annotations

import typing as t


class Firmware(t.NamedTuple):
    """How the firmware of a vendor's NICs is told to have VFs: *role* of this collection does it.

    *enable* and *numvfs* are the parameters for SR-IOV as such and for the most VFs of a PF.
    """

    role: str
    enable: str
    numvfs: str


# By PCI vendor. Others either always have VFs or are set up by other means.
FIRMWARE = {
    # NVIDIA (Mellanox): the MFT manual, mlxconfig.
    "0x15b3": Firmware("mlx_firmware", "SRIOV_EN", "NUM_OF_VFS"),
}
