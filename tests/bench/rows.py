# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rows of the table, and how they are measured: the CPU time and the memory of a process."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
HEAD = ("what", "figure", "beside", "ratio", "goal", "", "remark")

# In a process of its own: what a process has for its largest resident set begins with that of the
# one that forked it.
_MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump([done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], file)
"""


class Row(t.NamedTuple):
    """The figures of some rounds, beside those of a *reference* that the median is divided by.

    *goal* is the largest ratio, or the largest figure if there is no reference.
    """

    what: str
    ours: t.Sequence[float]
    unit: str = "s"
    reference: t.Sequence[float] = ()
    against: str = ""
    goal: float | None = None
    remark: str = ""

    def cells(self) -> list[str]:
        value = statistics.median(self.ours)
        beside = ratio = goal = verdict = ""
        if self.reference:
            beside = f"{_figure(self.reference)} {self.unit}, {self.against}"
            value /= statistics.median(self.reference)
            ratio = f"{value:.2f}"
        if self.goal is not None:
            goal = f"{self.goal:.3g}" + ("" if self.reference else f" {self.unit}")
            verdict = "met" if value <= self.goal else "missed"
        figure = f"{_figure(self.ours)} {self.unit}"
        return [self.what, figure, beside, ratio, goal, verdict, self.remark]


def _figure(values: t.Sequence[float]) -> str:
    value = statistics.median(values)
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def table(rows: t.Iterable[Row]) -> list[str]:
    """A table for a terminal, and for reStructuredText."""
    lines = [list(HEAD), *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    texts = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return [rule, texts[0], rule, *texts[1:], rule]


class Cost(t.NamedTuple):
    """What a command took: CPU seconds of all its processes, MB of the largest, its output."""

    code: int
    cpu: float
    megabytes: float
    output: str


def cost(argv: t.Sequence[str | Path], directory: Path = CHECKOUT, **environment: str) -> Cost:
    """Run a command in *directory*."""
    with tempfile.NamedTemporaryFile("r") as file:
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, file.name, *argv],
            cwd=directory,
            env={**os.environ, "NO_COLOR": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        code, cpu, megabytes = json.load(file)
        return Cost(code, cpu, megabytes, done.stdout)


def peak() -> float:
    """The largest resident set of this process so far, in MB."""
    # Not getrusage, which begins with that of the process that forked this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def in_own_process(program: str, *arguments: str | Path) -> t.Any:
    """What a program beside this one answers, in JSON."""
    path = Path(__file__).with_name(program)
    return json.loads(subprocess.check_output([sys.executable, path, *arguments], cwd=CHECKOUT))


def tell(step: str) -> None:
    """Say what is measured now."""
    print(f"bench: {step}", file=sys.stderr, flush=True)
