"""A server on the loopback that speaks the hub's protocol, serves plain files, and fails on demand."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import json
import re
import urllib.parse
from collections.abc import Callable, Mapping

COMMIT = "c" * 40


@dataclasses.dataclass
class Dataset:
    """One data set: its files at one commit. What is larger than 200 bytes lies in LFS, as on the hub."""

    files: Mapping[str, bytes]
    gated: bool = False
    commit: str = COMMIT
    tokens: tuple[str, ...] = ("hf_granted",)


@dataclasses.dataclass
class Fault:
    """What happens to one request: a status, an answer that is cut after some bytes, or one that is damaged."""

    status: int | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cut: int | None = None
    damage: bool = False


class Server(http.server.ThreadingHTTPServer):
    """Serves `datasets` as the hub does, and `files` by their path, with ranges and entity tags.

    `fail(part, *faults)` lets the next requests whose path holds `part` fail in turn. `asked` lists
    (method, path, headers) of all requests.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.datasets: dict[str, Dataset] = {}
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []
        self._faults: list[tuple[str, str, list[Fault]]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def elsewhere(self) -> str:
        """The same server under another name: where the hub keeps large files."""
        return f"http://localhost:{self.server_port}"

    def fail(self, part: str, *faults: Fault, method: str = "GET") -> None:
        self._faults.append((method, part, list(faults)))

    def fault(self, method: str, path: str) -> Fault:
        for wanted, part, faults in self._faults:
            if wanted == method and part in path and faults:
                return faults.pop(0)
        return Fault()

    def paths(self, method: str, part: str = "") -> list[str]:
        return [path for verb, path, _ in self.asked if verb == method and part in path]


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = urllib.parse.unquote(self.path)
        self.server.asked.append((self.command, path, dict(self.headers.items())))
        fault = self.server.fault(self.command, path)
        if fault.status:
            return self._answer(fault.status, {"Content-Length": "0", **fault.headers}, b"")
        routes: list[tuple[str, Callable[..., None]]] = [
            (r"/api/datasets/([^/]+/[^/]+)/tree/([^/?]+)\?(.*)", self._tree),
            (r"/api/datasets/([^/]+/[^/]+)(?:/revision/([^/?]+))?", self._info),
            (r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._resolve),
        ]
        for pattern, route in routes:
            if match := re.fullmatch(pattern, path):
                return route(fault, *match.groups())
        if path in self.server.files:
            return self._file(fault, self.server.files[path], {})
        return self._answer(404, {}, b"")

    do_HEAD = do_GET

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])

    def _dataset(self, name: str, revision: str | None) -> Dataset | None:
        found = self.server.datasets.get(name)
        if found is None:
            self._answer(401, {"X-Error-Code": "RepoNotFound"}, b"{}")
        elif revision not in (None, "main", found.commit):
            self._answer(404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
            return None
        return found

    def _info(self, fault: Fault, name: str, revision: str | None) -> None:
        if found := self._dataset(name, revision):
            body = json.dumps({"id": name, "sha": found.commit, "siblings": [{"rfilename": f} for f in found.files]})
            self._answer(200, {"Content-Type": "application/json"}, body.encode())

    def _tree(self, fault: Fault, name: str, revision: str, query: str) -> None:
        if found := self._dataset(name, revision):
            # Two files a page, so that the client has to follow the links.
            start = int(dict(urllib.parse.parse_qsl(query)).get("cursor", 0))
            items = []
            for path, data in sorted(found.files.items())[start : start + 2]:
                lfs = {"oid": _hash(data), "size": len(data), "pointerSize": 130} if len(data) > 200 else None
                items.append({"type": "file", "path": path, "size": len(data), "oid": _blob(data)})
                items[-1].update({"lfs": lfs} if lfs else {})
            following = f"{self.server.address}/api/datasets/{name}/tree/{revision}?recursive=True&cursor={start + 2}"
            more = {"Link": f'<{following}>; rel="next"'} if start + 2 < len(found.files) else {}
            self._answer(200, {"Content-Type": "application/json", **more}, json.dumps(items).encode())

    def _resolve(self, fault: Fault, name: str, revision: str, path: str) -> None:
        found = self._dataset(name, revision)
        if found is None:
            return None
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if found.gated and token not in found.tokens:
            return self._answer(403 if token else 401, {"X-Error-Code": "GatedRepo"}, b"{}")
        if path not in found.files:
            return self._answer(404, {"X-Error-Code": "EntryNotFound"}, b"{}")
        data = found.files[path]
        commit = {"X-Repo-Commit": found.commit}
        if len(data) <= 200:
            return self._file(fault, data, {**commit, "ETag": f'"{_blob(data)}"'})
        self.server.files[f"/lfs/{_hash(data)}"] = data
        where = {
            "Location": f"{self.server.elsewhere}/lfs/{_hash(data)}",
            "X-Linked-Etag": f'"{_hash(data)}"',
            "X-Linked-Size": str(len(data)),
        }
        return self._answer(302, {**commit, **where}, b"")

    def _file(self, fault: Fault, data: bytes, headers: Mapping[str, str]) -> None:
        if fault.damage:
            data = bytes(len(data))
        headers = {"ETag": f'"{_hash(data)}"', "Accept-Ranges": "bytes", **headers}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        fresh = self.headers.get("If-Range") in (None, headers["ETag"])
        if not wanted or not self.server.ranges or not fresh:
            return self._answer(200, headers, data, fault.cut)
        start = int(wanted[1])
        if start >= len(data):
            return self._answer(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
        span = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        return self._answer(206, {**headers, **span}, data[start:], fault.cut)

    def log_message(self, format: str, *args: object) -> None:
        pass
