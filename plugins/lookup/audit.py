# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: audit
short_description: Where a facility model and its hosts differ
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Compares a facility model (C(xir.Facility)) with what the module M(mergetb.sriov.sriov_info)
    tells of its hosts. The checks are in C(docs/audit.md).
  - Reads the model in every encoding that the inventory plugin P(mergetb.sriov.xir#inventory)
    reads, also by way of that plugin's configuration.
  - Can correct the model where the right value of a field is known. The copy differs in these
    fields alone; what this collection does not know of the model is kept. It is base64 text, or
    JSON where the model is.
requirements:
  - protobuf >= 4.25 (Python package where ansible runs)
  - netaddr (Python package where ansible runs)
options:
  _terms:
    description:
      - Facility models, or configurations of the inventory plugin (C(.xir.yml), C(.xir.yaml)),
        absolute or relative to the current directory.
      - The C(link_roles) of a configuration tell which PFs are offered for VFs. Without it that is
        C(XpLink).
    type: list
    elements: str
    required: true
  facts:
    description:
      - The results of M(mergetb.sriov.sriov_info) of the hosts to look at, by their names, with
        O(mergetb.sriov.sriov_info#module:firmware).
      - For a host that could not be asked the failed result, or a dictionary with C(error).
    type: dict
    required: true
  corrected:
    description: Whether to correct the model.
    type: bool
    default: false
  targets:
    description:
      - Files that the result is going to be written to. The lookup fails if one of them is the
        model, its configuration, or another of them.
    type: list
    elements: str
    default: []
seealso:
  - module: mergetb.sriov.sriov_info
"""

EXAMPLES = r"""
- name: Compare the model with the hosts
  ansible.builtin.set_fact:
    audit: "{{ lookup('mergetb.sriov.audit', 'phobos.xir', facts=facts) }}"
  vars:
    names: "{{ groups['hypervisors'] }}"
    facts: "{{ dict(names | zip(names | map('extract', hostvars, 'sriov'))) }}"
"""

RETURN = r"""
_raw:
  description: What the audit of each model has found, see C(docs/audit.md).
  type: list
  elements: dict
  contains:
    version:
      description: Version of this format.
      type: int
    model:
      description: The file with the model.
      type: str
    facility:
      description: Id of the facility.
      type: str
    hosts:
      description: The hosts that were looked at, by name.
      type: dict
      sample: {x0: {error: null, findings: {error: 1, warning: 0, info: 0}}}
    findings:
      description: Where model and hosts differ, the worst first.
      type: list
      elements: dict
      sample:
        - severity: error
          check: max_vfs
          host: x0
          element: x0 ens1f0
          field: sriov.Pf.MaxVFs
          declared: 16
          actual: 7
          right: 7
          message: the model declares 16 VFs, the NIC offers 7 VFs
          remedy: correct the model, or raise the number in the NIC's firmware
          fix: true
    table:
      description: The findings as lines of text.
      type: list
      elements: str
    corrected:
      description: The content of the corrected model, null if it was not asked for.
      type: str
"""

import os
import typing as t

from ansible.errors import AnsibleLookupError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.lookup import LookupBase
from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit import _audit, _correction
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError

_CONFIGURATION = (".xir.yml", ".xir.yaml")


class LookupModule(LookupBase):
    """Audits of facility models."""

    def run(
        self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[dict[str, t.Any]]:
        """Return the audit of each file of ``terms``; the options are in ``kwargs``."""
        self.set_options(var_options=variables, direct=kwargs)
        try:
            return [self._audit(os.path.expanduser(path)) for path in terms]
        except InputError as error:
            raise AnsibleLookupError(str(error)) from error

    def _audit(self, path: str) -> dict[str, t.Any]:
        model, link_roles = _source(path)
        self._check_targets(path, model)
        facility = _document.load(model, _document.FACILITY)
        facts = {str(host): _facts(told) for host, told in self.get_option("facts").items()}
        found = _audit.findings(facility, facts, link_roles=link_roles)
        return _audit.document(model, facility, facts, found) | {
            "table": _audit.table(found),
            "corrected": _corrected(model, found) if self.get_option("corrected") else None,
        }

    def _check_targets(self, *sources: str) -> None:
        targets = self.get_option("targets")
        for index, target in enumerate(targets):
            for source in (*sources, *targets[:index]):
                _correction.refuse_overwriting(source, target)


def _source(path: str) -> tuple[str, list[str]]:
    """Return the file with the model and the link roles of PFs that are offered for VFs."""
    configuration = {}
    if path.lower().endswith(_CONFIGURATION):
        configuration = DataLoader().load_from_file(path, unsafe=True)
        if not isinstance(configuration, dict) or not configuration.get("model"):
            raise InputError(f"{path}: the option model is missing")
        model = os.path.expanduser(str(configuration["model"]))
        path = os.path.join(os.path.dirname(path), model)
    return path, list(configuration.get("link_roles", ["XpLink"]))


def _facts(told: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    """Return the facts in a task's result, or its error."""
    if told.get("failed") or told.get("unreachable"):
        return {"error": str(told.get("msg", "the task failed"))}
    return told


def _corrected(model: str, found: list[_audit.Finding]) -> str:
    with open(model, "rb") as file:
        data = file.read()
    try:
        return _correction.corrected(data, [finding.fix for finding in found if finding.fix])
    except InputError as error:
        raise InputError(f"{model}: {error}") from None
