"""Serve folders over HTTP: the seed for cloud-init, and the package mirror with its two ways to fail."""

import http.server
import socket
import threading
from functools import partial
from http import HTTPStatus
from pathlib import Path

SILENCE_S = 60.0
"""A connection without a request for this long is closed."""

ERROR_PAGE = b"<html><head><title>Sign in</title></head><body>This network asks you to sign in first.</body></html>\n"


class FolderPages(http.server.SimpleHTTPRequestHandler):
    """The files of one folder, below `prefix`. Connections stay open for further requests, as apt uses them."""

    protocol_version = "HTTP/1.1"
    timeout = SILENCE_S
    prefix = "/"

    def translate_path(self, path: str) -> str:
        """Return the file of a URL's path; a path outside the prefix has none."""
        if not path.startswith(self.prefix):
            return str(Path(self.directory, "absent"))
        return super().translate_path("/" + path.removeprefix(self.prefix))

    def list_directory(self, path: object) -> None:
        """List no folder."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def version_string(self) -> str:
        return "lab"


class MirrorPages(FolderPages):
    """The package mirror, as its guests' sources name it."""

    prefix = "/debian/"


class ErrorPages(http.server.BaseHTTPRequestHandler):
    """A page about something else in answer to every request, as a captive portal or a broken proxy gives it."""

    protocol_version = "HTTP/1.1"
    timeout = SILENCE_S

    def do_GET(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(ERROR_PAGE)))
        self.end_headers()
        self.wfile.write(ERROR_PAGE)


class Server(http.server.ThreadingHTTPServer):
    """A server on all addresses of this process's own network."""

    address_family = socket.AF_INET6


def serve_folder(port: int, pages: type[FolderPages], folder: Path) -> Server:
    """Serve a folder's pages in the background. Raises OSError when the port is taken."""
    return _serve(Server(("::", port), partial(pages, directory=str(folder))))


def serve_errors(port: int) -> Server:
    """Answer every request with an error page, in the background. Raises OSError when the port is taken."""
    return _serve(Server(("::", port), ErrorPages))


def _serve(server: Server) -> Server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
