# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the bytes of a file to the document in it, in whatever encoding. PRIVATE."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _json, _schema
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError

SIZE_LIMIT = 256 * 2**20
"""The largest file that this library reads, in bytes."""

MESSAGE_LIMIT = 2**20
"""Most messages that a document may have within it: those of some thirty thousand hosts.

An empty one takes two bytes of a file, and a hundred in memory.
"""

# Apart from white space, no text has control bytes, and every document on the wire has some: they
# are the tags of the first fields.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=\s]")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# The first key of a facility, or of a response around it. In an inventory of Ansible's own the
# first key is a group, whose value is an object with these three keys at most.
_FACILITY_JSON = re.compile(
    rb"""\s*\{\s*"(?:
        (?:id|fqdn)"\s*:\s*"
        |(?:resources|cables|circuits)"\s*:\s*\[
        |(?:model|facility)"\s*:\s*\{(?!\s*"(?:hosts|vars|children)")
    )""",
    re.VERBOSE,
)


class _TooManyError(InputError):
    """A document has more messages in it than ``MESSAGE_LIMIT``."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of document: its title, its message, and the response of the portal around it.

    ``wrapper`` is the field of ``response`` that holds the document. ``fits`` tells whether a
    decoded message can be such a document at all: the bytes of one message often decode as another.
    """

    title: str
    message: str
    response: str
    wrapper: str
    fits: t.Callable[[t.Any], bool]


def _fits_facility(message: t.Any) -> bool:
    names = message.id + message.fqdn
    return names.isprintable() and any(resource.id for resource in message.resources)


def _fits_experiment(message: t.Any) -> bool:
    return message.id.isprintable() and any(node.id for node in message.nodes)


def _fits_materialization(message: t.Any) -> bool:
    ids: str = message.rid + message.eid + message.pid
    return ids.isprintable() and ids != ""


FACILITY = Kind(
    title="facility model (xir.Facility)",
    message="Facility",
    response="GetFacilityResponse",
    wrapper="model",
    fits=_fits_facility,
)
MATERIALIZATION = Kind(
    title="materialization (portal.v1.Materialization)",
    message="Materialization",
    response="GetMaterializationResponse",
    wrapper="materialization",
    fits=_fits_materialization,
)
EXPERIMENT = Kind(
    title="model of an experiment (xir.Network)",
    message="Network",
    response="XpNetModel",
    wrapper="model",
    fits=_fits_experiment,
)


def is_configuration(path: str) -> bool:
    """Return whether a file is by its name a configuration of the inventory plugin."""
    return path.lower().endswith((".xir.yml", ".xir.yaml"))


def looks_like_facility_json(path: str) -> bool:
    """Return whether the file ``path`` begins like a facility in JSON."""
    try:
        with open(path, "rb") as file:
            return bool(_FACILITY_JSON.match(file.read(4096).removeprefix(_BYTE_ORDER_MARK)))
    except OSError:
        return False


def load(path: str, kind: Kind) -> t.Any:
    """Read the document of ``kind`` in the file ``path``.

    The content tells the encoding: JSON, base64 (with or without line breaks) or protocol buffer,
    each also inside the portal's response.

    :returns: the message ``kind.message`` of the schema
    :raises InputError: the file cannot be read, is larger than ``SIZE_LIMIT``, is empty, damaged or
        truncated, or holds something else
    """
    if _schema.PROTOBUF_IMPORT_ERROR is not None:
        raise InputError(
            "the Python package protobuf, 4.25 or later, is missing where ansible runs; install it"
            f" there ({_schema.PROTOBUF_IMPORT_ERROR})"
        )
    data = _read(path)
    try:
        return decode(data, kind)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > SIZE_LIMIT:
        raise InputError(f"{path}: larger than {SIZE_LIMIT >> 20} MB, the limit")
    if not data.strip():
        raise InputError(f"{path}: the file is empty; save the document again")
    return data


def decode(data: bytes, kind: Kind) -> t.Any:
    """Decode the content of a file; see ``load``."""
    errors: dict[str, InputError] = {}
    # The facility first: its shape tells more.
    for candidate in (FACILITY, MATERIALIZATION, EXPERIMENT):
        try:
            message = _decode_as(data, candidate)
        except InputError as error:
            if candidate is kind and isinstance(error, _TooManyError):
                raise
            errors[candidate.title] = error
            continue
        if candidate is kind:
            return message
        raise InputError(f"this is a {candidate.title}, but a {kind.title} is needed")
    raise errors[kind.title]


def _decode_as(data: bytes, kind: Kind) -> t.Any:
    if _CONTROL.search(data):
        return _from_wire(data, kind)
    text = data.removeprefix(_BYTE_ORDER_MARK).strip()
    if text.startswith(b"{"):
        return _from_json(text, kind)
    if _NOT_BASE64.search(text):
        raise InputError(f"this is no {kind.title}: neither JSON, base64 nor a protocol buffer")
    try:
        return _from_wire(base64.b64decode(b"".join(text.split()), validate=True), kind)
    except binascii.Error as error:
        raise InputError(
            f"the base64 text is damaged or truncated ({error}); save it again"
        ) from None


def _require_few(is_more: bool) -> None:
    if is_more:
        raise _TooManyError(
            f"it has more than {MESSAGE_LIMIT} objects, the limit; most must be empty"
        )


def _from_json(text: bytes, kind: Kind) -> t.Any:
    _require_few(text.count(b"{") > MESSAGE_LIMIT)
    try:
        document = _json.loads(text)
        if kind.wrapper in map(_json.normalize, document):
            message = getattr(_json.read(kind.response, document), kind.wrapper)
        else:
            message = _json.read(kind.message, document)
    except RecursionError:
        raise InputError("the JSON is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"the JSON is damaged or truncated ({error}); save it again") from None
    if not kind.fits(message):
        raise InputError(f"this JSON holds no {kind.title}")
    return message


def _from_wire(data: bytes, kind: Kind) -> t.Any:
    # A message takes at least two bytes.
    if len(data) > 2 * MESSAGE_LIMIT:
        for message in (kind.message, kind.response):
            _require_few(_schema.has_more_messages(message, data, MESSAGE_LIMIT))
    message = _schema.parse(kind.message, data)
    if message is not None and kind.fits(message):
        return message
    response = _schema.parse(kind.response, data)
    if response is not None and kind.fits(getattr(response, kind.wrapper)):
        return getattr(response, kind.wrapper)
    raise InputError(
        f"the protocol buffer is damaged or truncated, or no {kind.title}; save it again"
    )
