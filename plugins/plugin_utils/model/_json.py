# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""JSON of every dialect that MergeTB's tools write, brought to the schema's form. PRIVATE.

One reader serves protojson (Go), betterproto (camel and snake case) and encoding/json (Go structs):

- It compares keys in lower case and without underscores: ``NICs``, ``niCs`` and ``ni_cs`` are one
  field. Keys of maps are data and stay as they are.
- An enum is a name, with or without the enum's own name in front, or a number.
- An integer is a number or a decimal string.
- The fields of a oneof may also be in an object that is named after the oneof. All its other fields
  may be beside the one that is set, but empty (betterproto, when it writes default values).

The reader skips what the schema does not know: a field, or the name of an enum's value. It refuses
a field that is given twice, because readers differ in which of the two they take.
"""

from __future__ import annotations

import functools
import json
import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _names, _schema
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError

_BITS = {"int32": 31, "uint32": 32, "uint64": 64}


class _Mismatch(Exception):
    """A value that does not fit its field, and the place of that value."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.place = ""


@functools.lru_cache(maxsize=4096)
def normalize(name: str) -> str:
    """Return ``name`` in lower case without underscores.

    A name that has other scripts than ASCII stays as it is.
    """
    return name.replace("_", "").lower() if name.isascii() else name


def loads(text: bytes | str) -> t.Any:
    """Return the decoded JSON ``text``.

    :raises InputError: an object has a key twice
    :raises ValueError: it is no JSON
    """
    return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)


def _object(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        for key, _value in pairs:
            if key in seen:
                raise InputError(f"the JSON has the key {_names.quoted(key)} twice in one object")
            seen.add(key)
    return result


def _constant(name: str) -> t.NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def read(message_name: str, document: t.Any) -> t.Any:
    """Return the message that the decoded JSON ``document`` describes.

    :raises InputError: a value does not fit its field; the error names its place
    """
    try:
        fields = _message(message_name, document)
    except _Mismatch as error:
        raise InputError(f"{error.place.lstrip('.') or 'the document'} {error}") from None
    return _schema.build(message_name, fields)


def _message(message_name: str, value: t.Any) -> dict[str, t.Any]:
    if not isinstance(value, dict):
        raise _Mismatch("must be an object")
    fields, oneofs = _known(message_name)
    result: dict[str, t.Any] = {}
    given: dict[str, str] = {}
    for key, item in value.items():
        if item is None:
            continue
        name = normalize(key)
        try:
            if name in fields:
                field = fields[name]
                _give(given, name, key)
                converted = _field(field, item)
                if converted is not None:
                    result[field.name] = converted
            elif name in oneofs:
                for arm, converted in _message(message_name, item).items():
                    if arm in oneofs[name]:
                        _give(given, normalize(arm), f"{arm} of {key}")
                        result[arm] = converted
        except _Mismatch as error:
            error.place = f".{key[:60]}{error.place}"
            raise
    for arms in oneofs.values():
        _keep_one(arms, result)
    return result


def _give(given: dict[str, str], name: str, key: str) -> None:
    """Note that the field ``name`` was given as ``key``."""
    if name in given:
        raise _Mismatch(f"is given twice: as {given[name][:60]}, too")
    given[name] = key


def _keep_one(arms: list[str], result: dict[str, t.Any]) -> None:
    """Keep the one field of a oneof that says something, and drop the others."""
    present = [arm for arm in arms if arm in result]
    if len(present) < 2:
        return
    telling = [arm for arm in present if not _is_default(result[arm])]
    if len(telling) > 1:
        raise _Mismatch(f"has more than one of {', '.join(telling)}")
    for arm in present:
        if arm not in telling:
            del result[arm]


def _is_default(value: t.Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_default, value.values()))
    return not value


@functools.cache
def _known(message_name: str) -> tuple[dict[str, _schema.Field], dict[str, list[str]]]:
    """Return a message's fields and the fields of each of its oneofs, both by normalized name."""
    fields = {normalize(field.name): field for field in _schema.fields(message_name)}
    oneofs: dict[str, list[str]] = {}
    for field in fields.values():
        if field.oneof:
            oneofs.setdefault(normalize(field.oneof), []).append(field.name)
    return fields, oneofs


def _field(field: _schema.Field, value: t.Any) -> t.Any:
    if field.map_key:
        if not isinstance(value, dict):
            raise _Mismatch("must be an object")
        key_type = field.map_key
        return {
            _value(key_type, key): _at(f".{str(key)[:60]}", field, item)
            for key, item in value.items()
        }
    if field.repeated:
        if not isinstance(value, list):
            raise _Mismatch("must be a list")
        items = (_at(f"[{index}]", field, item) for index, item in enumerate(value))
        return [item for item in items if item is not None]
    return _value(field.type, value)


def _at(place: str, field: _schema.Field, value: t.Any) -> t.Any:
    try:
        return _value(field.type, value)
    except _Mismatch as error:
        error.place = place + error.place
        raise


def _value(type_name: str, value: t.Any) -> t.Any:
    """Return ``value`` as the type's Python value; None for an enum's name that is unknown."""
    if type_name in _BITS:
        return _integer(value, _BITS[type_name])
    if type_name == "string":
        return _string(value)
    if type_name == "bool":
        return _boolean(value)
    if type_name in _schema.ENUMS:
        if isinstance(value, str) and not (value.isascii() and value.isdecimal()):
            return _enum_numbers(type_name).get(normalize(value))
        return _integer(value, 31)
    return _message(type_name, value)


def _string(value: t.Any) -> str:
    if not isinstance(value, str):
        raise _Mismatch("must be a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Mismatch("must be valid Unicode") from None
    return value


def _boolean(value: t.Any) -> bool:
    if not isinstance(value, bool):
        raise _Mismatch("must be true or false")
    return value


def _integer(value: t.Any, bits: int) -> int:
    is_decimal = isinstance(value, str) and re.fullmatch("0|[1-9][0-9]{0,19}", value)
    if is_decimal or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << bits:
        raise _Mismatch(f"must be an integer of {bits} bits")
    return value


@functools.cache
def _enum_numbers(enum: str) -> dict[str, int]:
    prefix = normalize(enum)
    numbers = {normalize(name): number for number, name in _schema.ENUMS[enum].items()}
    return numbers | {prefix + name: number for name, number in numbers.items()}
