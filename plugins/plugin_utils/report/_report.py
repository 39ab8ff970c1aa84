# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report: the SR-IOV of a facility's hosts and who uses it, as one page. PRIVATE.

This module joins what hosts and models tell, in plain values. The files ``page.*`` make the page
that shows them. docs/report.md describes the page.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import functools
import hashlib
import json
import re
import typing as t
from pathlib import Path

import jinja2
import markupsafe

STATES = ("free", "driver", "held", "foreign", "error")
"""The states of a VF; docs/report.md explains them."""

SEVERITIES = ("error", "warning", "info")

TEXT_LIMIT = 2000
"""How many characters of a text the page shows; hosts can send any number of them."""

Facts = t.Mapping[str, t.Any]
"""What ``sriov_info`` tells of a host, or why it told nothing: Ansible's result, or ``error``."""

_PARTICULAR = re.compile(r"[^\s(),;]*\d[^\s(),;]*")
_PARTS = Path(__file__).parent


class ReportVf(t.NamedTuple):
    """A VF as the page shows it; an empty text stands for none.

    ``mzid`` and ``nic`` are the materialization that has the VF in the ledger, and the guest's NIC.
    ``vlan`` is 0 for none and None if it is unknown. ``note`` tells who uses the VF, or how it
    differs from what the ledger says.
    """

    vf: int
    state: str
    mzid: str
    nic: str
    vlan: int | None
    mac: str
    address: str
    driver: str
    note: str


class ReportPf(t.NamedTuple):
    """A PF that a host, its model, or its ledger has.

    ``declared`` is the number of VFs in the model, None for a PF that the model does not offer.
    ``note`` tells what is wrong with the PF. ``whole`` is the materialization that has all of it.
    """

    name: str
    mac: str
    leaf: str
    port: str
    declared: int | None
    note: str
    vfs: list[ReportVf]
    whole: str = ""


class ReportHost(t.NamedTuple):
    """A host; ``error`` tells why it gave no answer, and is empty if it did or was not asked.

    ``asked`` is the time of an earlier answer that stands for this one; it is empty if none does.
    """

    name: str
    error: str
    asked: str
    pfs: list[ReportPf]


class Place(t.NamedTuple):
    """What a remark is about, and the query that shows it in the table."""

    text: str
    query: str


@dataclasses.dataclass
class Remark:
    """What is wrong, how to mend it, and the places where it is wrong."""

    text: str
    remedy: str = ""
    places: list[Place] = dataclasses.field(default_factory=list)


class Topic(t.NamedTuple):
    """Remarks of one kind, and the number of their places."""

    severity: str
    title: str
    total: int
    remarks: list[Remark]


@dataclasses.dataclass
class Totals:
    """Sums over the VFs of a facility, leaf, host or materialization."""

    name: str
    hosts: set[str] = dataclasses.field(default_factory=set)
    pfs: int = 0
    declared: int = 0
    states: t.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    vlans: set[int] = dataclasses.field(default_factory=set)
    error: str = ""
    asked: str = ""

    @property
    def vfs(self) -> int:
        return self.states.total()

    def add(self, host: str, pf: ReportPf) -> None:
        self.hosts.add(host)
        self.pfs += 1
        self.declared += pf.declared or 0
        self.states.update(vf.state for vf in pf.vfs)


class Report(t.NamedTuple):
    """The hosts of a facility, and how they differ from its model."""

    facility: str
    model: str
    made: str
    hosts: list[ReportHost]
    findings: t.Sequence[t.Mapping[str, t.Any]]


def report(
    facts: t.Mapping[str, Facts],
    pfs: t.Mapping[str, t.Sequence[t.Mapping[str, t.Any]]],
    findings: t.Sequence[t.Mapping[str, t.Any]],
    *,
    facility: str,
    model: str,
    made: str,
) -> Report:
    """Join what hosts, models and ledgers tell.

    :param facts: by host
    :param pfs: ``sriov_pfs`` of the inventory, by host
    :param findings: of the audit
    :param facility: name of the facility
    :param model: the file of its model
    :param made: the time at which the hosts were asked
    """
    hosts = [_host(name, facts[name], pfs.get(name) or ()) for name in sorted(facts, key=_natural)]
    # A host that gave no answer is a finding of the audit, too, which would say it twice.
    silent = {host.name for host in hosts if host.error}
    findings = [
        finding
        for finding in findings
        if finding["check"] != "unread" or finding["host"] not in silent
    ]
    return Report(facility, model, made, hosts, findings)


def _is_reserved(entry: t.Mapping[str, t.Any]) -> bool:
    return bool(entry["state"] == "reserved")


def _natural(text: str) -> list[tuple[str, int]]:
    """Return a key that sorts x2 before x10."""
    return [(word, int(n or 0)) for word, n in re.findall(r"(\D*)(\d{0,18})", text.lower())]


def _host(name: str, facts: Facts, declared: t.Sequence[t.Mapping[str, t.Any]]) -> ReportHost:
    error = _error(facts)
    cached = facts.get("cached", {})
    if error and not cached:
        return ReportHost(name, error, "", [_pf(None, pf, []) for pf in declared])
    holdings: dict[str, list[_ReportedHolding]] = collections.defaultdict(list)
    functions: list[_ReportedHolding] = []
    for mzid, entries in facts["materializations"].items():
        functions += [_ReportedHolding(mzid, entry) for entry in entries if "kind" in entry]
        entries = [entry for entry in entries if "kind" not in entry]
        held = {(entry["pf_mac"], entry["vf"]) for entry in entries if not _is_reserved(entry)}
        for entry in entries:
            # A VF that is held, and reserved to be changed, is one VF.
            if not (_is_reserved(entry) and (entry["pf_mac"], entry["vf"]) in held):
                holdings[entry["pf_mac"]].append(_ReportedHolding(mzid, entry))
    pfs = []
    found = list(facts["pfs"])
    for pf in declared:
        match = next((other for other in found if _is(other, pf)), None)
        if match:
            found.remove(match)
        pfs.append(_pf(match, pf, holdings.pop((match or pf).get("mac", ""), [])))
    for pf in found:
        if pf["vfs"] or pf["mac"] in holdings:
            pfs.append(_pf(pf, None, holdings.pop(pf["mac"], [])))
    pfs += [_pf(None, None, gone) for gone in holdings.values()]
    # A function that is held, and reserved to be changed, is one function.
    at = {each.entry["address"]: each for each in sorted(functions, key=_is_held)}
    for holding in at.values():
        _add_function(pfs, holding)
    return ReportHost(name, error, cached.get("asked", ""), pfs)


def _is_held(holding: _ReportedHolding) -> bool:
    return not _is_reserved(holding.entry)


def _add_function(pfs: list[ReportPf], holding: _ReportedHolding) -> None:
    """Note at its PF that a guest has it as a whole; a function that is no PF stands for itself."""
    mzid, entry = holding
    note = f"{mzid} has it as a whole for {entry['node']}.{entry['nic']}"
    if entry["state"] != "ready":
        note += f" ({_reservation(entry) or 'a run began and did not end; run it again'})"
    for index, pf in enumerate(pfs):
        if pf.mac and pf.mac == entry["pf_mac"]:
            pfs[index] = pf._replace(note=note, whole=mzid)
            return
    name = f"function {entry['address']} {entry['pf_name'] or entry['identity']}"
    pfs.append(ReportPf(name, entry["pf_mac"] or "", "", "", None, note, [], mzid))


def _error(facts: Facts) -> str:
    error: str = facts.get("error") or facts.get("cached", {}).get("reason") or ""
    if not error and (facts.get("unreachable") or facts.get("failed")):
        error = facts.get("msg") or "it gave no answer, and no reason"
    return error


def _is(found: t.Mapping[str, t.Any], declared: t.Mapping[str, t.Any]) -> bool:
    """Return whether the model means this PF: by MAC, or by name if the model gives no MAC."""
    if declared.get("mac"):
        return bool(found["mac"] == declared["mac"])
    return bool(found["interface"] == declared["name"])


class _ReportedHolding(t.NamedTuple):
    """An entry of a ledger, and the materialization that has it."""

    mzid: str
    entry: t.Mapping[str, t.Any]


def _pf(
    found: t.Mapping[str, t.Any] | None,
    declared: t.Mapping[str, t.Any] | None,
    holdings: t.Sequence[_ReportedHolding],
) -> ReportPf:
    by_index: dict[int, list[_ReportedHolding]] = collections.defaultdict(list)
    for holding in holdings:
        by_index[holding.entry["vf"]].append(holding)
    vfs: list[ReportVf] = []
    for vf in found["vfs"] if found else ():
        vfs += _vfs(vf["index"], vf, by_index.pop(vf["index"], []))
    for index in sorted(by_index):
        vfs += _vfs(index, None, by_index[index])
    has, known = found or {}, declared or {}
    entry = holdings[0].entry if holdings else {}
    leaf = known.get("leaf") or {}
    return ReportPf(
        name=known.get("name")
        or has.get("interface")
        or has.get("address")
        or entry.get("pf_name", ""),
        mac=has.get("mac") or known.get("mac") or entry.get("pf_mac", ""),
        leaf=leaf.get("host") or "",
        port=leaf.get("port") or "",
        declared=known.get("max_vfs") or 0 if declared else None,
        note=_pf_note(found, declared),
        vfs=vfs,
    )


def _pf_note(found: t.Mapping[str, t.Any] | None, declared: t.Mapping[str, t.Any] | None) -> str:
    if found is None:
        return "the host does not have it"
    problem: str = found["problem"] or ""
    return problem or ("" if declared else "the model does not offer it")


def _vfs(
    index: int, vf: t.Mapping[str, t.Any] | None, holdings: t.Sequence[_ReportedHolding]
) -> t.Iterator[ReportVf]:
    """Yield the VF once, or once for each entry, so that the sums are those of the ledger."""
    has = vf or {}
    users = "; ".join(has.get("users") or ())
    shown = functools.partial(
        ReportVf, vf=index, address=has.get("address") or "", driver=has.get("driver") or ""
    )
    if not holdings:
        state = "foreign" if users else "driver" if has["driver"] else "free"
        yield shown(
            state=state,
            mzid="",
            nic="",
            vlan=has.get("vlan"),
            mac=has.get("mac") or "",
            note=users,
        )
    for mzid, entry in holdings:
        others = [
            f"{holding.mzid} holds it too" for holding in holdings if holding.entry is not entry
        ]
        problems = [*_differences(vf, entry), *others]
        yield shown(
            state="error" if problems else "held",
            mzid=mzid,
            nic=f"{entry['node']}.{entry['nic']}",
            vlan=entry["vlan"],
            mac=entry["values"].get("mac") or has.get("mac") or "",
            note="; ".join(problems) or _reservation(entry) or users,
        )


def _reservation(entry: t.Mapping[str, t.Any]) -> str:
    return f"reserved by run {' and '.join(entry['runs'])}" if _is_reserved(entry) else ""


def _differences(vf: t.Mapping[str, t.Any] | None, entry: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """Yield how a VF differs from what the ledger says."""
    if vf is None:
        yield "the ledger has it, the host does not"
        return
    if _is_reserved(entry):
        return
    if entry["state"] != "ready":
        yield f"the ledger says {entry['state']}: a run began and did not end; run it again"
        return
    recorded = {"PCI address": entry["address"], "driver": entry["driver"]}
    actual = {"PCI address": vf["address"], "driver": vf["driver"]}
    if entry["values"] and "vlan" not in vf:
        yield "its attributes cannot be read"
    else:
        recorded |= entry["values"]
        actual |= vf
    for name, value in recorded.items():
        if actual.get(name) != value:
            shown, must = (json.dumps(v).strip('"') for v in (actual.get(name), value))
            yield f"{name} is {shown}, the ledger says {must}"


def of_facility(made: Report) -> Totals:
    """Return the sums over all hosts."""
    totals = Totals(made.facility)
    for host in made.hosts:
        totals.hosts.add(host.name)
        for pf in host.pfs:
            totals.add(host.name, pf)
    return totals


def by_host(made: Report) -> list[Totals]:
    """Return the sums over each host."""
    result = []
    for host in made.hosts:
        totals = Totals(host.name, hosts={host.name}, error=host.error, asked=host.asked)
        for pf in host.pfs:
            totals.add(host.name, pf)
        result.append(totals)
    return result


def by_leaf(made: Report) -> list[Totals]:
    """Return the sums over the PFs at each leaf; its name is empty for PFs of unknown leaf."""
    result: dict[str, Totals] = {}
    for host in made.hosts:
        for pf in host.pfs:
            result.setdefault(pf.leaf, Totals(pf.leaf)).add(host.name, pf)
    return [result[name] for name in sorted(result, key=lambda name: (not name, _natural(name)))]


def by_materialization(made: Report) -> list[Totals]:
    """Return the sums over the VFs that each materialization has in the ledgers."""
    result: dict[str, Totals] = {}
    for host in made.hosts:
        for pf in host.pfs:
            if pf.whole:
                result.setdefault(pf.whole, Totals(pf.whole)).hosts.add(host.name)
            for vf in pf.vfs:
                if vf.mzid:
                    totals = result.setdefault(vf.mzid, Totals(vf.mzid))
                    totals.hosts.add(host.name)
                    totals.states[vf.state] += 1
                    totals.vlans.add(vf.vlan or 0)
    return [result[name] for name in sorted(result, key=_natural)]


def topics(made: Report) -> list[Topic]:
    """Return what needs attention, the worst first."""
    silent, wrong, foreign, odd = _Remarks(), _Remarks(), _Remarks(), _Remarks()
    for host in made.hosts:
        if host.error:
            silent.add_like(Place(host.name, query(host=host.name)), host.error)
        for pf in host.pfs:
            on = f"{host.name} {pf.name}"
            where = query(host=host.name, pf=pf.name)
            if pf.note and pf.vfs:
                odd.add_like(Place(on, where), pf.note)
            for vf in pf.vfs:
                place = Place(f"{on} VF {vf.vf}", f"{where} {query(vf=vf.vf)}")
                if vf.state == "error":
                    wrong.add_like(place, vf.note)
                elif vf.state == "foreign":
                    foreign.add_like(place, vf.note)
    audited: dict[tuple[str, str], _Remarks] = collections.defaultdict(_Remarks)
    for finding in made.findings:
        where = query(host=finding["host"]) if finding["host"] else ""
        audited[finding["severity"], finding["check"]].add(
            Place(finding["element"], where), finding["message"], finding["remedy"]
        )
    found = [
        silent.topic("error", "Hosts without answer"),
        wrong.topic("error", "VFs in error: they differ from the ledger"),
        foreign.topic("warning", "VFs in foreign use: no ledger has them"),
        odd.topic("warning", "PFs with VFs, but with a problem"),
        *(
            remarks.topic(severity, f"Differs from the model: {check}")
            for (severity, check), remarks in audited.items()
        ),
    ]
    return sorted(
        (topic for topic in found if topic.total),
        key=lambda topic: SEVERITIES.index(topic.severity),
    )


class _Remarks:
    """Collects remarks. Places with the same remark share it."""

    def __init__(self) -> None:
        self._remarks: dict[tuple[str, str], Remark] = {}

    def add(self, place: Place, text: str, remedy: str = "") -> None:
        self._remarks.setdefault((text, remedy), Remark(text, remedy)).places.append(place)

    def add_like(self, place: Place, text: str) -> None:
        """Add a remark. It joins another that differs only in numbers and in names with numbers.

        The table has the whole text for each place.
        """
        remark = self._remarks.setdefault((_PARTICULAR.sub("…", text), ""), Remark(text))
        if remark.text != text:
            remark.text = _PARTICULAR.sub("…", text)
        remark.places.append(place)

    def topic(self, severity: str, title: str) -> Topic:
        remarks = sorted(self._remarks.values(), key=lambda remark: -len(remark.places))
        return Topic(severity, title, sum(len(remark.places) for remark in remarks), remarks)


def query(**words: t.Any) -> str:
    """Return the query that finds this in the table: ``column:value``, quoted if necessary."""
    return " ".join(f"{name}:{_quoted(visible(value))}" for name, value in words.items())


def _quoted(text: str) -> str:
    if not re.search(r'[\s"]', text):
        return text
    return '"' + re.sub(r'[\\"]', r"\\\g<0>", text) + '"'


def summary(made: Report) -> list[str]:
    """Return the totals in a few lines."""
    totals = of_facility(made)
    silent = [host.name for host in made.hosts if host.error]
    answered = sum(not (host.error or host.asked) for host in made.hosts)
    counts = collections.Counter(finding["severity"] for finding in made.findings)
    held_by = len(by_materialization(made))
    return [
        f"hosts: {answered} of {len(made.hosts)} answered"
        + (f", not {', '.join(silent[:10])}{' ...' if len(silent) > 10 else ''}" if silent else ""),
        f"VFs: {totals.vfs} of {totals.declared} in the model",
        "of these " + ", ".join(f"{totals.states[state]} {state}" for state in STATES),
        f"materializations: {held_by}",
        "differs from the model: "
        + ", ".join(f"{counts[severity]} {severity}" for severity in SEVERITIES),
    ]


def visible(value: t.Any) -> str:
    """Return a value as text that shows everything in it, up to the limit of the page.

    Characters that have no glyph, such as those that turn the direction of what follows, become
    escapes.
    """
    text = "" if value is None else str(value)
    if len(text) > TEXT_LIMIT:
        text = f"{text[:TEXT_LIMIT]}... ({len(text)} characters)"
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


class _Interned:
    """A list of different values, with the place of each."""

    def __init__(self) -> None:
        self.values: list[t.Any] = []
        self._places: dict[t.Any, int] = {}

    def place(self, value: t.Any) -> int:
        if value not in self._places:
            self._places[value] = len(self.values)
            self.values.append(value)
        return self._places[value]


def data(made: Report) -> dict[str, t.Any]:
    """Return what the page's script reads. A value that repeats is there once.

    ``strings`` are all texts, and ``lists`` lists of places in ``strings``. ``pfs`` has a list for
    each column, with one element for each PF. For a column of the PF, the element is a place in
    ``strings``. For a column of its VFs, it is a place in ``lists``.
    """
    strings, lists = _Interned(), _Interned()
    own = ("host", "error", "asked", "pf", "pf_mac", "leaf", "port", "declared", "pf_note")
    columns: dict[str, list[int]] = {name: [] for name in (*own, *ReportVf._fields)}
    for host in made.hosts:
        for pf in host.pfs:
            values = (host.name, host.error, host.asked, *pf[:6])
            for name, value in zip(own, values, strict=True):
                columns[name].append(strings.place(visible(value)))
            for number, name in enumerate(ReportVf._fields):
                texts = (strings.place(visible(vf[number])) for vf in pf.vfs)
                columns[name].append(lists.place(tuple(texts)))
    return {"strings": strings.values, "lists": lists.values, "pfs": columns}


def html(made: Report) -> str:
    """Return the page: one file that needs no other."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS),
        autoescape=True,
        finalize=lambda value: value if hasattr(value, "__html__") else visible(value),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    style, script = ((_PARTS / name).read_text("utf-8") for name in ("page.css", "page.js"))
    text = json.dumps(data(made), separators=(",", ":"), ensure_ascii=False)
    return environment.get_template("page.html").render(
        report=made,
        states=STATES,
        facility=of_facility(made),
        leafs=by_leaf(made),
        hosts=by_host(made),
        materializations=by_materialization(made),
        topics=topics(made),
        query=query,
        style=markupsafe.Markup(style),
        style_hash=_hash(style),
        script=markupsafe.Markup(script),
        script_hash=_hash(script),
        data=markupsafe.Markup(text.replace("<", "\\u003c")),
    )


def _hash(text: str) -> str:
    """Return how a content security policy names an inline text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
