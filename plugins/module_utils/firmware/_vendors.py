# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The vendors whose firmware decides how many VFs a NIC has, and the parameters for that."""

from __future__ import annotations

import typing as t


class Firmware(t.NamedTuple):
    """The *role* that sets a vendor's firmware, and the parameters that it sets.

    *enable* switches SR-IOV on. *numvfs* is the most VFs that a PF can have.
    """

    role: str
    enable: str
    numvfs: str


# By PCI vendor. NICs of others always have VFs, or are set up by other means.
FIRMWARE = {
    # NVIDIA (Mellanox): the MFT manual, mlxconfig.
    "0x15b3": Firmware("mlx_firmware", "SRIOV_EN", "NUM_OF_VFS"),
}
