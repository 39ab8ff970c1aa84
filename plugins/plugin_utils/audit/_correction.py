# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A copy of a facility model in which a few fields differ. PRIVATE to the collection.

The copy keeps everything else, also what the schema does not know: protobuf keeps the unknown
fields of what it parses, and in JSON only the values themselves change, in the dialect of the
document. The copy is read back before it leaves this module.
"""

from __future__ import annotations

import base64
import json
import os
import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _json, _schema
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.output import _files

_INDENT = re.compile(rb"[^\n\"]*\{\r?\n([ \t]+)")


class Fix(t.NamedTuple):
    """The right value of a field; for an enum it is the number.

    ``path`` leads to the field from the message ``Facility``, by names of fields and indexes of
    lists.
    """

    path: tuple[str | int, ...]
    value: int | str


def corrected(data: bytes, fixes: t.Collection[Fix]) -> str:
    """Return the model in ``data`` with the values of ``fixes``.

    A model on the wire becomes base64 text, one in JSON stays JSON. A portal's response around it
    stays.

    :raises InputError: ``data`` is no facility model, or a field cannot be changed alone
    """
    expected = _document.decode(data, _document.FACILITY)
    for fix in fixes:
        _set(expected, fix)
    try:
        document = _json.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        text = _on_wire(data, fixes)
    else:
        text = _in_json(document, fixes, data)
    result = _document.decode(text.encode(), _document.FACILITY)
    if _bytes(result) != _bytes(expected):
        raise InputError(
            "the model has a field twice, so that it cannot be corrected by itself; save the model"
            " again"
        )
    return text


def refuse_overwriting(source: str, target: str) -> None:
    """Raise InputError if ``target`` is the file ``source``, under whatever name."""
    if _same(_files.absolute(source), _files.absolute(target)):
        raise InputError(
            f"{target} is the file that is read ({source}), which is never changed; name another"
        )


def _same(source: str, target: str) -> bool:
    """Return whether two absolute paths name one file, which may not exist yet."""
    try:
        return source == target or os.path.samefile(source, target)
    except OSError:
        return False


def _set(message: t.Any, fix: Fix) -> None:
    *parents, field = fix.path
    for step in parents:
        message = message[step] if isinstance(step, int) else getattr(message, step)
    setattr(message, str(field), fix.value)


def _bytes(message: t.Any) -> bytes:
    wire: bytes = message.SerializeToString(deterministic=True)
    return wire


def _on_wire(data: bytes, fixes: t.Iterable[Fix]) -> str:
    kind = _document.FACILITY
    try:
        wire = base64.b64decode(b"".join(data.removeprefix(b"\xef\xbb\xbf").split()), validate=True)
    except ValueError:
        wire = data
    document = facility = _schema.parse(kind.message, wire)
    if facility is None or not kind.fits(facility):
        document = _schema.parse(kind.response, wire)
        facility = getattr(document, kind.wrapper)
    for fix in fixes:
        _set(facility, fix)
    return base64.encodebytes(document.SerializeToString()).decode("ascii")


def _in_json(document: dict[str, t.Any], fixes: t.Iterable[Fix], data: bytes) -> str:
    wrapper = _document.FACILITY.wrapper
    wrapped = [value for key, value in document.items() if _json.normalize(key) == wrapper]
    facility = wrapped[-1] if wrapped else document
    numbers = _writes_numbers(facility)
    for fix in fixes:
        _set_in_json(facility, fix, enums_as_numbers=numbers)
    indent = _INDENT.match(data)
    try:
        text = json.dumps(
            document,
            indent=indent[1].decode() if indent else None,
            ensure_ascii=data.isascii() or b"\\u" in data,
        )
    except RecursionError:
        raise InputError("the JSON is nested too deeply") from None
    return f"{text}\n"


def _writes_numbers(facility: dict[str, t.Any]) -> bool:
    """Return whether a document has numbers for enums, judged by the roles of its resources."""
    holder, resources = _find(facility, _field("Facility", "resources"))
    for resource in holder[resources]:
        for key, value in resource.items():
            if _json.normalize(key) in ("roles", "alloc") and value:
                return isinstance(value[0], int)
    return False


def _set_in_json(tree: t.Any, fix: Fix, *, enums_as_numbers: bool) -> None:
    message = _document.FACILITY.message
    *parents, last = fix.path
    for step in parents:
        if isinstance(step, int):
            tree = tree[step]
            continue
        field = _field(message, step)
        holder, key = _find(tree, field)
        tree, message = holder[key], field.type
    field = _field(message, last)
    holder, key = _find(tree, field)
    holder[key] = _written(
        fix.value, field.type, holder.get(key), enums_as_numbers=enums_as_numbers
    )


def _field(message: str, name: str | int) -> _schema.Field:
    return next(field for field in _schema.fields(message) if field.name == name)


def _find(tree: dict[str, t.Any], field: _schema.Field) -> tuple[dict[str, t.Any], str]:
    """Return the object that has a field, and the key of the field there.

    The object is ``tree`` or that of its oneof. If the field is missing, return ``tree`` and the
    name of the field: all dialects have the same name for the fields that a correction may have to
    add.
    """
    found = tree, field.name
    for key, value in tree.items():
        if value is None:
            continue
        if _json.normalize(key) == _json.normalize(field.name):
            found = tree, key
        elif field.oneof and _json.normalize(key) == _json.normalize(field.oneof):
            holder, inner = _find(value, field)
            if inner in holder:
                found = holder, inner
    return found


def _written(value: int | str, type_name: str, former: t.Any, *, enums_as_numbers: bool) -> t.Any:
    """Return a value in the form of the ``former`` JSON value; None if there was none."""
    if type_name not in _schema.ENUMS:
        return str(value) if isinstance(former, str) else value
    if isinstance(former, str) and former.isdecimal():
        return str(value)
    if isinstance(former, (int, float)) or (former is None and enums_as_numbers):
        return value
    prefix = re.match(f"(?:{type_name}_)?", former or "", re.IGNORECASE)
    return (prefix[0] if prefix else "") + _schema.ENUMS[type_name][int(value)]
