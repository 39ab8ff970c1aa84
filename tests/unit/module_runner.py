# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the `main()` of a module in this process, as Ansible runs it."""

from __future__ import annotations

import json
import types
import typing as t

import pytest
from ansible.module_utils import basic
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host


class Runner(t.NamedTuple):
    """Runs *module* on *host*: `Runner(module, host, monkeypatch, capsys)(option=value)`."""

    module: types.ModuleType
    host: Host
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *, check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """What the module answers, after a way through JSON, with what it warns of."""
        warnings: list[str] = []
        options["_ansible_check_mode"] = check_mode
        arguments = json.dumps({"ANSIBLE_MODULE_ARGS": options}).encode()
        self.monkeypatch.setattr(basic, "_ANSIBLE_ARGS", arguments)
        # Since ansible-core 2.19 the serialization has a name.
        self.monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        self.monkeypatch.setattr(self.module, "Host", lambda: self.host)
        # Where all of Ansible is in the process, a warning goes to the screen.
        self.monkeypatch.setattr(
            basic.AnsibleModule, "warn", lambda self, warning, **_options: warnings.append(warning)
        )
        with pytest.raises(SystemExit):
            self.module.main()
        return {**json.loads(self.capsys.readouterr().out), "warnings": warnings}
