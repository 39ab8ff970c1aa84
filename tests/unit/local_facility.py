# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The example facility, whose hosts are this machine, with a stand-in for `materialization`."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import jsonschema
from ansible_collections.mergetb.sriov.plugins.modules.materialization import ARGUMENT_SPEC
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import command_line

COLLECTION = Path(command_line.COLLECTIONS) / "ansible_collections/mergetb/sriov"
SCHEMA = json.loads((COLLECTION / "docs/result.schema.json").read_text(encoding="utf-8"))

# It notes each call in the file `calls` of its host, and fails with what the file `check`, `again`
# (where it checks again), `anew` (where it reserves after it gave), `write` or `withdrawn` has, if
# there is one. It tells steps where there is a file `steps`, and that it has reserved nothing for
# them where there is a file `mends`. Another run comes between as often as a file `lost` has lines.
# It knows its host by the directory for temporary files.
STAND_IN = f"""
ARGUMENT_SPEC = {ARGUMENT_SPEC!r}
"""
STAND_IN += """
import os
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
state = module.params["state"]
with open(os.path.join(module._remote_tmp, "calls"), "a+") as file:
    file.seek(0)
    earlier = file.read()
    again = state == "reserved" and earlier.endswith("reserved\\n")
    file.write(state + (" (check)" if module.check_mode else "") + "\\n")
checks = module.check_mode or state == "reserved"
name = "again" if again else "check" if checks else "write"
if state == "reserved" and "present" in earlier and "anew" in os.listdir(module._remote_tmp):
    name = "anew"
answer = os.path.join(module._remote_tmp, state if state == "withdrawn" else name)
if os.path.exists(answer):
    with open(answer) as file:
        module.fail_json(msg=file.read())
told = os.listdir(module._remote_tmp)
if state == "present" and "lost" in told:
    with open(os.path.join(module._remote_tmp, "lost"), "r+") as file:
        times = file.readlines()
        file.seek(0)
        file.truncate()
        file.writelines(times[1:])
    if times:
        module.fail_json(msg="run b came between", lost=True)
devices = [
    {
        "node": vf["node"],
        "nic": vf["nic"],
        "pci_address": "0000:0%d:10.%d" % (vf["pf"]["name"] == "ens1f1", vf["vf_index"] * 2),
        "pf": vf["pf"]["name"],
        "vf_index": vf["vf_index"],
        "mac": vf["mac"],
        "vlan": vf["vlan"],
        "vlan_mode": "vst",
        "mtu": vf["mtu"],
        "driver": module.params["driver"],
        "numa_node": None,
        "vlan_mode": "trunk" if vf["nic"] == "eth3" else "vst",
    }
    for vf in module.params["vfs"]
]
module.exit_json(
    changed=state != "absent" or not earlier.endswith("absent\\n"),
    devices=devices,
    steps={"ens1f0 VF 0": ["vlan 100"]} if "steps" in told else {},
    run=module.params["run"],
    reserved=["ens1f0 VF 0"] if "steps" in told and "mends" not in told else [],
    diff={
        "before": {"ens1f0 VF 0": {"vlan": 0}},
        "after": {"ens1f0 VF 0": {"vlan": 100}, "0000:00:10.0": "vfio-pci"},
    },
)
"""

CHANGES = [
    {"what": "ens1f0 VF 0", "before": {"vlan": 0}, "after": {"vlan": 100}},
    {"what": "0000:00:10.0", "before": None, "after": "vfio-pci"},
]


class Facility:
    """The example facility, its hosts being this machine, and its module played."""

    def __init__(self, directory: Path, *, real_module: bool) -> None:
        self.directory = directory
        self.environment = {
            "ANSIBLE_CALLBACKS_ENABLED": "mergetb.sriov.result",
            "SRIOV_RESULT": str(self.result),
        }
        if not real_module:
            self.environment["ANSIBLE_COLLECTIONS_PATH"] = str(self._collections())
        for name in ("phobos.xir", "one.hello.demo.pb64"):
            (directory / name).write_bytes((PHOBOS / name).read_bytes())
        (directory / "host_vars").mkdir()
        for host in ("x0", "x1"):
            (directory / host).mkdir()
            self.connect(host, ansible_connection="local")

    @property
    def result(self) -> Path:
        """The file of the document."""
        return self.directory / "result.json"

    def connect(self, host: str, **variables: t.Any) -> None:
        """Tell how a host is reached."""
        variables |= {
            "ansible_python_interpreter": sys.executable,
            "ansible_remote_tmp": str(self.directory / host),
        }
        path = self.directory / "host_vars" / f"{host}.yml"
        path.write_text(json.dumps(variables), encoding="utf-8")

    def fail(self, host: str, when: str, message: str) -> None:
        """Have the module fail on a host in the task that checks or in the one that writes."""
        (self.directory / host / when).write_text(message, encoding="utf-8")

    def calls(self, host: str) -> list[str]:
        """What the module was asked for on a host, in the order of time."""
        return (self.directory / host / "calls").read_text(encoding="utf-8").splitlines()

    def run(
        self, action: str, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a playbook of the collection."""
        return command_line.run(
            self.directory,
            "playbook",
            *("-i", "phobos.xir", f"mergetb.sriov.{action}", *arguments),
            check=False,
            **(self.environment | environment),
        )

    def document(
        self, action: str, code: int, *arguments: str, **environment: str
    ) -> dict[str, t.Any]:
        """Run a playbook, which must end with an exit code, and return the document."""
        done = self.run(action, *arguments, **environment)
        assert done.returncode == code, done.stdout + done.stderr
        assert "PLAY RECAP" in done.stdout
        document = json.loads(self.result.read_text(encoding="utf-8"))
        jsonschema.validate(document, SCHEMA, jsonschema.Draft202012Validator)
        return document

    def _collections(self) -> Path:
        """Install the collection with another module."""
        collections = self.directory / "collections"
        collection = collections / "ansible_collections/mergetb/sriov"
        (collection / "plugins/modules").mkdir(parents=True)
        for original in (*COLLECTION.glob("[a-z]*"), *COLLECTION.glob("plugins/*")):
            link = collection / original.relative_to(COLLECTION)
            if not link.exists():
                link.symlink_to(original)
        for original in COLLECTION.glob("plugins/modules/*.py"):
            link = collection / original.relative_to(COLLECTION)
            if original.name == "materialization.py":
                link.write_text(STAND_IN, encoding="utf-8")
            else:
                link.symlink_to(original)
        return collections


MATERIALIZE = ("-e", "sriov_materialization=one.hello.demo.pb64")


def of_hosts(document: dict[str, t.Any], key: str) -> list[t.Any]:
    """Return a value of each host."""
    return [document["hosts"][host][key] for host in ("x0", "x1")]
