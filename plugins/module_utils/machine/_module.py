# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the `main()` of every module does."""

from __future__ import annotations

import os
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError

# Text that was read from a file that is not UTF-8 has these. Ansible 2.19 refuses such an answer.
_UNDECODED = re.compile("[\ud800-\udfff]")


def run_module(
    run: t.Callable[..., dict[str, t.Any]], argument_spec: dict[str, t.Any], **options: t.Any
) -> None:
    """Answer with what `run(params, check_mode=...)` returns, or with its error.

    Shows the `warnings` of the result. *options* are those of `AnsibleModule`.
    """
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True, **options)
    try:
        result = run(module.params, check_mode=module.check_mode)
    except SriovError as error:
        module.fail_json(msg=_printable(str(error)), **error.facts)
    except PermissionError as error:
        remedy = "this takes root; connect as root, or set become"
        if os.geteuid() == 0:
            remedy = "not even root may: see whether it is immutable (lsattr), or what forbids it"
        module.fail_json(msg=_printable(f"{error}: {remedy}"))
    except OSError as error:
        module.fail_json(msg=_printable(f"{error}: mend that, and run again"))
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    module.exit_json(**_printable(result))


def _printable(value: t.Any) -> t.Any:
    if isinstance(value, str):
        return _UNDECODED.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(each) for each in value]
    return value
