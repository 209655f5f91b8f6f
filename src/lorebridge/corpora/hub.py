"""Data sets of the Hugging Face hub: which files a source means at which commit, and those files in the hub's cache.

Files are read as they are; a data set's own loading code is never run. A file lies in the cache of `huggingface_hub`
(HF_HOME), which several jobs and projects share, and is checked against its checksum whenever it is read.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import hashlib
import logging
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx2  # what huggingface_hub speaks HTTP with: its connection errors are this library's
import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from lorebridge.corpora.fetch import BUSY
from lorebridge.errors import InputError

log = logging.getLogger("lorebridge.corpora")

_T = TypeVar("_T")
_ATTEMPTS = 4
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclasses.dataclass(frozen=True)
class HubFiles:
    """Files of a data set at one commit.

    Attributes:
        dataset: its name on the hub.
        revision: the commit.
        paths: the files, in the order of their names.
    """

    dataset: str
    revision: str
    paths: tuple[str, ...]

    def label(self, path: str) -> str:
        """Name a file for a message."""
        return f"{self.dataset}@{self.revision[:7]}/{path}"

    def fetch(self, path: str) -> Path:
        """Return a file in the hub's cache, fetched if it is not there, and checked.

        Raises:
            InputError: it cannot be had, or differs from its checksum twice.
        """
        where = self.label(path)
        download = functools.partial(
            huggingface_hub.hf_hub_download, self.dataset, path, repo_type="dataset", revision=self.revision
        )
        for again in (False, True):
            try:
                file = _patiently(functools.partial(download, force_download=again))
            except (httpx2.HTTPError, OSError) as error:
                raise _refusal(where, self.dataset, error) from None
            if _is_whole(Path(file)):
                return Path(file)
            log.warning("%s differs from its checksum; fetching it again", where)
        raise InputError(where, "differs from its checksum", f"Remove {Path(file).resolve()} and try again later.")


def _patiently(call: Callable[[], _T]) -> _T:
    """Return what a call to the hub gives, asked again where the hub is busy.

    `huggingface_hub` itself takes up cut connections and asks again for lists and headers, but not for the rest.
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            return call()
        except OSError as error:
            response = getattr(error, "response", None)
            if response is None or response.status_code not in BUSY:
                raise
            seconds = 2.0**attempt
            log.warning("the hub is busy (%s); trying again in %g s", type(error).__name__, seconds)
            time.sleep(seconds)
    return call()


def find_files(spec: Mapping[str, Any], suffixes: tuple[str, ...]) -> HubFiles:
    """Ask the hub which files a source means.

    Those that match `data_files` (a pattern, or a list of them). Without it, those in the folder `config`, or in the
    whole data set without one; of these the ones whose names begin with the `split`, or all where that is ``train`` and
    none does. Without a network the
    cache answers, if the commit is pinned and ``hf download DATASET --repo-type dataset --revision COMMIT --include
    PATTERN`` has filled it.

    Args:
        spec: ``{"dataset", "config", "data_files", "split", "revision"}``; all but `dataset` may be missing or None.
            A `revision` that is not a commit is resolved, with a warning: it may mean something else tomorrow.
        suffixes: how the names of files that can be read end.

    Raises:
        InputError: there is no such data set, commit or file, it is gated, or the hub does not answer.
    """
    name, revision = spec["dataset"], spec.get("revision")
    where = name + "".join(f" ({spec[key]})" for key in ("config", "data_files") if spec.get(key))
    api = huggingface_hub.HfApi()
    given = spec.get("data_files")
    patterns = [given] if isinstance(given, str) else given or [f"{spec['config']}/*" if spec.get("config") else "*"]
    try:
        if revision is None or not _COMMIT.fullmatch(revision):
            commit = str(_patiently(lambda: api.dataset_info(name, revision=revision)).sha)
            log.warning("%s: not pinned; write `revision: %s` to read the same text again", where, commit)
        else:
            commit = revision
        there = _list(api, name, commit, patterns)
        found = [path for path in there if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)]
        found = [path for path in found if path.endswith(suffixes)]
        if not given:
            split = spec.get("split") or "train"
            of_split = [path for path in found if re.match(rf"{re.escape(split)}[-.]", Path(path).name)]
            # The files of many data sets say nothing of a split; one that is asked for must be there.
            found = of_split or (found if split == "train" else [])
        if not found:
            folders = ", ".join(sorted({path.split("/")[0] for path in there})[:40]) or "nothing"
            raise InputError(
                where,
                f"no file {' or '.join(patterns)} that ends in {' or '.join(suffixes)} (there is {folders})",
                f"Check `config`, `split` and `data_files` against https://huggingface.co/datasets/{name}/tree/{commit}.",
            )
        # Whoever may list a gated data set may yet not read it: ask before any work.
        huggingface_hub.hf_hub_download(name, found[0], repo_type="dataset", revision=commit, dry_run=True)
    except HFValidationError as error:
        raise InputError(where, f"no name of a data set ({error})", "Write `dataset: OWNER/NAME`.") from error
    except (httpx2.HTTPError, OSError) as error:
        raise _refusal(where, name, error) from None
    return HubFiles(name, commit, tuple(sorted(found)))


def _list(api: huggingface_hub.HfApi, name: str, commit: str, patterns: list[str]) -> list[str]:
    """Return the files of a data set at a commit, from the cache where there is no network."""
    try:
        tree = api.list_repo_tree(name, recursive=True, revision=commit, repo_type="dataset")
        return sorted(item.path for item in tree if isinstance(item, huggingface_hub.hf_api.RepoFile))
    except (httpx2.ConnectError, httpx2.TimeoutException, OfflineModeIsEnabled):
        folder = Path(
            huggingface_hub.snapshot_download(
                name, repo_type="dataset", revision=commit, allow_patterns=patterns, local_files_only=True
            )
        )
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _is_whole(file: Path) -> bool:
    """Return whether a file of the cache is what its name says: a blob is called by its sha256, or its git hash."""
    blob = file.resolve()
    with blob.open("rb") as data:
        if len(blob.name) == 64:
            return hashlib.file_digest(data, "sha256").hexdigest() == blob.name
        header = f"blob {blob.stat().st_size}\0".encode()
        return hashlib.sha1(header + data.read()).hexdigest() == blob.name


def _refusal(where: str, name: str, error: Exception) -> InputError:
    """Say what a refusal of the hub means and what mends it.

    It holds no word of the hub's own, nor is it chained to the error: what a server writes may repeat the request,
    and so the token.
    """
    page = f"https://huggingface.co/datasets/{name}"
    response = getattr(error, "response", None)
    status = f" (HTTP {response.status_code})" if response is not None else ""
    if isinstance(error, GatedRepoError):
        return InputError(
            where,
            f"the data set is gated{status}",
            f"Accept its terms at {page}, then set HF_TOKEN or log in with `hf auth login`.",
        )
    if isinstance(error, RevisionNotFoundError):
        return InputError(where, f"no such revision{status}", f"Give a commit of {page}/commits/main.")
    if isinstance(error, RepositoryNotFoundError):
        return InputError(
            where,
            f"no such data set, or it is private{status}",
            f"Look for it at {page}; if it is there, set HF_TOKEN or log in with `hf auth login`.",
        )
    if status:
        return InputError(
            where, f"the hub refuses{status}", f"Check HF_TOKEN if you set it, and try again later; the page is {page}."
        )
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        return InputError(
            where, f"the cache cannot be used ({error.strerror})", "Make room, or let HF_HOME name another folder."
        )
    return InputError(
        where,
        f"the hub does not answer, and the cache does not have it ({type(error).__name__})",
        f"Check the network, or write a commit as `revision` and fetch it where there is one: `hf download {name} "
        "--repo-type dataset --revision COMMIT`.",
    )
