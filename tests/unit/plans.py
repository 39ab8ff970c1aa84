# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `plan_info` tells of a host that is ready, that is to be restarted, and that is blocked."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import jsonschema
from ansible_collections.mergetb.sriov.plugins.plugin_utils.report import _plan

SCHEMA = json.loads(
    (Path(_plan.__file__).parents[3] / "docs/plan.schema.json").read_text(encoding="utf-8")
)

READY: dict[str, t.Any] = {
    "state": "ready",
    "restart": None,
    "steps": [],
    "blockers": [],
    "notes": [],
    "disturbed": [],
}
REBOOT = {
    **READY,
    "state": "reboot",
    "restart": "reboot",
    "steps": [
        {"role": "iommu", "element": "boot entries of grub", "action": "make again"},
        {"role": "iommu", "element": "boot entries of grub", "action": "add iommu=pt"},
        {"role": "reboot", "element": "host", "action": "reboot"},
    ],
    "disturbed": [
        {
            "pf": "0000:01:00.0",
            "vf": 0,
            "address": "0000:01:10.0",
            "by": "reboot",
            "users": ["process 4711 (qemu-system-x86, guest alpha) has /dev/vfio/42 open"],
        }
    ],
}
BLOCKED = {
    **READY,
    "state": "blocked",
    "blockers": [{"role": "preflight", "message": "ens1f0: it has no driver; load it"}],
    "notes": ["it has no Advanced Error Reporting"],
}


def check(document: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return a document, which is of the schema."""
    jsonschema.validate(document, SCHEMA, jsonschema.Draft202012Validator)
    return document
