# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facility model that the audit compares with its hosts, and its file. PRIVATE."""

from __future__ import annotations

import os
import typing as t

from ansible.parsing.dataloader import DataLoader
from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit import _audit, _correction
from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit._paired import Finding
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError

Result = t.Mapping[str, t.Any]
"""The result of the module sriov_info on a host, also if it failed."""


class Source(t.NamedTuple):
    """The file ``path`` that was named, and the file ``model`` that has the model; often the same.

    ``link_roles`` are the link roles of PFs that are offered for VFs.
    """

    path: str
    model: str
    link_roles: list[str]

    def refuse_overwriting(self, targets: t.Sequence[str]) -> None:
        """Raise InputError if one of ``targets`` is a file that is read, or another target."""
        for index, target in enumerate(targets):
            for source in (self.path, self.model, *targets[:index]):
                _correction.refuse_overwriting(source, target)

    def audit(self, results: t.Mapping[str, Result]) -> tuple[dict[str, t.Any], list[Finding]]:
        """Return the document of the audit, and its findings.

        :raises InputError: the file has no facility model
        """
        facility = _document.load(self.model, _document.FACILITY)
        facts = {str(host): _facts(result) for host, result in results.items()}
        found = _audit.findings(facility, facts, link_roles=self.link_roles)
        return _audit.document(self.model, facility, facts, found), found

    def corrected(self, found: t.Iterable[Finding]) -> str:
        """Return the model with the right values, as far as they are known.

        :raises InputError: a field of it cannot be changed alone
        """
        with open(self.model, "rb") as file:
            data = file.read()
        try:
            return _correction.corrected(data, [finding.fix for finding in found if finding.fix])
        except InputError as error:
            raise InputError(f"{self.model}: {error}") from None


def source(path: str) -> Source:
    """Return the source of a model, or of a configuration of the inventory plugin that names one.

    :raises InputError: the configuration names no model
    """
    path = os.path.expanduser(path)
    if not _document.is_configuration(path):
        return Source(path, path, ["XpLink"])
    configuration = DataLoader().load_from_file(path, unsafe=True)
    if not isinstance(configuration, dict) or not configuration.get("model"):
        raise InputError(f"{path}: the option model is missing; name the facility model with it")
    model = os.path.join(os.path.dirname(path), os.path.expanduser(str(configuration["model"])))
    return Source(path, model, list(configuration.get("link_roles", ["XpLink"])))


def _facts(result: Result) -> Result:
    if result.get("failed") or result.get("unreachable"):
        return {"error": str(result.get("msg", "the task failed"))}
    return result
