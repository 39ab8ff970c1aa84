# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shell fragments in which GRUB's configuration keeps the kernel arguments.

grub-mkconfig reads them with a shell, one after the other, so only a shell can tell their result.
This module edits no line of the operator. It adds a block of shell behind all of them, which adds
and removes arguments. Comments in the block record which arguments were asked for. Without the
block, everything is as it was. Before it writes anything, this module asks the shell for the result
without the block and with it.

Source: util/grub-mkconfig.in of GRUB, and Debian's patch that reads `/etc/default/grub.d`.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _command_line
from ansible_collections.mergetb.sriov.plugins.module_utils.boot._command_line import (
    WantedArguments,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

LINUX = "GRUB_CMDLINE_LINUX"
DEFAULT = "GRUB_CMDLINE_LINUX_DEFAULT"

_SECONDS = 60
_ENVIRONMENT = (
    *("/usr/bin/env", "-i", "HOME=/root", "LC_ALL=C"),
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
)

# What grub-mkconfig does, in a directory that stands for /etc, and the values that the variables
# then have.
_READ = f"""\
set -e
if test -f "$mergetb_sriov_etc/default/grub"; then
    echo /etc/default/grub >> "$mergetb_sriov_etc/read"
    . "$mergetb_sriov_etc/default/grub"
fi
for x in "$mergetb_sriov_etc"/default/grub.d/*.cfg; do
    if [ -e "${{x}}" ]; then
        echo "/etc${{x#"$mergetb_sriov_etc"}}" >> "$mergetb_sriov_etc/read"
        . "${{x}}"
    fi
done
printf %s "${{{LINUX}-}}" > "$mergetb_sriov_etc/{LINUX}"
printf %s "${{{DEFAULT}-}}" > "$mergetb_sriov_etc/{DEFAULT}"
"""

_BLOCK = re.compile(
    r"^# BEGIN mergetb\.sriov\n.*?^# END mergetb\.sriov\n?", re.MULTILINE | re.DOTALL
)
_HEAD = """\
# BEGIN mergetb.sriov
# The Ansible module mergetb.sriov.kernel_cmdline writes this block. It adds kernel arguments to
# those set above, or removes some. To undo it, delete the block and run update-grub.
"""
_REPLACE = """\
mergetb_sriov_replace() {
    set -- " $1 " "$2" "$3"
    while :; do
        case $1 in
            *[[:blank:]]"$2"[[:blank:]]*) ;;
            *) break ;;
        esac
        set -- "${1%%[[:blank:]]"$2"[[:blank:]]*} $3 ${1#*[[:blank:]]"$2"[[:blank:]]}" "$2" "$3"
    done
    printf %s "$1"
}
"""
_ADD = f"""\
for mergetb_sriov in @; do
    case " ${{{LINUX}-}} ${{{DEFAULT}-}} " in
        *[[:blank:]]"$mergetb_sriov"[[:blank:]]*) ;;
        *) {LINUX}="${{{LINUX}-}} $mergetb_sriov" ;;
    esac
done
"""
_END = "# END mergetb.sriov\n"
_RECORD = re.compile(r"^# (present|absent): (.*)$", re.MULTILINE)


class Variables(t.NamedTuple):
    """The arguments of all boot entries, and those that the entries for recovery lack."""

    linux: str
    default: str

    @property
    def text(self) -> str:
        """The command line as grub-mkconfig puts it together."""
        return f"{self.linux} {self.default}"


def variables(host: Host, files: t.Mapping[str, str]) -> Variables:
    """The values that a shell of *host* finds in a copy of the fragments *files*.

    Raises `SriovError` if the shell does not get to their end.
    """
    with tempfile.TemporaryDirectory(prefix="mergetb-sriov-") as copy:
        for path, text in files.items():
            fragment = f"{copy}{path[len('/etc') :]}"
            os.makedirs(os.path.dirname(fragment), exist_ok=True)
            with open(fragment, "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))
        command = [*_ENVIRONMENT, f"mergetb_sriov_etc={copy}", "/bin/sh", "-c", _READ]
        try:
            done = host.run(command, seconds=_SECONDS)
        except SriovError as error:
            read = (_content(f"{copy}/read") or "").split() or list(files)
            raise SriovError(
                f"the shell that reads {read[-1]} did not end within {_SECONDS:g} s: look for what "
                "waits, loops, or goes on in the background"
            ) from error
        linux, default = (_content(f"{copy}/{name}") for name in (LINUX, DEFAULT))
        if done.rc or linux is None or default is None:
            read = (_content(f"{copy}/read") or "").split() or list(files)
            said = done.err.strip().replace(f"{copy}/", "/etc/")
            raise SriovError(
                f"the shell that reads {read[-1]} ends in it (exit code {done.rc})"
                + (f": {said}" if said else "")
            )
        return Variables(linux, default)


def edited(
    host: Host, files: t.Mapping[str, str], place: str, wanted: WantedArguments
) -> dict[str, str]:
    """The fragments *files* with what is *wanted* in the block of *place*.

    *files* are in the order in which the shell reads them. Raises `SriovError` if an argument would
    be lost, or if the fragments cannot give what is wanted.
    """
    old = _BLOCK.search(files[place])
    rest = {**files, place: _BLOCK.sub("", files[place])}
    try:
        base = variables(host, rest)
    except SriovError as error:
        raise SriovError(
            f"{error}. No boot entries can be made of it: mend it, and try again"
        ) from error
    present, absent = _merged(_recorded(place, old.group() if old else ""), wanted)
    goal = _command_line.checked(present, absent)
    edits = {
        name: _command_line.replacements(text, goal)
        for name, text in ((LINUX, base.linux), (DEFAULT, base.default))
    }
    expected = Variables(
        _command_line.replaced(base.linux, edits[LINUX]),
        _command_line.replaced(base.default, edits[DEFAULT]),
    )
    lacking = _command_line.missing(expected.text, goal)
    given = _command_line.arguments(expected.text)
    added = [argument for argument in present if argument in lacking or argument in given]
    if not (lacking or any(edits.values()) or (old and added)):
        return rest
    block = _block(present, absent, edits, added)
    end = "" if rest[place].endswith("\n") or not rest[place] else "\n"
    result = {**rest, place: f"{rest[place]}{end}{block}"}
    expected = expected._replace(linux=" ".join([expected.linux, *lacking]))
    problem = _problem_of(host, result, expected, goal)
    if problem:
        later = [path for path in files if path > place]
        unwanted = [argument for each in edits.values() for argument in each]
        raise SriovError(
            f"the kernel arguments cannot be set in {place}: {problem}"
            + (f" ({', '.join(later)} is read after it)" if later else "")
            + f". Nothing was changed. Set {' '.join(present)}"
            + (f" and take {' '.join(unwanted)} away" if unwanted else "")
            + f" by hand in {', '.join(path for path in rest if rest[path])}, and try again"
        )
    return result


def _problem_of(
    host: Host, files: t.Mapping[str, str], expected: Variables, goal: WantedArguments
) -> str | None:
    """What is wrong with the variables that *files* give."""
    try:
        return _problem(expected, variables(host, files), goal)
    except SriovError as error:
        return str(error)


def _content(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def _recorded(place: str, block: str) -> tuple[list[str], list[str]]:
    """What *block* records as asked for: arguments present, and absent."""
    record = {name: value.split() for name, value in _RECORD.findall(block)}
    present, absent = (record.get(name, []) for name in ("present", "absent"))
    try:
        _command_line.checked(present, absent)
    except SriovError as error:
        raise SriovError(
            f"{place} was changed between '# BEGIN mergetb.sriov' and '# END mergetb.sriov', where "
            f"{error}. Remove these lines, and make the boot entries again"
        ) from error
    return present, absent


def _merged(
    record: tuple[t.Sequence[str], t.Sequence[str]], wanted: WantedArguments
) -> tuple[list[str], list[str]]:
    """The arguments that were asked for before and still are, and the *wanted* ones.

    When the last present argument goes, the arguments that made way for it come back.
    """
    before = _command_line.arguments(_command_line.correct(" ".join(record[0]), wanted))
    present = list(dict.fromkeys([*before, *wanted.present]))
    if record[0] and not present:
        record = [], []
    opposites = _command_line.opposites(wanted.present)
    absent = [
        argument
        for argument in dict.fromkeys([*record[1], *wanted.absent])
        if argument not in opposites
        and not _command_line.unwanted(
            " ".join(present), WantedArguments(tuple(present), (argument,))
        )
    ]
    return present, absent


def _block(
    present: t.Sequence[str],
    absent: t.Sequence[str],
    edits: t.Mapping[str, t.Mapping[str, str]],
    added: t.Sequence[str],
) -> str:
    return "".join(
        [
            _HEAD,
            *(
                f"# {name}: {' '.join(arguments)}\n"
                for name, arguments in (("present", present), ("absent", absent))
                if arguments
            ),
            _REPLACE if any(edits.values()) else "",
            *(
                f'{name}=$(mergetb_sriov_replace "${{{name}-}}" '
                f"{shlex.quote(argument)} {shlex.quote(replacement)})\n"
                for name, replacements in edits.items()
                for argument, replacement in replacements.items()
            ),
            _ADD.replace("@", " ".join(added)) if added else "",
            _END,
        ]
    )


def _problem(expected: Variables, found: Variables, goal: WantedArguments) -> str:
    """Why *found* is wrong although *expected* was planned; empty if it is right."""
    for name, planned, made in zip((LINUX, DEFAULT), expected, found):
        if _command_line.words(made) != _command_line.words(planned):
            return f"{name} would be {made.strip()!r} and not {planned.strip()!r}"
    if "\n" in found.text.strip():
        return (
            f"{LINUX} or {DEFAULT} holds a line break, where GRUB ends the command line of the "
            "kernel; write a backslash before it"
        )
    difference = _command_line.difference(found.text, goal)
    return difference and f"the kernel would be started {difference}, with {found.text.strip()!r}"
