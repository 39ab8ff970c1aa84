# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The error of the controller library. PRIVATE to the collection."""

from __future__ import annotations

import typing as t

MESSAGE_LIMIT = 32768
"""Longest message of an error, in characters."""

_SHOWN = 12
_PROBLEMS_SHOWN = 20
_PROBLEM_LIMIT = 1000


class InputError(Exception):
    """Input that cannot be used.

    The message stands alone: it names the file or element, what is wrong with it, and the remedy.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_cut(message, MESSAGE_LIMIT))


class Problems:
    """Everything that is wrong with an input: the first problems, and the number of all."""

    def __init__(self, problems: t.Iterable[str] = ()) -> None:
        self._shown: dict[str, None] = {}
        self._count = 0
        self.extend(problems)

    def __len__(self) -> int:
        return self._count

    def append(self, problem: str) -> None:
        """Note a problem, unless it is shown already."""
        problem = _cut(problem, _PROBLEM_LIMIT)
        if problem in self._shown:
            return
        self._count += 1
        if len(self._shown) < _PROBLEMS_SHOWN:
            self._shown[problem] = None

    def extend(self, problems: t.Iterable[str]) -> None:
        """Note several problems."""
        for problem in problems:
            self.append(problem)

    def refusal(self, what: str) -> InputError:
        """Return the error that refuses ``what`` because of all of them."""
        count = f"{len(self)} problem{'' if len(self) == 1 else 's'}"
        listed = "".join(f"\n- {problem}" for problem in self._shown)
        more = len(self) - len(self._shown)
        return InputError(
            f"{what} is refused, {count}:{listed}" + (f"\n- and {more} more" if more else "")
        )


def listed(texts: t.Sequence[str]) -> str:
    """Return the first of ``texts``, and the number of the others."""
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
