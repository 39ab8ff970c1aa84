# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of Sphinx for the site that `make docs` builds, without any look into the network."""

project = "mergetb.sriov"
copyright = "Contributors to the mergetb.sriov collection"
title = html_short_title = "SR-IOV for MergeTB facilities"

extensions = ["sphinx_antsibull_ext"]
highlight_language = "YAML+Jinja"
pygments_style = "ansible"
html_theme = "sphinx_ansible_theme"
html_show_sphinx = False
html_use_index = False
html_copy_source = False

default_role = "any"
nitpicky = True
# Pages of Ansible's own documentation, which another site has.
nitpick_ignore = [
    ("ref", "action_plugins"),
    ("ref", "ansible_configuration_settings"),
    ("ref", "callback_plugins"),
    ("ref", "common_return_values"),
]
nitpick_ignore_regex = [("envvar", "ANSIBLE_.*"), ("ref", r"ansible_collections\.ansible\..*")]
