# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `mstconfig` prints about a card, as plain values.

A table and a JSON document of one state give the same values, whatever the version of the tool. The
columns of the table have different widths in different versions, and one blank is all that follows
a long value. So this module splits a line at its white space and compares the parts with the
header. A line that does not fit is an error.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError

# The text of an enumeration keeps its number: `ETH(2)`.
Value = t.Union[bool, int, str, None]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\[\d+\])?")
_NUMBER = re.compile(r"-?\d+|0x[0-9A-Fa-f]+")
_LABELLED = re.compile(r"([^\s()]+)\((-?\d+|0x[0-9A-Fa-f]+)\)")
# `*` marks a value that is not the default or not yet current, RO a read-only parameter.
_MARKS = ("*", "RO", "*RO")
_HEADERS = {
    ("Default", "Current", "Next Boot"),
    ("Default", "Next Boot"),
    ("Current", "Next Boot"),
    ("Next Boot",),
}
_NOTE = re.compile(r"The '\S+' shows |-[DEIW]- |.*Firmware does not support reading ")


class Unread(SriovError):
    """Nobody can be certain what the tool's answer means."""

    def __init__(self, why: str) -> None:
        super().__init__(f"its answer cannot be read for certain: {why}")


class Setting(t.NamedTuple):
    """A parameter of the firmware; a value is `None` if the firmware does not tell it.

    Only version 4.31 and later of the tool tell *read_only*. Earlier ones leave such a parameter
    out.
    """

    default: Value
    current: Value
    next: Value
    read_only: bool = False


class Answer(t.NamedTuple):
    """A card as the tool shows it: its type, its part's name, and parameters by name."""

    type: str
    name: str
    settings: dict[str, Setting]


def is_name(text: str) -> bool:
    """Whether *text* can name a parameter: `NUM_OF_VFS`, or `NAME[3]` for one of an array."""
    return _NAME.fullmatch(text) is not None and text not in _MARKS


def value(text: str) -> Value:
    """The value that the tool prints as *text*; raises `SriovError` if that is no value."""
    if text == "N/A":
        return None
    if _NUMBER.fullmatch(text):
        return _number(text)
    labelled = _LABELLED.fullmatch(text)
    if labelled is not None:
        label, number = labelled[1], _number(labelled[2])
        if label in ("False", "True"):
            if number == (label == "True"):
                return label == "True"
        elif not _NUMBER.fullmatch(label):
            return f"{label}({number})"
        elif _number(label) == number:
            return number
    if re.fullmatch(r"Array\[\d+\.\.\d+\]", text):
        raise SriovError(f"it is an array ({text}): name one element of it, as in NAME[0]")
    raise SriovError(f"{text!r} is no known value")


def _number(text: str) -> int:
    return int(text, 16) if text.startswith("0x") else int(text)


def read_table(text: str, names: t.Collection[str]) -> Answer:
    """The answer in the text of `-e query` about one card, which was asked for *names*."""
    lines = iter(text.splitlines())
    facts: dict[str, str] = {}
    for line in lines:
        key, _colon, rest = line.partition(":")
        if key == "Configurations":
            columns = tuple(re.sub(r"Next\s+Boot", "Next_Boot", rest).split())
            break
        facts.setdefault(key.strip(), rest.strip())
    else:
        raise Unread("it has no line 'Configurations:'")
    headers = tuple(column.replace("_", " ") for column in columns)
    if headers not in _HEADERS:
        raise Unread(f"its columns are {' '.join(columns)!r}")
    settings: dict[str, Setting] = {}
    for line in lines:
        if not line.strip() or _NOTE.match(line.strip()):
            continue
        words = line.split()
        mark = ""
        if len(words) == len(headers) + 2 and words[0] in _MARKS:
            mark = words.pop(0)
        if len(words) != len(headers) + 1 or not is_name(words[0]) or words[0] in settings:
            raise Unread(f"it has the line {line.strip()!r}")
        texts = dict(zip(headers, words[1:]))
        settings[words[0]] = _setting(words[0], texts, read_only="RO" in mark)
    _insist(settings, names)
    return Answer(facts.get("Device type", ""), facts.get("Name", ""), settings)


def read_json(text: str, names: t.Collection[str]) -> Answer:
    """The answer in the file of `-e -j FILE query` about one card, which was asked for *names*."""
    try:
        devices = json.loads(text)
    except ValueError as error:
        raise Unread(f"it is not JSON ({error})") from error
    if not isinstance(devices, dict) or len(devices) != 1:
        raise Unread("it does not hold one device")
    (device,) = devices.values()
    rows = device.get("tlv_configuration") if isinstance(device, dict) else None
    if not isinstance(rows, dict):
        raise Unread("it has no tlv_configuration")
    settings = {}
    for name, row in rows.items():
        if not is_name(name) or not isinstance(row, dict) or "next_value" not in row:
            raise Unread(f"it has {name!r}: {row!r}")
        keys = {"Default": "default_value", "Current": "current_value", "Next Boot": "next_value"}
        texts = {header: _text(row[key]) for header, key in keys.items() if key in row}
        settings[name] = _setting(name, texts, read_only=row.get("read_only") is True)
    _insist(settings, names)
    return Answer(str(device.get("device_type", "")), str(device.get("name", "")), settings)


def _insist(settings: t.Mapping[str, Setting], names: t.Collection[str]) -> None:
    # If a mark or a value has run into the name, only this shows it.
    if set(settings) != set(names):
        raise Unread(f"it has {', '.join(settings) or 'nothing'} instead of {', '.join(names)}")


def _text(item: object) -> str:
    """A value of the JSON document in the form of the table."""
    if isinstance(item, (str, int)) and not isinstance(item, bool):
        return str(item)
    raise Unread(f"it has the value {item!r}")


def _setting(name: str, texts: t.Mapping[str, str], *, read_only: bool) -> Setting:
    try:
        values = {header: value(text) for header, text in texts.items()}
    except SriovError as error:
        raise Unread(f"{name}: {error}") from error
    return Setting(values.get("Default"), values.get("Current"), values["Next Boot"], read_only)
