# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kernel command lines as arguments, and the edits that give them what is wanted.

Source: Documentation/admin-guide/kernel-parameters.rst of the Linux kernel. Arguments are
separated by white space outside double quotes, hyphen and underscore are the same in their names,
and what follows `--` is meant for init.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._text import is_comment

# A quote that is not closed holds all that follows, for the kernel too.
_ARGUMENT = re.compile(r'(?:"[^"]*(?:"|\Z)|[^\s"])+', re.ASCII)
# No white space, and nothing that a shell or a boot loader's configuration would interpret.
_SAFE = re.compile(r"[A-Za-z0-9_.-]+(=[A-Za-z0-9_.,:;/@%+=-]+)?")
_END = "--"
_OPPOSITES = {"on": "off", "off": "on", "pt": "nopt", "nopt": "pt"}


class WantedArguments(t.NamedTuple):
    """Arguments that a command line has to give, and those that it must not.

    A command line gives a `present` argument if one of the same name has its value in a list with
    commas: `intel_iommu=on,sm_on` gives `intel_iommu=on`. An `absent` argument with a value means
    that value, alone or in such a list. Without a value it means every argument of its name, except
    those that give what is wanted.
    """

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


def checked(present: t.Iterable[str], absent: t.Iterable[str] = ()) -> WantedArguments:
    """`Wanted` with the opposites (`on` and `off`, `pt` and `nopt`) of *present* made absent.

    Raises `SriovError` for what is no kernel argument and for a contradiction.
    """
    present = tuple(dict.fromkeys(present))
    absent = tuple(absent)
    for argument in present + absent:
        if argument == _END or not _SAFE.fullmatch(argument):
            raise SriovError(
                f"{argument!r} is not a kernel argument: write name or name=value, one argument "
                "per list item, without quotes and spaces"
            )
    result = WantedArguments(present, tuple(dict.fromkeys((*absent, *opposites(present)))))
    for argument in present:
        if _without_absent(argument, result) != argument:
            raise SriovError(
                f"the kernel argument {argument} is wanted present, but also absent or with "
                "the opposite value: take one of the two away"
            )
    return result


def opposites(present: t.Iterable[str]) -> list[str]:
    """What contradicts the arguments *present*."""
    return [
        f"{name}={_OPPOSITES[value]}"
        for name, _sign, value in (argument.partition("=") for argument in present)
        if value in _OPPOSITES
    ]


def words(text: str) -> list[str]:
    """The words of the command line *text*, also those for init."""
    return _ARGUMENT.findall(text)


def arguments(text: str) -> list[str]:
    """The kernel's arguments in the command line *text*."""
    found = words(text)
    return found[: found.index(_END)] if _END in found else found


def missing(text: str, wanted: WantedArguments) -> list[str]:
    """What of `wanted.present` the command line *text* does not give."""
    given = arguments(text)
    return [
        argument for argument in wanted.present if not any(_gives(each, argument) for each in given)
    ]


def unwanted(text: str, wanted: WantedArguments) -> list[str]:
    """The arguments of the command line *text* that `wanted.absent` means."""
    return [each for each in arguments(text) if _without_absent(each, wanted) != each]


def replacements(text: str, wanted: WantedArguments) -> dict[str, str]:
    """What is left of each argument of the command line *text* that `wanted.absent` means."""
    return {each: _without_absent(each, wanted) or "" for each in unwanted(text, wanted)}


def replaced(text: str, replacements: t.Mapping[str, str]) -> str:
    """The command line *text* with its arguments replaced."""
    given = arguments(text)
    rest = words(text)[len(given) :]
    return " ".join(filter(None, [*(replacements.get(each, each) for each in given), *rest]))


def satisfies(text: str, wanted: WantedArguments) -> bool:
    return not missing(text, wanted) and not unwanted(text, wanted)


def difference(text: str, wanted: WantedArguments) -> str:
    """How the command line *text* differs from what is *wanted*, in words; empty if it does not."""
    return " and ".join(
        f"{preposition} {' '.join(found)}"
        for preposition, found in (
            ("without", missing(text, wanted)),
            ("with", unwanted(text, wanted)),
        )
        if found
    )


def correct(text: str, wanted: WantedArguments) -> str:
    """*text* in which wanted arguments replace the unwanted ones of the same name.

    Other unwanted arguments are gone. All else stays as it is written, including white space.
    """
    old = arguments(text)
    new = [_without_absent(argument, wanted) for argument in old]
    lacking = missing(" ".join(filter(None, new)), wanted)
    edited = lead = text[: len(text) - len(text.lstrip())]
    end = len(lead)
    for match, before, after in zip(_ARGUMENT.finditer(text), old, new):
        replacements = []
        if after != before:
            replacements = [each for each in lacking if _name(each) == _name(before)]
            lacking = [each for each in lacking if each not in replacements]
        place = " ".join(filter(None, [*replacements, after]))
        if place:
            edited += ("" if edited == lead else text[end : match.start()]) + place
        end = match.end()
    return edited + text[end:]


def complete(text: str, wanted: WantedArguments) -> str:
    """*text* corrected; what it lacks comes behind its last argument of the kernel."""
    text = correct(text, wanted)
    lacking = missing(text, wanted)
    if not lacking:
        return text
    found = list(_ARGUMENT.finditer(text))[: len(arguments(text))]
    if found:
        at = found[-1].end()
        return " ".join([text[:at], *lacking]) + text[at:]
    return " ".join([*lacking, text.lstrip()]) if text.strip() else " ".join(lacking) + text


def complete_file(text: str, wanted: WantedArguments) -> str:
    """Like `complete`, for a file in which a line that begins with `#` is a comment."""
    lines = text.splitlines(keepends=True)
    numbers = [number for number, line in enumerate(lines) if not is_comment(line)]
    if len(numbers) == len(lines):
        return complete(text, wanted)
    left = replacements(uncommented(text), wanted)
    for number in numbers:
        if any(argument in left for argument in words(lines[number])):
            lines[number] = f"{replaced(lines[number], left)}\n"
    lacking = missing(uncommented("".join(lines)), wanted)
    if lacking:
        filled = [number for number in numbers if words(lines[number])]
        if not filled:
            end = "" if lines[-1].endswith("\n") else "\n"
            return "".join([*lines, end, " ".join(lacking), "\n"])
        lines[filled[-1]] = complete(lines[filled[-1]], WantedArguments(tuple(lacking)))
    return "".join(lines)


def uncommented(text: str) -> str:
    """The command line in *text*, a file in which a line that begins with `#` is a comment."""
    return "".join(line for line in text.splitlines(keepends=True) if not is_comment(line))


def _name(argument: str) -> str:
    return argument.partition("=")[0].replace("-", "_")


def _options(argument: str) -> list[str] | None:
    """The comma-separated values of *argument*; `None` if it has no value at all."""
    _name, sign, value = argument.partition("=")
    return value.split(",") if sign else None


def _gives(argument: str, wanted: str) -> bool:
    if _name(argument) != _name(wanted):
        return False
    have, want = _options(argument), _options(wanted)
    if have is None or want is None:
        return have == want
    return set(want) <= set(have)


def _without_absent(argument: str, wanted: WantedArguments) -> str | None:
    """*argument* without the values that must not be there; `None` if nothing of it is left."""
    name, _sign, value = argument.partition("=")
    options = _options(argument)
    for absent in wanted.absent:
        if _name(absent) != _name(argument):
            continue
        _absent_name, sign, absent_value = absent.partition("=")
        if not sign:
            if not any(_gives(argument, present) for present in wanted.present):
                return None
        elif absent_value == value:
            return None
        elif options is not None:
            options = [option for option in options if option != absent_value]
    if options is None or options == _options(argument):
        return argument
    return f"{name}={','.join(options)}" if options else None
