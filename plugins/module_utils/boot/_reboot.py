# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The markers of reboots. A run does not reboot a host twice for one cause, or in vain.

A marker names a cause and the boot in which a run rebooted the host for it. If the cause is still
there in another boot, its reboot did not cure it, and the next one would not either. A cause can
say that only a power cycle cures it. Its marker then says so, too, because later runs may not learn
it again.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _usage

PATH = "/var/lib/mergetb-sriov/reboots.json"

# The marker of a cause that only this cures; it takes the place of the boot.
POWER_CYCLE = "power cycle"


class Cause(t.NamedTuple):
    """Why a reboot is pending, and what helps if the reboot does not.

    *power_cycle* tells that only switching the host off and on helps.
    """

    cause: str
    reason: str
    remedy: str
    power_cycle: bool = False


def plan(
    markers: t.Mapping[str, str], causes: t.Iterable[Cause], boot_id: str, *, reboot: bool
) -> dict[str, str]:
    """The markers, boots by cause, for the boot *boot_id* with the pending *causes*.

    *reboot* tells whether the run is about to reboot the host for them. It does not if `refuse`
    then raises an error. All other causes are cured, so their markers are gone.
    """
    causes = list(causes)
    after = {cause.cause: markers[cause.cause] for cause in causes if cause.cause in markers}
    after.update({cause.cause: POWER_CYCLE for cause in causes if cause.power_cycle})
    if reboot and all(marker == boot_id for marker in after.values()):
        after = {cause.cause: boot_id for cause in causes}
    return after


def refuse(markers: t.Mapping[str, str], causes: t.Iterable[Cause], boot_id: str) -> None:
    """Raise `SriovError` if *markers*, as planned, say that no reboot cures one of *causes*."""
    causes = [cause for cause in causes if markers.get(cause.cause, boot_id) != boot_id]
    power_cycle = [
        f"{cause.cause}: {cause.reason}" for cause in causes if markers[cause.cause] == POWER_CYCLE
    ]
    outlived = [
        f"{cause.cause}: {cause.reason}; {cause.remedy}"
        for cause in causes
        if markers[cause.cause] != POWER_CYCLE
    ]
    problems = []
    if power_cycle:
        problems.append(
            "only a power cycle cures this, so the run does not reboot the host: "
            f"{'; '.join(power_cycle)}. Switch the host off and on, then run again"
        )
    if outlived:
        problems.append(
            f"the reboot did not cure this: {'; '.join(outlived)}. Mend that and "
            f"reboot the host by hand, or remove {PATH} to let the next run reboot it"
        )
    if problems:
        raise SriovError("; ".join(problems))


def is_made(markers: t.Mapping[str, str], causes: t.Sequence[Cause], boot_id: str) -> bool:
    """Whether a run with permission reboots the host for *causes*; `plan` made *markers*."""
    return bool(causes) and all(marker == boot_id for marker in markers.values())


def refuse_used(used: t.Sequence[_usage.UsedVf]) -> None:
    """Raise `SriovError` if VFs are *used*, because a reboot takes them from their users."""
    if used:
        raise SriovError(
            "a reboot is pending, and would take VFs that are in use: "
            f"{'; '.join(line for each in used for line in each.lines)}. End that use first, or "
            "reboot the host all the same with sriov_reboot_held=true"
        )


def steps(before: t.Mapping[str, str], after: t.Mapping[str, str]) -> dict[str, list[str]]:
    """The step for the file of the markers: the run removes it if no marker is left."""
    return {PATH: ["remove"]} if before and not after else {}


def read(host: Host) -> dict[str, str]:
    """The markers; raises `SriovError` for a file without markers."""
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
    """Keep *markers*, readable for root only; remove the file if there are none."""
    if markers:
        host.replace(PATH, json.dumps(markers, indent=2, sort_keys=True) + "\n", mode=0o600)
    else:
        host.remove(PATH)


def boot_id(host: Host) -> str:
    """What tells this boot of the host from all others."""
    return host.read("/proc/sys/kernel/random/boot_id") or ""
