# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether guests reached each other, each on its own VLANs only. PRIVATE to the collection."""

from __future__ import annotations

import re
import typing as t

_LOST = re.compile("guest: (.* (?:lost|missing|no link))")
_ANSWERED = re.compile("guest: ping (.*) ok")

Frames = list[t.Any]
"""A source MAC and a VLAN, which is None if the frames have no tag."""


def judge(
    consoles: t.Iterable[str],
    captures: t.Iterable[t.Mapping[str, t.Any]],
    devices: t.Iterable[t.Mapping[str, t.Any]],
) -> dict[str, list[t.Any]]:
    """Return what is not proven, and which pings were answered.

    :param consoles: what the guests have written
    :param captures: what the module capture_info returns for the wires
    :param devices: those of the device map
    """
    text = "\n".join(consoles)
    promised: list[Frames] = [[device["mac"], device["vlan"]] for device in devices]
    macs = {mac for mac, _vlan in promised}
    seen: list[Frames] = []
    for capture in captures:
        for flow in capture["flows"]:
            if (frames := [flow["source"], flow["vlan"]]) not in seen:
                seen.append(frames)
    return {
        "answered": _ANSWERED.findall(text),
        "lost": _LOST.findall(text),
        "stray": [each for each in seen if each[0] in macs and each not in promised],
        "unseen": [each for each in promised if each not in seen],
    }
