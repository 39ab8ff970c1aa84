# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The error of the controller library. PRIVATE to the collection."""

from __future__ import annotations


class InputError(Exception):
    """Input that cannot be used.

    The message stands alone: it names the file or element, what is wrong with it, and the remedy.
    """


def refusal(what: str, problems: list[str]) -> InputError:
    """Return the error that refuses ``what`` for all of ``problems``."""
    count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    listed = "".join(f"\n- {problem}" for problem in problems)
    return InputError(f"{what} is refused, {count}:{listed}")
