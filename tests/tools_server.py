"""A server of files that breaks off, ignores ranges, or sends wrong bytes, as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """Serves files from memory on a port of this machine.

    Attributes:
        files: Their bytes, by name.
        ranges: Whether it answers for parts of a file.
        break_after: The connection breaks after this many bytes; None: never.
        breaks: How many connections break, and answer well afterwards.
        status: What it answers in place of a file; 200 means the file.
        asked: The `Range` of each request, empty if there was none.
        sent: Bytes of files that were sent.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.break_after: int | None = None
        self.breaks = 10**9
        self.status = 200
        self.asked: list[str] = []
        self.sent = 0
        self.url = ""


@contextmanager
def serving() -> Iterator[FileServer]:
    """Start a server, and stop it at the end of the block."""
    state = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            state.asked.append(asked)
            content = state.files.get(self.path.rpartition("/")[2])
            status = state.status if content is not None else 404
            if status != 200 or content is None:
                self.send_error(status)
                return
            start = 0
            if asked and state.ranges:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            part = content[start:]
            if state.break_after is not None and state.breaks > 0:
                state.breaks -= 1
                part = part[: state.break_after]
            self.wfile.write(part)
            state.sent += len(part)
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
