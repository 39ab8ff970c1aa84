# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Draw the README's picture: the report of the example facility with the example experiment.

Run ``python tests/report/picture.py`` after a change of the page. It needs Chromium (`make page`
installs it) and writes docs/images/report.png.
"""

from __future__ import annotations

import sys
import tempfile
import typing as t
from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

CHECKOUT = Path(__file__).resolve().parents[2]
PICTURE = CHECKOUT / "docs/images/report.png"
WIDTH = 1100

if "ansible_collections" not in sys.modules:
    init_plugin_loader([str(CHECKOUT / ".ansible/collections")])

from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit import _source  # noqa: E402
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import (  # noqa: E402
    _document,
    _materialization,
    _xir,
)
from ansible_collections.mergetb.sriov.plugins.plugin_utils.report import _report  # noqa: E402
from ansible_collections.mergetb.sriov.tests.report import facility  # noqa: E402
from ansible_collections.mergetb.sriov.tests.report.browser import chromium  # noqa: E402
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import (  # noqa: E402
    DIRECTORY as PHOBOS,
)
from ansible_collections.mergetb.sriov.tests.unit import facts, models  # noqa: E402


def page() -> str:
    """Return the report: all of it is real, except what the two hosts tell."""
    source = _source.source(str(PHOBOS / "phobos.xir"))
    model = _document.load(source.model, _document.FACILITY)
    hosts, _warnings = _xir.inventory(model, hypervisors_only=True, link_roles=source.link_roles)
    pfs = {host["name"]: host["variables"]["sriov_pfs"] for host in hosts}
    told = _told(pfs)
    audit, _found = source.audit(told)
    return _report.html(
        _report.report(
            told,
            pfs,
            audit["findings"],
            facility=audit["facility"],
            model="phobos.xir",
            made=facility.MADE,
        )
    )


def _told(pfs: t.Mapping[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """Return what the hosts tell: they hold the experiment, and something is wrong on each."""
    told = facts.truth(models.PHOBOS, *pfs)
    for host in told.values():
        for index, pf in enumerate(host["pfs"]):
            pf["vfs"] = facility.pf(index, pf["mac"], pf["totalvfs"])["vfs"]
            pf["numvfs"] = len(pf["vfs"])
    experiment = _document.load(str(PHOBOS / "one.hello.demo.pb64"), _document.MATERIALIZATION)
    taken = _materialization.vfs(experiment, pfs)
    for name, vfs in taken["hosts"].items():
        for vf in vfs:
            index = [pf["mac"] for pf in told[name]["pfs"]].index(vf["pf"]["mac"])
            nic = f"{vf['node']}.{vf['nic']}"
            where = (index, vf["vf_index"], nic, vf["mac"], vf["vlan"])
            facility.hold(told[name], taken["mzid"], *where)
    told["x0"]["pfs"][1]["vfs"][6].update(
        driver="vfio-pci", users=["process 4711 (qemu-system-x86) has /dev/vfio/42 open"]
    )
    told["x1"]["pfs"][0]["vfs"][1]["vlan"] = 0
    told["x1"]["pfs"][1]["vfs"][5]["driver"] = "igbvf"
    return told


def draw(path: Path) -> None:
    """Write the picture to ``path``: the page from its top to the end of the map."""
    with tempfile.TemporaryDirectory() as directory, chromium("--hide-scrollbars") as browser:
        html = Path(directory) / "report.html"
        html.write_text(page(), encoding="utf-8")
        browser.size(WIDTH)
        browser.open(html)
        map_end = "return Math.ceil(document.getElementById('map').getBoundingClientRect().bottom)"
        browser.size(WIDTH, browser.script(map_end) + 16)
        browser.screenshot(path)


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    draw(PICTURE)
