# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: report
short_description: The virtual functions of a facility as a page of HTML
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Makes of what M(mergetb.sriov.sriov_info) told on each host one HTML file that shows every
    virtual function, who has it, and how hosts and model differ. C(docs/report.md) describes it.
options:
  _input:
    description: The registered results by the name of the host, also of those that failed.
    type: dict
    required: true
  pfs:
    description: The C(sriov_pfs) of each host, as the inventory gives them, by its name.
    type: dict
    required: true
  audit:
    description: What P(mergetb.sriov.audit#lookup) has found.
    type: dict
    required: true
  made:
    description: When the hosts were asked, as text.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Write the report
  ansible.builtin.copy:
    content: "{{ made.html }}"
    dest: report.html
    mode: "0644"
  vars:
    made: "{{ facts | mergetb.sriov.report(pfs=pfs, audit=audit, made=now(utc=true) | string) }}"
"""

RETURN = r"""
_value:
  description: The page, and its totals.
  type: dict
  contains:
    html:
      description: The page.
      type: str
    summary:
      description: The totals as lines of text.
      type: list
      elements: str
"""

import typing as t

from ansible import template
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.mergetb.sriov.plugins.plugin_utils.report import _report

# From ansible-core 2.19 on, a string is a template only if it is trusted; before, if not wrapped.
_literal = wrap_var if not hasattr(template, "trust_as_template") else lambda value: value


def report(
    facts: t.Mapping[str, _report.Facts],
    *,
    pfs: t.Mapping[str, t.Sequence[t.Mapping[str, t.Any]]],
    audit: t.Mapping[str, t.Any],
    made: str,
) -> dict[str, t.Any]:
    """Return the page about ``facts`` and its totals."""
    made_of = _report.report(
        facts,
        pfs,
        audit["findings"],
        facility=audit["facility"],
        model=audit["model"],
        made=made,
    )
    return _literal({"html": _report.html(made_of), "summary": _report.summary(made_of)})


class FilterModule:
    """The filter report."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"report": report}
