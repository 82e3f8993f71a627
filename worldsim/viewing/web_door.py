"""Who may open the page: whoever has the token, on this machine's own name.

No other site can be made to talk to a session, neither by a name that points here (DNS rebinding)
nor by a WebSocket opened from its own pages.
"""

import hmac
import ipaddress
import secrets
import socket
from contextlib import suppress
from importlib.resources import files
from urllib.parse import parse_qs, urlsplit

from websockets import Headers, Request, Response
from websockets.asyncio.server import ServerConnection

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: "
    "blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Door:
    """Let in who has the token.

    Args:
        host: Address that is listened on.
    """

    def __init__(self, host: str) -> None:
        self.host, self.token = host, secrets.token_urlsafe(16)
        self._page = files("worldsim.viewing").joinpath("web_page.html").read_bytes()

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a request with the page or a refusal; None lets a WebSocket open."""
        path, _, query = request.path.partition("?")
        token = parse_qs(query).get("token", [""])[0].encode(errors="replace")
        if not hmac.compare_digest(token, self.token.encode()):
            return _response(403, "Forbidden", "open the whole address that worldsim printed")
        if not self._trusts(request.headers):
            return _response(403, "Forbidden", "open this by address, by localhost or by host name")
        if path == "/ws":
            return None
        if path != "/":
            return _response(404, "Not Found", "there is only / and /ws")
        return _response(200, "OK", self._page, "text/html")

    def _trusts(self, headers: Headers) -> bool:
        """Return whether a request was meant for this machine, by a page from this machine.

        A site that has its own name point here (DNS rebinding) gives that name as host; one that
        opens a WebSocket to here gives itself as origin. What is no browser gives no origin.
        """
        hosts, origins = headers.get_all("Host"), headers.get_all("Origin")
        if len(hosts) != 1:
            return False
        try:
            name = urlsplit(f"//{hosts[0]}").hostname or ""
            own = socket.gethostname().lower()
            local = [f"{own.partition('.')[0]}.{net}" for net in ("local", "lan")]
            if name not in ("localhost", self.host.lower(), own, *local):
                ipaddress.ip_address(name)  # an address cannot be made to point elsewhere
            return all(urlsplit(o).netloc.lower() == hosts[0].lower() for o in origins)
        except ValueError:
            return False


def _response(status: int, reason: str, body: str | bytes, kind: str = "text/plain") -> Response:
    body = body.encode() if isinstance(body, str) else body
    headers = Headers()
    headers["Content-Type"] = f"{kind}; charset=utf-8"
    headers["Content-Length"] = str(len(body))
    headers["Content-Security-Policy"] = POLICY
    headers["Referrer-Policy"] = "no-referrer"
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cache-Control"] = "no-store"
    headers["Connection"] = "close"
    return Response(status, reason, headers, body)


def names(host: str) -> list[str]:
    """Return the names under which a browser finds an address that is listened on."""
    if host not in ("", "0.0.0.0", "::"):
        return [f"[{host}]" if ":" in host else host]
    found = [socket.gethostname()]
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way_out:
        way_out.connect(("192.0.2.1", 9))  # nothing is sent: it only chooses the way there
        found.append(way_out.getsockname()[0])
    return found
