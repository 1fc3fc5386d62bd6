"""A stand-in for the Hugging Face Hub: one repository in memory, by the requests of huggingface_hub's own client."""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c" * 40


class Hub(ThreadingHTTPServer):
    """It holds `files` by path, of the repository `repository`; `refuse` is the status of every answer, if set."""

    def __init__(self, repository: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repository, self.files, self.created = repository, dict[str, bytes](), dict[str, Any]()
        self.refuse: int | None = None
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def running(repository: str) -> Iterator[Hub]:
    hub = Hub(repository)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub, path = self.server, self.path.split("?")[0].strip("/")
        hub.asked.append(f"{self.command} {path}")
        api, _, file = f"api/models/{hub.repository}", *path.partition("/resolve/")[1:]
        if hub.refuse or not (path.startswith((api, hub.repository))):
            self._answer({"error": "Repository not found"}, hub.refuse or 404, {"X-Error-Code": "RepoNotFound"})
        elif path.startswith(f"{api}/tree/"):
            self._answer([{"type": "file", "path": name, **_about(content)} for name, content in hub.files.items()])
        elif path.startswith(api):
            names = [{"rfilename": name, **_about(content)} for name, content in hub.files.items()]
            self._answer({"id": hub.repository, "sha": COMMIT, "siblings": names})
        else:
            content = hub.files[file.partition("/")[2]]
            self._send(content, 200, {"ETag": f'"{_about(content)["oid"]}"', "X-Repo-Commit": COMMIT})

    def do_POST(self):
        hub, path = self.server, self.path.split("?")[0].strip("/")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hub.asked.append(f"{self.command} {path}")
        if hub.refuse:
            self._answer({"error": "refused"}, hub.refuse)
        elif path == "api/repos/create":
            hub.created = json.loads(body)
            self._answer({"url": f"{hub.address}/{hub.repository}", "id": hub.repository})
        elif path == "api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            plain = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self._answer({"files": [{"path": name, **plain} for name in names]})
        else:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._answer({"commitUrl": f"{hub.address}/{hub.repository}/commit/{COMMIT}", "commitOid": COMMIT})

    def _answer(self, content, status=200, headers=None):
        self._send(json.dumps(content).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def _send(self, content, status, headers):
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def _about(content: bytes) -> dict[str, Any]:
    return {"oid": hashlib.sha1(content).hexdigest(), "size": len(content)}
