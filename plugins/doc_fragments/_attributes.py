# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  platform:
    description: Target OS or OS families that can be operated against.
    support: full
    platforms: posix
"""

    CONTROLLER = r"""
options: {}
notes:
  - This is an action plugin and runs on the controller.
attributes:
  platform:
    description: Target OS or OS families that can be operated against.
    support: full
    platforms: posix
    details:
      - This is about the controller.
"""

    FROM_CACHE = r"""
options:
  from_cache:
    description:
      - Of which hosts to take what they told in an earlier run, from Ansible's fact cache.
        M(mergetb.sriov.sriov_info) writes it there. V(missing) means the hosts that give no answer,
        V(all) means all hosts, so that O(results) is not read.
    type: str
    choices: [none, missing, all]
    default: none
"""

    CHANGE = r"""
options: {}
attributes:
  check_mode:
    description: Predicts what would change and writes nothing.
    support: full
  diff_mode:
    description: Shows what changes, or would change in check mode.
    support: full
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    description: Predicts what would change and writes nothing.
    support: full
    details:
      - This module only reads.
  diff_mode:
    description: Shows what changes, or would change in check mode.
    support: N/A
    details:
      - This module only reads.
"""
