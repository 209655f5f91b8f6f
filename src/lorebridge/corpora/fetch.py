"""Single files from the network: resumed where a connection was cut, checked, and in place only when whole."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import logging
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock
from tqdm import tqdm

from lorebridge import publish
from lorebridge.errors import InputError
from lorebridge.records import file_digest

log = logging.getLogger("lorebridge.corpora")

# By kind of source: where its files are, and the environment variable that names a mirror.
_HOSTS = {
    "github": ("https://raw.githubusercontent.com", "LOREBRIDGE_GITHUB_RAW"),
    "opus": ("https://object.pouta.csc.fi", "LOREBRIDGE_OPUS"),
    "nllb": ("https://storage.googleapis.com/allennlp-data-bucket", "LOREBRIDGE_NLLB"),
}
_ATTEMPTS = 5  # in a row without a byte
_TIMEOUT = 60  # seconds without an answer
_LONGEST_WAIT = 300  # seconds, whatever the server asks for
BUSY = (408, 425, 429, 500, 502, 503, 504)  # what a server answers that may answer otherwise a little later


def cache_folder() -> Path:
    """Return where fetched files are kept: $LOREBRIDGE_CACHE, or ``lorebridge`` in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("LOREBRIDGE_CACHE") or Path(home) / "lorebridge")


def fetch_released(*, out: Path, **spec: Any) -> dict[str, str]:
    """Fetch a released file from a commit of a repository.

    Args:
        out: where to write.
        spec: ``repo``, ``commit``, ``path``, ``sha256``.

    Returns:
        Notes for the record: the sha256.

    Raises:
        InputError: as :func:`fetch_file`.
    """
    return {"sha256": fetch_file({"kind": "github", **spec}, out)}


def copy_file(*, source: Path | str, out: Path) -> dict[str, str]:
    """Copy a file from outside the study into it.

    Returns:
        Notes for the record: the sha256.
    """
    with publish.whole(out) as partial:
        shutil.copyfile(source, partial)
    return {"sha256": file_digest(out)}


def url_of(spec: Mapping[str, Any]) -> str:
    """Return the address of the file that a specification names.

    Raises:
        InputError: it is of another kind than github, opus or nllb.
    """
    if spec["kind"] not in _HOSTS:
        raise InputError(spec["kind"], "not a kind of source that is one file", f"Use one of {', '.join(_HOSTS)}.")
    host, mirror = _HOSTS[spec["kind"]]
    base = os.environ.get(mirror, host)
    if spec["kind"] == "github":
        return f"{base}/{spec['repo']}/{spec['commit']}/{urllib.parse.quote(spec['path'])}"
    if spec["kind"] == "opus":
        return f"{base}/OPUS-{spec['corpus']}/{spec['version']}/moses/{spec['pair']}.txt.zip"
    return f"{base}/nllb/{spec['pair']}.gz"


def fetch_cached(spec: Mapping[str, Any]) -> tuple[Path, str]:
    """Return a file of the cache, fetched if it is not there, and its sha256.

    Raises:
        InputError: see :func:`fetch_file`.
    """
    url = url_of(spec)
    folder = cache_folder() / hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
    path = folder / url.rsplit("/", 1)[-1]
    folder.mkdir(parents=True, exist_ok=True)
    # Jobs on one file wait for the one that fetches it.
    with filelock.FileLock(folder / "lock"):
        if not path.exists():
            return path, fetch_file(spec, path)
        digest = _sha256(path)
        if spec.get("sha256") not in (None, digest):
            log.warning("%s is not what the source names; fetching it again", path)
            digest = fetch_file(spec, path)
        return path, digest


def fetch_file(spec: Mapping[str, Any], out: Path | str) -> str:
    """Fetch one file and check it; `out` appears only when it is whole.

    A cut connection is taken up where it broke (a Range request), a busy server is asked again after the time it names
    or after 1, 2, 4, ... seconds. With a `sha256`, what a killed process left behind (``OUT.partial``) is taken up too.

    Args:
        spec: ``{"kind": "github", "repo", "commit", "path"}``, ``{"kind": "opus", "corpus", "version", "pair"}`` or
            ``{"kind": "nllb", "pair"}``; a `sha256` is checked where it is given. The environment variables
            LOREBRIDGE_GITHUB_RAW, LOREBRIDGE_OPUS and LOREBRIDGE_NLLB name mirrors.
        out: where to write.

    Returns:
        The sha256 of the file.

    Raises:
        InputError: the file is not there, the network fails five times in a row, or the sha256 differs.
    """
    url, out = url_of(spec), Path(out)
    expected = spec.get("sha256")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    if expected is None:
        # Without a checksum nobody could tell that the file changed since.
        partial.unlink(missing_ok=True)
    mirror = _HOSTS[spec["kind"]][1]
    mend = f"Check the source in the configuration and the network, or set {mirror} to a mirror."
    _Download(url, partial, mend).run()
    digest = _sha256(partial)
    if expected not in (None, digest):
        partial.unlink()
        raise InputError(
            url,
            f"its sha256 is {digest}, not {expected}",
            "The file changed or was damaged on the way: fetch it again, or look at it and correct the configuration.",
        )
    partial.replace(out)
    return digest


def fetch_answer(url: str, out: Path, *, headers: Mapping[str, str], mend: str) -> None:
    """Fetch what an address answers to a question, with the patience of :func:`fetch_file`.

    Args:
        url: the address, the question in it.
        out: where to write; it appears only when the connection was not cut.
        headers: of the request.
        mend: what to do if it cannot be had, for the message.

    Raises:
        InputError: the address refuses, or the network fails five times in a row.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    partial.unlink(missing_ok=True)
    _Download(url, partial, mend, headers).run()
    partial.replace(out)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclasses.dataclass
class _Download:
    """A file on its way: `partial` holds its beginning, `etag` says of which version."""

    url: str
    partial: Path
    mend: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    etag: str | None = None

    def run(self) -> None:
        """Add to `partial` until it is whole."""
        failures = 0
        while True:
            size = self._size()
            try:
                self._append(size)
                return
            except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
                status = error.code if isinstance(error, urllib.error.HTTPError) else None
                if status == 416:
                    # What was kept is not the beginning of this file.
                    self.partial.unlink()
                failures = 0 if self._size() > size else failures + 1
                if failures == _ATTEMPTS or status not in (None, 416, *BUSY):
                    raise InputError(self.url, f"cannot be fetched ({error})", self.mend) from error
                seconds = _wait(error, failures)
                log.warning("%s: %s; trying again in %g s", self.url, error, seconds)
                time.sleep(seconds)

    def _size(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _append(self, size: int) -> None:
        """Ask for what is missing after `size` bytes, and write it.

        Raises:
            ConnectionError: less came than was promised.
        """
        request = urllib.request.Request(self.url, headers=dict(self.headers))
        if size:
            request.add_header("Range", f"bytes={size}-")
            if self.etag:
                request.add_header("If-Range", self.etag)
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            # A server that does not know ranges, or has another file by now, sends the whole.
            if getattr(answer, "status", None) != 206:
                size = 0
            self.etag = answer.headers["ETag"]
            length = answer.headers["Content-Length"]
            total = None if length is None else size + int(length)
            with (
                self.partial.open("r+b" if size else "wb") as file,
                tqdm(desc=self.partial.stem, initial=size, total=total, unit="B", unit_scale=True) as bar,
            ):
                file.seek(size)
                while block := answer.read(1 << 20):
                    file.write(block)
                    bar.update(len(block))
                if total is not None and file.tell() != total:
                    raise ConnectionError(f"{file.tell():,} of {total:,} bytes came")


def _wait(error: Exception, failures: int) -> float:
    """Return how many seconds to wait: what the server asks for, or twice as long each time."""
    asked = error.headers.get("Retry-After") if isinstance(error, urllib.error.HTTPError) else None
    # The header may be a date as well: then we wait as if there were none.
    return min(int(asked), _LONGEST_WAIT) if asked and asked.isdecimal() else float(2 ** max(failures - 1, 0))
