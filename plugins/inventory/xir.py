# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: xir
short_description: Hosts and SR-IOV NICs of a MergeTB facility, from its XIR model
version_added: 0.1.0
author: MergeTB facility developers (@mergetb)
description:
  - Reads the XIR model of a testbed facility and names its hypervisors with their physical
    functions (PFs).
  - The source is the model itself, in a file whose name ends in C(.xir), C(.json), C(.pbuf),
    C(.pb) or C(.pb64), or a configuration whose name ends in C(.xir.yml) or C(.xir.yaml).
  - The plugin finds the encoding of the model from its content. It reads base64 text, the protocol
    buffer itself, and JSON as protojson, betterproto and encoding/json write it, and each of these
    inside the portal's response. All encodings of one model give the same inventory. It takes a
    C(.json) file only if the file begins like a facility.
  - A host has the id of its resource as its name. C(ansible_host) is its first infranet address. If
    it has none, it is its fqdn, and without that its id.
  - Its variables are C(xir_id), C(xir_facility), C(xir_roles), C(xir_alloc), C(sriov_pfs) and
    C(sriov_max_vfs), which is the sum of the C(max_vfs) of its PFs.
  - C(sriov_pfs) lists the PFs that are offered for virtual functions. Each has C(name), C(mac),
    C(max_vfs), C(nic_model), C(product), C(capacity) in bit/s, C(link_roles) and C(leaf). C(leaf)
    has the C(host) and the C(port) of the switch at the other end of the cable, and the C(domain)
    of all switches that cables join with it. What the model leaves open is null. The NIC model
    C(Intel200) is null, too, because nobody can tell its number, zero, from unset.
  - If a host has NICs with these link roles that give no virtual functions, C(sriov_nics) lists
    them in the same form. A guest can have such a NIC as a whole.
  - The groups are C(hypervisors), C(mellanox) for hosts that offer a PF of a Mellanox or NVIDIA
    NIC, one for each role such as C(role_hypervisor), and one for each leaf such as
    C(leaf_xleaf0). Characters that the name of a group cannot have become underscores.
  - Values of enums that this version does not know stay numbers. Unknown fields are skipped.
  - No text of a model is ever a template. The plugin refuses a text that is not printable or has
    more than 255 characters; a host name with other characters than letters, digits, underscores,
    dots and hyphens; two resources of one id; two PFs of one name on a host; and a PF that shares
    its MAC address with another port. The error names the element. If more than two ports share a
    cable and no breakout index tells them apart, the plugin warns and C(leaf) is null.
notes:
  - When this plugin refuses a damaged model, Ansible tries the file with the other plugins that are
    enabled. C(ansible.builtin.ini) takes base64 text for the name of a host. Leave it out of
    C(enable_plugins).
requirements:
  - protobuf >= 4.25 (Python package where ansible runs)
  - netaddr (Python package where ansible runs)
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: The name of this plugin, in a configuration.
    type: str
    choices: [mergetb.sriov.xir]
  model:
    description:
      - The file with the model, in a configuration.
      - A relative path is relative to the configuration.
    type: str
  hypervisors_only:
    description:
      - Whether to leave out resources that lack the role Hypervisor or the alloc mode Virtual.
    type: bool
    default: true
  link_roles:
    description:
      - A PF is offered for virtual functions if its port has one of these link roles.
      - A cable between switches joins them to one domain if each of its ports has one of these link
        roles, or none at all.
    type: list
    elements: str
    default: [XpLink]
"""

EXAMPLES = r"""
# The model itself:
#   ansible-inventory -i phobos.xir --list

# phobos.xir.yml: a configuration next to the model
plugin: mergetb.sriov.xir
model: phobos.xir
link_roles: [XpLink, InfraLink]
compose:
  ansible_user: "'ops'"
groups:
  many_vfs: sriov_max_vfs > 100
keyed_groups:
  - key: sriov_pfs | map(attribute='nic_model') | select
    prefix: nic
"""

import functools
import json
import os
import typing as t

from ansible import constants as C
from ansible import template
from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _xir
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError

# From ansible-core 2.19 on, a string is a template only if it is trusted. Before, it is one unless
# it is wrapped.
_literal = wrap_var if not hasattr(template, "trust_as_template") else lambda value: value

_MODEL = (".xir", ".pbuf", ".pb", ".pb64")


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Names the hosts of a facility model."""

    NAME = "mergetb.sriov.xir"

    def verify_file(self, path: str) -> bool:
        """Return whether ``path`` is a facility model or a configuration of this plugin."""
        if not super().verify_file(path):
            return False
        name = path.lower()
        if name.endswith(".json"):
            return _document.looks_like_facility_json(path)
        return _document.is_configuration(path) or name.endswith(_MODEL)

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Add the hosts of the model to ``inventory``; add none if the model cannot be used."""
        super().parse(inventory, loader, path, cache)
        model = path
        if _document.is_configuration(path):
            self._read_config_data(path)
            if not self.get_option("model"):
                raise AnsibleParserError(f"{path}: the option model is missing")
            model = os.path.expanduser(self.get_option("model"))
            model = os.path.join(os.path.dirname(path), model)
        else:
            self.set_options()
        try:
            hosts = self._hosts(model, use_cache=cache)
        except InputError as error:
            if any(name.endswith("ini") for name in C.INVENTORY_ENABLED):
                # It takes the lines of a damaged base64 file for names of hosts, and this error
                # would not be shown.
                self.display.error(str(error))
            raise AnsibleParserError(str(error)) from error
        names = ("compose", "groups", "keyed_groups", "strict")
        constructed = [self.get_option(name) for name in names]
        sanitized = functools.cache(self._sanitize_group_name)
        for host in hosts:
            self._add(host, sanitized, constructed)

    def _hosts(self, model: str, *, use_cache: bool) -> list[_xir.InventoryHost]:
        options = {name: self.get_option(name) for name in ("hypervisors_only", "link_roles")}
        if not self.get_option("cache"):
            return self._read(model, options)
        self.load_cache_plugin()
        key = self.get_cache_key(json.dumps([model, options]))
        if not use_cache or key not in self._cache:
            self._cache[key] = self._read(model, options)
        cached: list[_xir.InventoryHost] = self._cache[key]
        return cached

    def _read(self, model: str, options: dict[str, t.Any]) -> list[_xir.InventoryHost]:
        facility = _document.load(model, _document.FACILITY)
        try:
            hosts, warnings = _xir.inventory(facility, **options)
        except InputError as error:
            raise InputError(f"{model}: {error}") from None
        for warning in warnings:
            self.display.warning(f"{model}: {warning}")
        return hosts

    def _add(
        self,
        host: _xir.InventoryHost,
        sanitized: t.Callable[[str], str],
        constructed: t.Sequence[t.Any],
    ) -> None:
        name = host["name"]
        self.inventory.add_host(name)
        for variable, value in host["variables"].items():
            self.inventory.set_variable(name, variable, _literal(value))
        for group in host["groups"]:
            self.inventory.add_child(self.inventory.add_group(sanitized(group)), name)
        # Reading an option takes as long as adding a variable.
        compose, groups, keyed_groups, strict = constructed
        if compose:
            variables = self.inventory.get_host(name).get_vars()
            self._set_composite_vars(compose, variables, name, strict)
        self._add_host_to_composed_groups(groups, {}, name, strict)
        self._add_host_to_keyed_groups(keyed_groups, {}, name, strict)
