"""Models that are given: put in place as they are, so that they are asked like those trained here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from lorebridge.errors import InputError
from lorebridge.work import link_or_copy


def copy_model(*, files: Sequence[str | Path], out: Path) -> dict[str, int]:
    """Take a model folder over, by hard links where that is possible.

    Args:
        files: the files of the folder.
        out: where they go.

    Returns:
        Notes for the record: ``files``, their number.
    """
    folder = Path(os.path.commonpath([Path(path).parent for path in files]))
    for path in map(Path, files):
        target = out / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        link_or_copy(path.resolve(), target)
    return {"files": len(files)}


def fetch_model(*, hub: str, revision: str, out: Path) -> dict[str, str]:
    """Fetch a commit of a model of the hub: what transformers needs of it, and no other weights.

    Args:
        hub: its id, such as ``google-bert/bert-base-multilingual-cased``.
        revision: the commit.
        out: the folder to write.

    Returns:
        Notes for the record: ``hub``, ``revision``.

    Raises:
        InputError: there is no such model or commit, or the hub cannot be reached.
    """
    patterns = ["*.json", "*.model", "*.txt", "*.safetensors"]
    try:
        found = Path(snapshot_download(hub, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        raise InputError(
            f"{hub} at {revision}",
            f"cannot be fetched ({' '.join(str(error).split())[:200]})",
            "Check the id, the commit and the network, or give a folder: given.<name>.path.",
        ) from error
    if not list(found.glob("*.safetensors")):
        raise InputError(f"{hub} at {revision}", "has no weights as safetensors", "Give a folder: given.<name>.path.")
    shutil.copytree(found, out, dirs_exist_ok=True)
    return {"hub": hub, "revision": revision}
