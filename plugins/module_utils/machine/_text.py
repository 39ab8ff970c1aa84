# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the machine writes addresses, and comments in its files."""

from __future__ import annotations

import re

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
# The kernel's domains have 32 bits and four digits at least; a bus has 32 devices.
PCI_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")


def is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")
