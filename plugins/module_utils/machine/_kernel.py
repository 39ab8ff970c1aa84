# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the running kernel tells about itself."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host


def lockdown(host: Host) -> str | None:
    """The kernel's lockdown, `none`, `integrity` or `confidentiality`; `None` if unknown."""
    # The kernel lists all modes, with the current one in brackets.
    text = host.read("/sys/kernel/security/lockdown") or ""
    return text.partition("[")[2].partition("]")[0] or None
