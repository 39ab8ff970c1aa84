# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file that holds the cards' flash, so that it survives the emulator.

The file is the card: who changes it (`mstconfig` through the emulator, or a test) holds its lock
and replaces it as a whole, and whoever plays the card reads it again when it was replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import typing as t

Document = dict[str, t.Any]


class StateFile:
    """The JSON document at *path*, by default `{"cards": {}}`."""

    def __init__(self, path: str) -> None:
        # The emulator may leave the directory that it was started in.
        self._path = os.path.abspath(path)
        self._seen: tuple[int, ...] = ()
        self._document: Document = {"cards": {}}

    def read(self) -> Document:
        """The document as it is now; not to be changed."""
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(self._path)
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                with open(self._path, encoding="utf-8") as file:
                    self._document = json.load(file)
                self._seen = seen
        return self._document

    @contextlib.contextmanager
    def change(self) -> t.Iterator[Document]:
        """The document to change; it is written at the end unless an exception is raised."""
        with open(self._path + ".lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            document = json.loads(json.dumps(self.read()))
            yield document
            with open(self._path + ".new", "w", encoding="utf-8") as file:
                json.dump(document, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(self._path + ".new", self._path)
