"""Files that others left under the names that the store is going to use.

Nothing that was saved is overwritten or removed before its replacement is
safe, and a file that could not be used is kept.  Must not know what the files hold.
"""

from __future__ import annotations

import logging
from pathlib import Path

from spalloc_server._saved import state_file
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.recovery import Recovered
from spalloc_server._saved.saved_file import LONGEST_LINE, DamagedError, Names, read_header

log = logging.getLogger(__name__)


class Leftovers:
    """Files to be kept aside or removed while a new generation is written.

    Parameters
    ----------
    disk : Disk
        The file system.
    names : Names
        Of the configuration's files.
    own : Path
        The state file that is about to be written.
    found : Recovered
        The files at the start.
    newest_format : int
        The newest format of the book.
    """

    def __init__(
        self, disk: Disk, names: Names, own: Path, found: Recovered, newest_format: int
    ) -> None:
        self._disk = disk
        self._names = names
        self._own = own
        self._unusable = set(found.unusable)
        self._superseded = set(found.superseded)
        self._used = list(found.used)
        self._newest_format = newest_format
        #: That of the state file in the directory, as far as we know.
        self.pair = found.pair

    def reject_state(self) -> None:
        """Set aside the files of the state at the start: it is inconsistent."""
        self._unusable.update(self._used)
        self._superseded.difference_update(self._used)

    def publish_journal(self) -> None:
        """Give the journal of the state at the start its name, if it lies under the temporary one.

        Raises
        ------
        OSError
            If the disk fails.
        """
        names = self._names
        if names.new_journal not in self._used:
            return
        if names.journal in self._unusable:
            self._keep_aside(names.journal, replaced=True)
        self._disk.rename(names.new_journal, names.journal)
        self._disk.sync_directory(names.directory)
        self._used = [path for path in self._used if path != names.new_journal]
        self._used.append(names.journal)
        if names.new_journal in self._unusable:
            self._unusable.remove(names.new_journal)
            self._unusable.add(names.journal)

    def make_room(self) -> int:
        """Set aside the files that are about to be replaced and must not be lost.

        Returns
        -------
        int
            The generation of a state file that came here since the start (the
            directory was mounted, a backup put back), else 0.

        Raises
        ------
        StoreError
            If such a file is of a newer format.
        OSError
            If the disk fails.
        """
        generation = 0
        if self._own not in self._unusable:
            generation = self._look_at_own()
        for path in (self._own, self._names.journal):
            if path in self._unusable:
                self._keep_aside(path, replaced=True)
        return generation

    def _look_at_own(self) -> int:
        try:
            start = self._disk.read(self._own, LONGEST_LINE)
            if not start:
                return 0
            header = read_header(start, "state", self._newest_format, self._own)
        except FileNotFoundError:
            return 0
        except (OSError, DamagedError):
            self._unusable.add(self._own)
            return 0
        if header.pair == self.pair:
            return 0
        self._unusable.add(self._own)
        return header.generation

    def clear_up(self) -> None:
        """Remove, or set aside, the files that the new generation made useless.

        Raises
        ------
        OSError
            If the disk fails; the rest is done the next time.
        """
        if not self._unusable and not self._superseded:
            return
        for path in sorted(self._unusable):
            self._keep_aside(path, replaced=False)
        for path in sorted(self._superseded):
            self._disk.unlink(path)
            self._superseded.remove(path)
        self._disk.sync_directory(self._names.directory)

    def _keep_aside(self, path: Path, *, replaced: bool) -> None:
        try:
            aside = state_file.keep_aside(self._disk, path, replaced=replaced)
            log.warning("%s is kept as %s", path, aside.name)
        except FileNotFoundError:
            pass  # somebody took it away meanwhile
        self._unusable.discard(path)
