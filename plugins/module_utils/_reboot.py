# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The memory of reboots, so that no cause gets a second one.

A marker names a cause and the boot in which a reboot was made for it. A cause that is there in
another boot was not cured by its reboot, and would not be by the next.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils._errors import SriovError

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils._host import Host

PATH = "/var/lib/mergetb-sriov/reboots.json"


class Cause(t.NamedTuple):
    """Why a reboot is pending, and what helps where it does not."""

    cause: str
    reason: str
    remedy: str


def plan(
    markers: t.Mapping[str, str], causes: t.Iterable[Cause], boot_id: str, *, reboot: bool
) -> dict[str, str]:
    """The markers, boots by cause, for the boot *boot_id* with the pending *causes*.

    *reboot* tells whether the host is about to be rebooted for them. The markers of other causes,
    which are cured, are gone. Raises `SriovError` where a cause has outlived its reboot.
    """
    causes = list(causes)
    outlived = [
        f"{cause.cause}: {cause.reason}; {cause.remedy}"
        for cause in causes
        if markers.get(cause.cause, boot_id) != boot_id
    ]
    if outlived:
        raise SriovError(
            f"still so after the reboot that was made for it: {'; '.join(outlived)}. Mend that and "
            f"reboot the host by hand, or remove {PATH} to let the next run reboot it"
        )
    return {cause.cause: boot_id for cause in causes if reboot or cause.cause in markers}


def read(host: Host) -> dict[str, str]:
    """The markers; raises `SriovError` for a file that holds none."""
    text = host.read(PATH)
    if text is None:
        return {}
    try:
        markers = json.loads(text)
    except ValueError as error:
        raise SriovError(f"{PATH} is not JSON ({error}): remove it") from error
    if not isinstance(markers, dict):
        raise SriovError(f"{PATH} is not a JSON object: remove it")
    return markers


def write(host: Host, markers: t.Mapping[str, str]) -> None:
    """Keep *markers*, readable for root only; no file where there are none."""
    if markers:
        host.replace(PATH, json.dumps(markers, indent=2, sort_keys=True) + "\n", mode=0o600)
    else:
        host.remove(PATH)


def boot_id(host: Host) -> str:
    """What tells this boot of the host from all others."""
    return host.read("/proc/sys/kernel/random/boot_id") or ""
