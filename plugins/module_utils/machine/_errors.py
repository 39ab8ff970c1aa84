# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one error that the collection's modules turn into a failure."""

from __future__ import annotations

import typing as t


class SriovError(Exception):
    """What an operator can mend; the text names the element, the cause and the remedy.

    A module that fails with it returns the *facts* of its class, too.
    """

    facts: t.ClassVar[t.Mapping[str, t.Any]] = {}
