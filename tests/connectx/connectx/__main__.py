# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The emulator's command line; `python3 -m connectx --help` explains it."""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import typing as t

from connectx import card as cards
from connectx.card import FAULTS, Card, ConnectXError
from connectx.layouts import DATABASE, read_layouts
from connectx.profiles import PROFILES
from connectx.state import StateFile

DEVICES = "/sys/bus/pci/devices"


def main(arguments: t.Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options, StateFile(options.state))
    except (ConnectXError, OSError, ValueError, sqlite3.Error) as error:
        print(f"connectx: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="connectx", description=sys.modules["connectx"].__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: t.Callable[..., None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument("--state", required=True, help="the file that holds the cards' flash")
        added.set_defaults(run=run)
        return added

    def layouts(added: argparse.ArgumentParser) -> None:
        added.add_argument("--database", default=DATABASE, help="that of mstflint, for the layouts")

    bus = command("bus", _bus, "Show the PCI devices of this machine with cards among them.")
    layouts(bus)
    bus.add_argument(
        "--card",
        action="append",
        required=True,
        metavar="PROFILE@FUNCTION,...",
        help="a card and its PCI addresses; profiles: " + ", ".join(PROFILES),
    )
    bus.add_argument("--mountpoint", default=DEVICES, help="default: %(default)s")

    overlay = command("overlay", _overlay, "Let the real function at an address look as a card's.")
    layouts(overlay)
    overlay.add_argument("--directory", help="that of the function, if not the one in sysfs")
    overlay.add_argument("profile", choices=PROFILES, metavar="PROFILE")
    overlay.add_argument("address", metavar="ADDRESS")

    command("reboot", _reboot, "Let the machine reboot.")
    command("power-cycle", _power_cycle, "Let the machine be without power for a moment.")
    fault = command("fault", _fault, "Give faults to a card, or end them with false.")
    fault.add_argument("--card", metavar="FUNCTION", help="only the one with this first function")
    fault.add_argument(
        "faults", type=json.loads, metavar="JSON", help="from names to values: " + ", ".join(FAULTS)
    )
    command("heal", _heal, "End all faults.")
    put = command("put", _put, "Change parameters behind the tools' back.")
    layouts(put)
    put.add_argument("function", metavar="FUNCTION")
    put.add_argument("columns", type=json.loads, metavar="JSON", help='{"next": {"SRIOV_EN": 1}}')
    layouts(command("status", _status, "Print faults, writes and parameters of the cards as JSON."))
    return parser


def _bus(options: argparse.Namespace, state: StateFile) -> None:
    from connectx.filesystem import Bus, EmulatedFunction, RealDirectory, mount

    layouts = read_layouts(options.database)
    functions = {}
    for text in options.card:
        profile, _at, addresses = text.partition("@")
        name = cards.add_card(state, profile, addresses.split(","))
        card = Card(state, name, layouts)
        for number, address in enumerate(card.functions):
            functions[address] = EmulatedFunction(card, number)
    mount(Bus(RealDirectory(DEVICES), functions), options.mountpoint)


def _overlay(options: argparse.Namespace, state: StateFile) -> None:
    from connectx.filesystem import Overlay, RealDirectory, mount

    directory = os.path.realpath(options.directory or os.path.join(DEVICES, options.address))
    name = cards.add_card(state, options.profile, [options.address])
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as boot_id:
        cards.reboot(state, boot_id.read().strip())
    card = Card(state, name, read_layouts(options.database))
    mount(Overlay(RealDirectory(directory), card, 0), directory)


def _reboot(options: argparse.Namespace, state: StateFile) -> None:
    cards.reboot(state)


def _power_cycle(options: argparse.Namespace, state: StateFile) -> None:
    cards.power_cycle(state)


def _fault(options: argparse.Namespace, state: StateFile) -> None:
    cards.set_faults(state, options.faults, options.card)


def _heal(options: argparse.Namespace, state: StateFile) -> None:
    cards.heal(state)


def _put(options: argparse.Namespace, state: StateFile) -> None:
    name, function = _function(state, options.function)
    card = Card(state, name, read_layouts(options.database))
    for column, values in options.columns.items():
        card.put(function, column, values)


def _status(options: argparse.Namespace, state: StateFile) -> None:
    layouts = read_layouts(options.database)
    found = {}
    for name, record in state.read()["cards"].items():
        card = Card(state, name, layouts)
        found[name] = {key: record[key] for key in ("profile", "functions", "writes", "faults")}
        found[name]["settings"] = {
            address: {key: value._asdict() for key, value in card.settings(number).items()}
            for number, address in enumerate(card.functions)
        }
    json.dump(found, sys.stdout, indent=1)
    print()


def _function(state: StateFile, address: str) -> tuple[str, int]:
    """The card and the number of the function at *address*."""
    for name, record in state.read()["cards"].items():
        if address in record["functions"]:
            return name, record["functions"].index(address)
    raise ConnectXError(f"no card has the function {address}")


if __name__ == "__main__":
    sys.exit(main())
