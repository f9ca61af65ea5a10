"""A web server for this machine alone, with a page that shows a bundle's verdict on a camera or a file.

Its address holds a secret, so that neither other users nor other pages find it. Requests that come from other pages,
or through a foreign name of this machine, are refused. Frames are judged one after the other.
"""

import asyncio
import importlib.resources
import math
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tornado import httpserver, web

from fas_jax.deployment.demo.address import listen, loopback
from fas_jax.deployment.demo.sessions import Judge, Limits, RefusedError, Session, Sessions, number

Result = TypeVar("Result")

PAGE = {"": "index.html", "page.js": "page.js", "page.css": "page.css", "icon.svg": "icon.svg"}
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LONGEST_SIDE = 640
"""Pixels to which the page reduces the longer side of frames."""


class Demo:
    """What all requests share."""

    def __init__(self, judge: Judge, limits: Limits, host: str, port: int) -> None:
        """For a server at this address."""
        self.sessions = Sessions(judge, limits)
        self.token = secrets.token_urlsafe(24)
        shown = f"[{host}]" if ":" in host else host
        self.hosts = {f"{shown}:{port}", f"localhost:{port}"}
        self.url = f"http://{shown}:{port}/{self.token}/"
        self._thread = ThreadPoolExecutor(1, "judge")

    async def run(self, session: Session, work: Callable[[], Result]) -> Result:
        """Does the work of a session, which is busy meanwhile, after that of all others."""
        session.busy = True
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self.sessions.done(session)

    def close(self) -> None:
        """Waits for the work that has begun."""
        self._thread.shutdown(cancel_futures=True)


class Handler(web.RequestHandler):
    """Checks who asks, and says why a request is refused."""

    demo: Demo

    def initialize(self, demo: Demo) -> None:
        """Called by Tornado with what the routes say."""
        self.demo = demo

    def set_default_headers(self) -> None:
        """Of every answer."""
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        """Refuses requests of other pages, and those that do not know the secret."""
        if self.request.host not in self.demo.hosts:
            raise RefusedError(403, "this server has another name")
        origin = self.request.headers.get("Origin")
        needed = self.request.method not in ("GET", "HEAD")
        if (origin or needed) and origin != f"http://{self.request.host}":
            raise RefusedError(403, "the request does not come from this server's page")
        token, _, rest = self.request.path.lstrip("/").partition("/")
        if not secrets.compare_digest(token.encode(), self.demo.token.encode()):
            raise RefusedError(404, "there is nothing here; use the whole address that the command has printed")

    def send(self, content: dict[str, Any]) -> None:
        """Answers with JSON."""
        self.finish(content)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """A refusal is no fault of the server's."""
        if not isinstance(value, RefusedError | web.HTTPError):
            super().log_exception(typ, value, tb)

    def send_error(self, status_code: int = 500, **about: Any) -> None:
        """As Tornado does, with the status of a refusal."""
        error = (about.get("exc_info") or (None, None))[1]
        super().send_error(error.status if isinstance(error, RefusedError) else status_code, **about)

    def write_error(self, status_code: int, **about: Any) -> None:
        """The reason as JSON."""
        error = (about.get("exc_info") or (None, None))[1]
        fault = "the server failed; its terminal says why" if status_code >= 500 else self._reason
        self.finish({"reason": error.reason if isinstance(error, RefusedError) else fault})


class Nothing(Handler):
    """Where no route leads."""

    def get(self) -> None:
        """Nothing is there."""
        raise RefusedError(404, "there is no such page")


class Page(Handler):
    """The page and its parts."""

    def get(self, name: str = "") -> None:
        """The part of this name."""
        file = PAGE[name]
        self.set_header("Content-Type", f"{_TYPES[file.rpartition('.')[2]]}; charset=utf-8")
        self.finish(importlib.resources.files(__package__).joinpath("page", file).read_bytes())


class Open(Handler):
    """New sessions."""

    def post(self) -> None:
        """Opens one, and tells what the page has to know."""
        judge = self.demo.sessions.judge
        name = self.demo.sessions.open()
        self.send(
            {
                "session": name,
                "detector": judge.name,
                "interval": judge.interval,
                "longest_side": _LONGEST_SIDE,
                "threshold": number(judge.decision.threshold),
                "zones": [number(each) for each in judge.zones()],
                "three": judge.decision.band is not None,
                "overlay": judge.drawn is not None,
                "caveats": judge.bundle.caveats(judge.name),
            }
        )


class Frame(Handler):
    """Frames of a session."""

    async def post(self, name: str) -> None:
        """Takes a JPEG picture with its time, and answers with the verdict."""
        session = self.demo.sessions.find(name)
        if self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "image/jpeg":
            raise RefusedError(415, "a frame is a JPEG picture (Content-Type: image/jpeg)")
        if encoding := self.request.headers.get("Content-Encoding"):
            raise RefusedError(415, f"a frame is sent as it is, not as {encoding}")
        try:
            seconds = float(self.get_query_argument("seconds", ""))
        except ValueError:
            seconds = math.nan
        content = self.request.body
        self.send(await self.demo.run(session, lambda: session.take(content, seconds)))


class Overlay(Handler):
    """Pictures of what decided."""

    async def get(self, name: str) -> None:
        """That of the latest verdict, as PNG."""
        session = self.demo.sessions.find(name)
        picture = await self.demo.run(session, session.overlay)
        self.set_header("Content-Type", "image/png")
        self.finish(picture)


class Close(Handler):
    """The end of a session."""

    def delete(self, name: str) -> None:
        """Forgets it."""
        self.demo.sessions.close(name)
        self.send({})


async def serve(
    judge: Judge,
    host: str,
    port: int,
    told: Callable[[str], object],
    limits: Limits | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serves the page until it is stopped.

    Args:
        judge: Who judges.
        host: An address of this machine's loopback.
        port: 0 for any that is free.
        told: Takes the page's address when it can be opened.
        limits: Of requests.
        stop: Ends the server when it is set.

    Raises:
        UserError: Another address, or the port is taken.
    """
    limits = limits or Limits()
    address = loopback(host)
    listening = listen(address, port)
    demo = Demo(judge, limits, address, listening.getsockname()[1])
    root, shared = rf"/{demo.token}/", {"demo": demo}
    one = rf"{root}sessions/([\w-]+)"
    routes: list[Any] = [
        (rf"{root}({'|'.join(PAGE)})", Page, shared),
        (rf"{root}sessions", Open, shared),
        (rf"{one}/frames", Frame, shared),
        (rf"{one}/overlay.png", Overlay, shared),
        (one, Close, shared),
    ]
    application = web.Application(
        routes, default_handler_class=Nothing, default_handler_args=shared, log_function=lambda handler: None
    )
    # What is a little too large gets a reason; what is far too large is not even read.
    server = httpserver.HTTPServer(
        application,
        max_body_size=4 * limits.bytes,
        max_header_size=1 << 14,
        idle_connection_timeout=60,
        body_timeout=20,
    )
    server.add_sockets([listening])
    stop = stop or asyncio.Event()
    told(demo.url)
    try:
        while not stop.is_set():
            demo.sessions.expire()
            try:
                await asyncio.wait_for(stop.wait(), limits.idle / 2)
            except TimeoutError:
                continue
    finally:
        server.stop()
        await server.close_all_connections()
        demo.close()
