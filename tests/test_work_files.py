"""Folders that one process at a time works in, files that are whole or not there, and what slow models said."""

import dataclasses
import errno
import os
import subprocess
import sys

import pytest

from lorebridge import work
from lorebridge.errors import Busy, InputError
from lorebridge.journal import Journal
from lorebridge.work import locked


@dataclasses.dataclass(frozen=True)
class Answer:
    entails: bool
    probability: float


def test_lock_names_its_holder(tmp_path):
    with locked(tmp_path), pytest.raises(Busy, match=f"process {os.getpid()}"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(InputError, match="keeps no locks"), locked(tmp_path):
        pass


def test_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from lorebridge.work import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    with locked(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / "lock").read_text()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "state.json"
    work.write_json(path, {"step": 1, "lang": "བོད"})
    assert work.read_json(path) == {"step": 1, "lang": "བོད"}
    with pytest.raises(RuntimeError), work.replacing(path) as file:
        file.write(b'{"step": 2')
        raise RuntimeError("out of memory")
    assert work.read_json(path) == {"step": 1, "lang": "བོད"}
    path.write_text('{"step": 2')
    assert work.read_json(path) is None and work.read_json(tmp_path / "none") is None


def test_a_file_is_linked_or_copied(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("text")
    work.link_or_copy(tmp_path / "a", tmp_path / "link")
    assert (tmp_path / "link").samefile(tmp_path / "a")

    def refuse(*_):
        raise OSError("cross-device link")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    work.link_or_copy(tmp_path / "a", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "text" and not (tmp_path / "copy").samefile(tmp_path / "a")


def test_what_follows_a_damaged_line_of_a_journal_is_not_trusted(tmp_path):
    journal = Journal(tmp_path / "answers.jsonl", Answer)
    answers = {key: Answer(entails=key == "b", probability=0.1) for key in "abc"}
    journal.append(answers)
    assert journal.read() == answers
    lines = journal.path.read_bytes().splitlines(keepends=True)
    for damage in (b"\0" * 40 + b"\n", b"[]\n", b"{}\n", b'{"asked": "b", "entails": true}\n'):
        journal.path.write_bytes(lines[0] + damage + lines[2])
        assert journal.read() == {"a": answers["a"]}
        assert journal.path.read_bytes() == lines[0]
