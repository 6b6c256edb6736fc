"""Files that others left under the names that the store is going to use."""

from pathlib import Path

import pytest

from spalloc_server._saved.disk import Disk
from spalloc_server._saved.leftovers import Leftovers
from spalloc_server._saved.recovery import Recovered
from spalloc_server._saved.saved_file import Header, Names, StoreError

FORMAT = 3


def line(pair: str = "p", generation: int = 7, form: int = FORMAT) -> bytes:
    return Header("state", form, generation, pair, 1, "1.0").line()


class Folder:
    """A folder with files of a configuration, and the leftovers among them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = Names(path, "a.cfg")
        self.own = self.names.state("1.0")

    def write(self, **files: bytes) -> None:
        for name, data in files.items():
            self.file(name).write_bytes(data)

    def file(self, name: str) -> Path:
        return {
            "own": self.own, "journal": self.names.journal, "temporary": self.names.new_journal,
        }[name]

    def leftovers(
        self, *, unusable: str = "", superseded: str = "", used: str = "", pair: str | None = "p"
    ) -> Leftovers:
        found = Recovered(pair=pair)
        found.unusable = [*map(self.file, unusable.split())]
        found.superseded = [*map(self.file, superseded.split())]
        found.used = [*map(self.file, used.split())]
        return Leftovers(Disk(), self.names, self.own, found, FORMAT)

    def there(self) -> dict[str, bytes]:
        stem = len(".a.cfg.")
        return {path.name[stem:]: path.read_bytes() for path in sorted(self.path.iterdir())}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_journal_under_its_temporary_name_gets_its_own(folder: Folder) -> None:
    folder.write(own=b"s", journal=b"old", temporary=b"new")

    folder.leftovers(used="own journal temporary").publish_journal()

    assert folder.there() == {"journal": b"new", "state.1.0": b"s"}


def test_a_temporary_journal_that_is_not_used_keeps_its_name(folder: Folder) -> None:
    folder.write(journal=b"old", temporary=b"new")

    folder.leftovers(used="own journal").publish_journal()

    assert folder.there() == {"journal": b"old", "journal.tmp": b"new"}


def test_an_unusable_journal_is_kept_before_another_gets_its_name(folder: Folder) -> None:
    folder.write(journal=b"damaged", temporary=b"new")
    leftovers = folder.leftovers(used="own temporary", unusable="journal")

    leftovers.publish_journal()

    assert folder.there() == {"journal": b"new", "journal.unreadable.1": b"damaged"}
    leftovers.clear_up()
    assert folder.there() == {"journal": b"new", "journal.unreadable.1": b"damaged"}


def test_an_unusable_journal_is_known_by_its_new_name(folder: Folder) -> None:
    folder.write(temporary=b"damaged at its end")
    leftovers = folder.leftovers(used="own temporary", unusable="temporary")
    leftovers.publish_journal()

    leftovers.clear_up()

    assert folder.there() == {"journal.unreadable.1": b"damaged at its end"}


def test_the_temporary_name_is_the_next_generations_once_the_journal_has_its_own(
    folder: Folder,
) -> None:
    folder.write(own=b"s", journal=b"old", temporary=b"new")
    leftovers = folder.leftovers(used="own journal temporary")
    leftovers.publish_journal()
    folder.write(temporary=b"of the next generation")

    leftovers.reject_state()
    leftovers.clear_up()

    assert folder.there() == {
        "journal.tmp": b"of the next generation",
        "journal.unreadable.1": b"new",
        "state.1.0.unreadable.1": b"s",
    }


def test_files_of_an_inconsistent_state_are_kept_even_if_they_were_superseded(
    folder: Folder,
) -> None:
    folder.write(own=line(), journal=b"j", temporary=b"t")
    leftovers = folder.leftovers(used="own journal", superseded="journal temporary")

    leftovers.reject_state()
    leftovers.clear_up()

    assert set(folder.there()) == {"state.1.0.unreadable.1", "journal.unreadable.1"}


def test_superseded_files_are_removed(folder: Folder) -> None:
    folder.write(own=line(), journal=b"j", temporary=b"t")
    leftovers = folder.leftovers(superseded="journal temporary")

    leftovers.clear_up()
    folder.write(journal=b"another")
    leftovers.clear_up()

    assert folder.there() == {"journal": b"another", "state.1.0": line()}


def test_files_that_are_about_to_be_replaced_are_kept_and_stay_where_they_are(
    folder: Folder,
) -> None:
    folder.write(own=b"s", journal=b"j", temporary=b"t")
    leftovers = folder.leftovers(unusable="own journal temporary")

    assert leftovers.make_room() == 0

    assert folder.there() == {
        "journal": b"j", "journal.unreadable.1": b"j", "journal.tmp": b"t",
        "state.1.0": b"s", "state.1.0.unreadable.1": b"s",
    }
    leftovers.clear_up()
    assert folder.there()["journal.tmp.unreadable.1"] == b"t"
    assert folder.there()["journal"] == b"j"


def test_the_known_state_file_needs_no_room(folder: Folder) -> None:
    folder.write(own=line("p"))

    assert folder.leftovers(pair="p").make_room() == 0

    assert folder.there() == {"state.1.0": line("p")}


@pytest.mark.parametrize("pair", ["o", "q"])
def test_a_state_file_that_came_meanwhile_is_kept_and_its_generation_told(
    folder: Folder, pair: str
) -> None:
    folder.write(own=line(pair, generation=9))

    assert folder.leftovers(pair="p").make_room() == 9

    assert set(folder.there()) == {"state.1.0", "state.1.0.unreadable.1"}


def test_a_damaged_state_file_that_came_meanwhile_is_kept(folder: Folder) -> None:
    folder.write(own=b"damaged\n")

    assert folder.leftovers().make_room() == 0

    assert set(folder.there()) == {"state.1.0", "state.1.0.unreadable.1"}


@pytest.mark.parametrize("files", [{}, {"own": b""}])
def test_no_state_file_or_an_empty_one_needs_no_room(
    folder: Folder, files: dict[str, bytes]
) -> None:
    folder.write(**files)

    assert folder.leftovers().make_room() == 0

    assert "state.1.0.unreadable.1" not in folder.there()


def test_a_state_file_of_a_newer_format_stops_everything(folder: Folder) -> None:
    folder.write(own=line("q", form=FORMAT + 1))

    with pytest.raises(StoreError, match="format 4, this program knows up to 3"):
        folder.leftovers().make_room()

    assert set(folder.there()) == {"state.1.0"}
