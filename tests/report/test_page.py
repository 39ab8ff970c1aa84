# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report in Chromium."""

from __future__ import annotations

import collections
import random
import re
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.report import _report
from ansible_collections.mergetb.sriov.tests.report.browser import Browser, chromium
from ansible_collections.mergetb.sriov.tests.report.facility import Facility, hold
from selenium.webdriver.common.keys import Keys

HOSTILE = "\u202e\"><img src=x onerror=window.hit=1></script><script>window.hit=1</script>'"
CELL = 14


@pytest.fixture(scope="module")
def window() -> t.Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(window: Browser) -> t.Iterator[Browser]:
    """A browser as it was at first; a page that complains fails its test."""
    window.size(1440, 900)
    window.scheme("light")
    window.complaints()
    yield window
    assert window.complaints() == []


def show(browser: Browser, directory: Path, facility: Facility) -> Path:
    """Show the report of a facility, and return its file."""
    path = directory / "report.html"
    path.write_text(_report.html(facility.report()), encoding="utf-8")
    browser.open(path)
    return path


def column(browser: Browser, heading: str) -> list[str]:
    """Return what a column of the table shows."""
    number = browser.texts("#rows thead th").index(heading) + 1
    return browser.texts(f"#rows tbody td:nth-child({number})")


def order_by(browser: Browser, table: str, heading: str) -> None:
    """Order a table by a column, with the keyboard."""
    number = browser.texts(f"{table} thead th").index(heading) + 1
    browser.script("arguments[0].focus()", browser.all(f"{table} th:nth-child({number}) button")[0])
    browser.press(Keys.ENTER)


def seek(browser: Browser, query: str) -> None:
    """Put a text into the filter."""
    browser.script(
        "const filter = document.getElementById('filter');"
        "filter.focus();"
        "filter.value = arguments[0];"
        "filter.dispatchEvent(new Event('input'))",
        query,
    )


def cells(browser: Browser) -> t.Counter[str]:
    """Return how many cells of each state the map draws, `pale` ones apart."""
    return collections.Counter(
        dict(
            browser.script(
                "const sums = {};"
                "for (const path of document.querySelectorAll('#map .strip path')) {"
                "  const name = path.getAttribute('class');"
                "  sums[name] = (sums[name] ?? 0) + path.getAttribute('d').match(/M/g).length;"
                "} return sums"
            )
        )
    )


def cell_colour(browser: Browser, strip: int, vf: int) -> str:
    """Return the colour that is painted in a cell of the map."""
    return browser.script(
        "const svg = document.querySelectorAll('#map .strip svg')[arguments[0]];"
        "for (const path of svg.children) for (const y of [6, 11])"
        "  if (path.isPointInFill(new DOMPoint(arguments[1] * 14 + 6, y)))"
        "    return getComputedStyle(path).fill;",
        *(strip, vf),
    )


def entries(facility: Facility) -> list[tuple[str, str, dict[str, t.Any]]]:
    """Return the host, the materialization and the entry of all that the ledgers have."""
    return [
        (host, mzid, entry)
        for host, told in facility.facts.items()
        for mzid, of in told.get("materializations", {}).items()
        for entry in of
    ]


@pytest.mark.parametrize("hosts", [1, 3, 40, 1000])
def test_numbers_are_those_of_the_ledgers(browser: Browser, tmp_path: Path, hosts: int) -> None:
    facility = Facility(hosts).use()
    show(browser, tmp_path, facility)
    held = entries(facility)
    assert held
    totals = {
        state: int(browser.text(f"#total-{state}").replace(",", "")) for state in _report.STATES
    }
    assert totals["held"] + totals["error"] == len(held)
    vfs = [vf for told in facility.facts.values() for pf in told.get("pfs", ()) for vf in pf["vfs"]]
    assert sum(totals.values()) == len(vfs)
    assert cells(browser) == {state: count for state, count in totals.items() if count}
    names = browser.texts("#materializations tbody th")
    counts = [
        int(count.replace(",", ""))
        for count in browser.texts("#materializations tbody td:nth-child(3)")
    ]
    assert dict(zip(names, counts, strict=True)) == collections.Counter(
        mzid for _host, mzid, _entry in held
    )
    for host, mzid, entry in random.Random(hosts).sample(held, min(4, len(held))):
        seek(browser, f"host:{host} pf:{entry['pf_name']} vf:{entry['vf']}")
        (row,) = (
            dict(zip(browser.texts("#rows thead th"), row, strict=True))
            for row in [browser.texts("#rows tbody td")]
        )
        assert row["materialization"] == mzid
        assert row["guest NIC"] == f"{entry['node']}.{entry['nic']}"
        assert row["VLAN"] == str(entry["vlan"])
        assert row["MAC"] == entry["values"]["mac"]
        assert row["PCI address"] == entry["address"]
        assert row["state"] in ("held", "in error")


def test_filter(browser: Browser, tmp_path: Path) -> None:
    facility = Facility(12).use()
    show(browser, tmp_path, facility)
    held = entries(facility)
    seek(browser, "vlan:100 host:x1")
    expected = [entry for host, _mzid, entry in held if host == "x1" and entry["vlan"] == 100]
    assert expected
    assert column(browser, "PCI address") == [entry["address"] for entry in expected]
    assert browser.text("#count") == f"{len(expected)} VFs, of 384 in all"
    pale = sum(count for name, count in cells(browser).items() if name.endswith(" pale"))
    assert pale == 384 - len(expected)
    seek(browser, f"X1 {held[0][2]['values']['mac'].upper()[-8:]}")
    assert len(column(browser, "host")) <= 1
    seek(browser, "node1.eth1")
    assert "node1.eth1" in column(browser, "guest NIC")
    seek(browser, "no such thing anywhere")
    assert browser.texts("#rows tbody tr") == []
    assert browser.text("#count") == "0 VFs, of 384 in all"
    browser.press(Keys.ESCAPE)
    assert browser.text("#count") == "1 to 100 of 384 VFs"
    browser.click("#next")
    assert browser.text("#count") == "101 to 200 of 384 VFs"

    browser.click("[data-state=held]")
    assert set(column(browser, "state")) == {"held"}
    assert len(column(browser, "state")) == min(100, int(browser.text("#total-held")))
    browser.click("[data-state=error]")
    browser.click("#materializations tbody th button")
    mzid = browser.text("#materializations tbody tr:first-child th")
    assert set(column(browser, "materialization")) == {mzid}


def test_order(browser: Browser, tmp_path: Path) -> None:
    facility = Facility(12).use()
    facility.facts["x3"]["materializations"] = {}
    show(browser, tmp_path, facility)
    order_by(browser, "#rows", "host")
    assert column(browser, "host") == [f"x{n}" for n in range(4) for _vf in range(32)][:100]
    order_by(browser, "#rows", "host")
    assert column(browser, "host") == [f"x{n}" for n in (11, 10, 9, 8) for _vf in range(32)][:100]
    assert browser.all("#rows th[aria-sort=descending]")[0].text.startswith("host")
    order_by(browser, "#rows", "VF")
    assert column(browser, "VF") == [str(n) for n in range(5) for _host in range(24)][:100]
    order_by(browser, "#rows", "state")
    order_by(browser, "#rows", "state")
    order = ["in error", "in foreign use", "held", "with driver", "free"]
    states = column(browser, "state")
    assert states == sorted(states, key=order.index)
    assert len(set(states)) > 1
    order_by(browser, "#hosts table", "host")
    order_by(browser, "#hosts table", "host")
    assert browser.texts("#hosts tbody th") == [f"x{n}" for n in range(11, -1, -1)]
    order_by(browser, "#hosts table", "held")
    counts = [int(count) for count in browser.texts("#hosts tbody td:nth-child(7)")]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_keyboard(browser: Browser, tmp_path: Path) -> None:
    facility = Facility(2, vfs=40)
    hold(facility.facts["x0"], "one.hello.demo", 0, 1, "alpha.eth1", "02:00:00:00:00:01", 100)
    show(browser, tmp_path, facility)
    browser.script("document.querySelector('#map').scrollIntoView()")

    def at() -> tuple[str, str, str]:
        label = browser.script("return document.activeElement.ariaLabel") or ""
        found = re.search(r"host (\S+), PF (\S+), VF (\S+),", label)
        return (found[1], found[2], found[3]) if found else ("", "", "")

    for _press in range(40):
        browser.press(Keys.TAB)
        if at()[0]:
            break
    assert at() == ("x0", "ens1f0", "0")
    outline = browser.script("return getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "2px"
    for key, place in (
        (Keys.ARROW_RIGHT, ("x0", "ens1f0", "1")),
        (Keys.ARROW_DOWN, ("x0", "ens1f0", "33")),
        (Keys.ARROW_DOWN, ("x1", "ens1f0", "1")),
        (Keys.END, ("x1", "ens1f0", "39")),
        (Keys.ARROW_RIGHT, ("x0", "ens2f0", "0")),
        (Keys.ARROW_LEFT, ("x1", "ens1f0", "39")),
        (Keys.HOME, ("x1", "ens1f0", "0")),
        (Keys.PAGE_DOWN, ("x0", "ens2f0", "0")),
        (Keys.ARROW_DOWN, ("x0", "ens2f0", "32")),
        (Keys.ARROW_UP, ("x0", "ens2f0", "0")),
        (Keys.PAGE_UP, ("x0", "ens1f0", "0")),
        (Keys.ARROW_LEFT, ("x0", "ens1f0", "0")),
        (Keys.ARROW_RIGHT, ("x0", "ens1f0", "1")),
    ):
        browser.press(key)
        assert at() == place, key
    label = browser.script("return document.activeElement.ariaLabel")
    for text in (
        "held",
        "one.hello.demo",
        "alpha.eth1",
        "VLAN 100",
        "02:00:00:00:00:01",
        "3b:00.3",
    ):
        assert text in label
    assert not browser.all("#card.pinned")
    browser.press(Keys.ENTER)
    assert browser.all("#card.pinned")
    browser.press(Keys.ESCAPE)
    assert not browser.all("#card")[0].is_displayed()
    browser.press("/", *"vf:1 one.hello")
    assert browser.script("return document.activeElement.id") == "filter"
    assert column(browser, "guest NIC") == ["alpha.eth1"]


def test_mouse(browser: Browser, tmp_path: Path) -> None:
    facility = Facility(2)
    hold(facility.facts["x1"], "one.hello.demo", 0, 15, "alpha.eth1", "02:00:00:00:00:01", 100)
    show(browser, tmp_path, facility)
    strip = browser.all("#map .strip svg")[1]
    browser.point(strip, 15 * CELL + 6, 6)
    card = browser.all("#card")[0]
    for text in ("x1", "held", "one.hello.demo", "alpha.eth1", "100", "02:00:00:00:00:01"):
        assert text in card.text
    strip.click()
    browser.point(browser.all("h1")[0], 1, 1)
    assert card.is_displayed()
    assert "free" in card.text
    card.find_element("css selector", "[data-query='host:x1']").click()
    assert set(column(browser, "host")) == {"x1"}
    assert not card.is_displayed()


def test_cells_have_the_colours_of_their_states(browser: Browser, tmp_path: Path) -> None:
    facility = Facility(1)
    vfs = facility.facts["x0"]["pfs"][0]["vfs"]
    for vf in (2, 4):
        mac = f"02:00:00:00:00:0{vf}"
        hold(facility.facts["x0"], "one.hello.demo", 0, vf, f"a{vf}.eth1", mac, 100)
    vfs[1]["driver"] = "mlx5_core"
    vfs[3].update(driver="vfio-pci", users=["process 1 has it open"])
    vfs[4]["vlan"] = 0
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        show(browser, tmp_path, facility)
        painted = [cell_colour(browser, 0, vf) for vf in range(5)]
        legend = browser.script(
            "return Array.from(document.querySelectorAll('[data-state] .glyph'),"
            " glyph => getComputedStyle(glyph).fill)"
        )
        assert painted == legend
        assert len(set(painted)) == len(_report.STATES)


def test_hostile_names_are_text(browser: Browser, tmp_path: Path) -> None:
    facility = Facility(2)
    name = f"{HOSTILE} {'x' * 10_000}"
    facts = facility.facts.pop("x0")
    facility.facts[name], facility.pfs[name] = facts, facility.pfs.pop("x0")
    facts["pfs"][0]["interface"] = HOSTILE
    facility.pfs[name][0].update(name=HOSTILE, leaf={"host": HOSTILE, "port": HOSTILE})
    entry = hold(facts, HOSTILE, 0, 0, "a.b", "02:00:00:00:00:01", 100)
    entry.update(node=HOSTILE)
    facts["pfs"][0]["vfs"][1]["users"] = [HOSTILE]
    facility.facts["x2"] = {"unreachable": True, "msg": name}
    facility.finding("error", HOSTILE, name, HOSTILE, None, HOSTILE, None, HOSTILE, HOSTILE)
    show(browser, tmp_path, facility)
    seek(browser, "vf:0 state:held")
    shown = HOSTILE.replace("\u202e", r"\u202e")
    assert column(browser, "PF") == [shown]
    assert column(browser, "guest NIC") == [f"{shown}.b"]
    assert column(browser, "leaf port") == [shown]
    assert browser.text("#materializations tbody th") == shown
    browser.click("#materializations tbody th button")
    assert column(browser, "VF") == ["0"]
    assert browser.script("return window.hit") is None
    assert browser.all("img, body script:not(#data) ~ script ~ script") == []
    for width in (1440, 390):
        browser.size(width)
        assert overflowing(browser) == []


def overflowing(browser: Browser) -> list[str]:
    """Return what reaches beyond the width of the page, other than in what scrolls."""
    return browser.script(
        "const wide = document.documentElement.clientWidth + 1;"
        "return Array.from(document.querySelectorAll('body *')).filter(e =>"
        "  e.checkVisibility() && e.getBoundingClientRect().right > wide"
        "  && !e.closest('.scroll, svg, #cursor, .pf > span'))"
        ".map(e => e.outerHTML.slice(0, 200))"
    )


def overlapping(browser: Browser) -> list[str]:
    """Return pairs of lines of the map, labels, cells and figures that cover each other."""
    return browser.script(
        "const boxes = Array.from(document.querySelectorAll("
        "  '.pf > *, .leaf > h3, .headline > *, section > h2, .topic, #rows td, #rows th'"
        "), e => [e, e.getBoundingClientRect()]).filter(([, b]) => b.width && b.height);"
        "const found = [];"
        "for (const [a, p] of boxes) for (const [b, q] of boxes)"
        "  if (a !== b && !a.contains(b) && !b.contains(a) && p.left < q.right - 1"
        "    && q.left < p.right - 1 && p.top < q.bottom - 1 && q.top < p.bottom - 1)"
        "    found.push(`${a.outerHTML.slice(0, 80)} | ${b.outerHTML.slice(0, 80)}`);"
        "return found.slice(0, 3)"
    )


@pytest.mark.parametrize("vfs", [7, 16, 100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("width", "media"), [(1440, ""), (900, ""), (390, ""), (1440, "print"), (720, "print")]
)
def test_nothing_overlaps(
    browser: Browser, tmp_path: Path, width: int, media: str, scheme: str, vfs: int
) -> None:
    browser.size(width)
    browser.scheme(scheme, media=media)
    show(browser, tmp_path, Facility(5, vfs=vfs).use(seed=2))
    browser.script(
        "for (const leaf of document.querySelectorAll('.leaf'))"
        "  leaf.style.contentVisibility = 'visible'"
    )
    assert overlapping(browser) == []
    assert overflowing(browser) == []


def test_dark_is_dark_and_paper_is_white(browser: Browser, tmp_path: Path) -> None:
    show(browser, tmp_path, Facility(1))

    def light(name: str) -> int:
        colour = browser.script(f"return getComputedStyle(document.body).{name}")
        return sum(map(int, re.findall(r"\d+", colour)))

    assert (light("backgroundColor") > 700, light("color") < 150) == (True, True)
    browser.scheme("dark")
    assert (light("backgroundColor") < 100, light("color") > 600) == (True, True)
    browser.scheme("dark", media="print")
    assert (light("backgroundColor") == 3 * 255, light("color") < 150) == (True, True)


def test_print_has_the_whole_map(browser: Browser, tmp_path: Path) -> None:
    show(browser, tmp_path, Facility(100).use())
    browser.print(tmp_path / "report.pdf")
    text = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "report.pdf", "-"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for number in range(100):
        assert re.search(rf"\bx{number}\b.*\d+/16", text)
    assert "Filter" not in text
    assert "Previous" not in text


def test_without_javascript(tmp_path: Path) -> None:
    facility = Facility(3).use()
    path = tmp_path / "report.html"
    path.write_text(_report.html(facility.report()), encoding="utf-8")
    with chromium(javascript=False) as browser:
        browser.driver.get(path.as_uri())
        seen = browser.all("body")[0].text
    assert "need JavaScript" in seen
    assert "Filter" not in seen
    for host in facility.facts:
        assert re.search(rf"^{host} 2 32 32 \d+", seen, re.MULTILINE)


def test_nothing_is_loaded(browser: Browser, tmp_path: Path) -> None:
    browser.driver.get_log("performance")
    path = show(browser, tmp_path, Facility(3).use())
    requests = {
        url
        for entry in browser.driver.get_log("performance")
        if "Network.requestWillBeSent" in entry["message"]
        for url in re.findall(r'"documentURL":"[^"]*".*?"url":"([^"]*)"', entry["message"])
    }
    assert requests == {path.as_uri()}
    assert browser.script("return performance.getEntriesByType('resource').length") == 0


def test_a_script_that_is_not_its_own_does_not_run(window: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    page = _report.html(Facility(1).report())
    path.write_text(page.replace("<main>", "<main><script>window.hit = 1</script>"), "utf-8")
    window.open(path)
    assert window.script("return window.hit") is None
    assert any("Content Security Policy" in text for text in window.complaints())
