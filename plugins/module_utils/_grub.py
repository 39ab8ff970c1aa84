# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shell fragments in which GRUB's configuration keeps the kernel arguments.

grub-mkconfig reads them with a shell, one after the other. Here they are edited as text, so that
all else in them stays as it is written.

Source: the GRUB manual, "Simple configuration handling"; `/etc/default/grub.d` is Debian's.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils import _kernel_cmdline
from ansible_collections.mergetb.sriov.plugins.module_utils._kernel_cmdline import Wanted

# An assignment that can be edited: one double-quoted, single-quoted or bare word.
_ASSIGNMENT = re.compile(
    r"""^(?P<head>[ \t]*(?:export[ \t]+)?(?P<name>GRUB_CMDLINE_LINUX(?:_DEFAULT)?)(?P<sign>\+?=))"""
    r"""(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>[^']*)'|(?P<bare>[^\s"'`;#&|()<>]*))"""
    r"""(?=[ \t]*(?:[#;\n]|\Z))""",
    re.MULTILINE | re.DOTALL,
)
_REFERENCE = re.compile(r"\$(?:\{(?P<braced>\w+)\}|(?P<plain>\w+))")


def edited(files: t.Mapping[str, str], wanted: Wanted) -> dict[str, str]:
    """The shell fragments *files*, in the order in which they are read, with what is *wanted*.

    What is unwanted goes wherever it stands; what lacks is added to `GRUB_CMDLINE_LINUX`, which all
    entries have, where the assignment is the one that counts.
    """
    result = {path: _ASSIGNMENT.sub(lambda m: _correct(m, wanted), x) for path, x in files.items()}
    lacking = _kernel_cmdline.missing(_value(result), wanted)
    if not result or not lacking:
        return result
    deciding = _deciding_assignment(result)
    if deciding is None:
        path = next(iter(result))
        text = result[path]
        end = "" if text.endswith("\n") or not text else "\n"
        result[path] = f'{text}{end}GRUB_CMDLINE_LINUX="{" ".join(lacking)}"\n'
        return result

    def complete(match: re.Match[str]) -> str:
        if match.start() != deciding[1]:
            return match.group()
        return _requoted(match, _kernel_cmdline.complete(_content(match), Wanted(tuple(lacking))))

    result[deciding[0]] = _ASSIGNMENT.sub(complete, result[deciding[0]])
    return result


def _content(match: re.Match[str]) -> str:
    return next(x for x in match.group("double", "single", "bare") if x is not None)


def _requoted(match: re.Match[str], content: str) -> str:
    if match.group("single") is not None:
        return f"{match['head']}'{content}'"
    if match.group("double") is not None or len(content.split()) > 1:
        return f'{match["head"]}"{content}"'
    return f"{match['head']}{content}"


def _correct(match: re.Match[str], wanted: Wanted) -> str:
    return _requoted(match, _kernel_cmdline.correct(_content(match), wanted))


def _references(match: re.Match[str]) -> set[str]:
    if match.group("single") is not None:
        return set()
    return {m["braced"] or m["plain"] for m in _REFERENCE.finditer(_content(match))}


def _assignments(files: t.Mapping[str, str]) -> t.Iterator[tuple[str, re.Match[str]]]:
    for path, text in files.items():
        for match in _ASSIGNMENT.finditer(text):
            yield path, match


def _value(files: t.Mapping[str, str]) -> str:
    """The command line that the assignments in *files* come to."""
    values = {"GRUB_CMDLINE_LINUX": "", "GRUB_CMDLINE_LINUX_DEFAULT": ""}
    for _path, match in _assignments(files):
        content = _content(match)
        if match.group("single") is None:
            content = _REFERENCE.sub(
                lambda m: values.get(m["braced"] or m["plain"], m.group()), content
            )
        before = values[match["name"]] if match["sign"] == "+=" else ""
        values[match["name"]] = before + content
    return " ".join(values.values())


def _deciding_assignment(files: t.Mapping[str, str]) -> tuple[str, int] | None:
    """Path and position of the assignment of GRUB_CMDLINE_LINUX that all later ones extend."""
    found = None
    for path, match in _assignments(files):
        name = match["name"]
        extends = match["sign"] == "+=" or name in _references(match)
        if name == "GRUB_CMDLINE_LINUX" and not (found and extends):
            found = (path, match.start())
    return found
