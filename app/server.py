"""One server process: uvicorn, with a graceful end, and several connections taken at once."""

import asyncio
import contextlib
import functools
import gc
import os
import signal
import socket
from types import FrameType

import uvicorn

from app.http.protocol import CLOSE, Http

# Connections that are taken in one turn of the loop. The loop itself takes one, and answers all requests that have come
# before the next: in a crowd of hundreds, a new connection would wait for seconds.
AT_ONCE = 16

# Objects more than at the last look for garbage that are worth another. Python's own number, 700, is that of a handful
# of requests, which leave none as a rule.
GARBAGE = 20_000

# Seconds after SIGTERM: for requests that are on their way, and then for those that run. What stops services kills
# them after ten, as a rule.
LAST_CALL_SECONDS = 0.5
GRACE_SECONDS = 7


class Server(uvicorn.Server):
    """Takes several connections at once, and lets those that it has end with a reply.

    uvicorn closes connections that are idle at once, and with them a request that is just arriving. Here only new
    connections are refused at first; the others end with the reply that they bring next.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        protocol = functools.partial(
            Http, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        for listener in [listener for server in self.servers for listener in server.sockets]:
            for _ in range(AT_ONCE - 1):  # each is asked for a connection once a turn
                another = socket.socket(fileno=os.dup(listener.fileno()))
                self.servers.append(await loop.create_server(protocol, sock=another))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        self.server_state.default_headers.append(CLOSE)
        await asyncio.sleep(LAST_CALL_SECONDS)
        await super().shutdown(sockets)


def serve(host: str, port: int, listener: int | None = None) -> None:
    """Serve in this process until SIGTERM or SIGINT.

    listener: the file descriptor of a socket to listen on, instead of the address.
    """
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        host=host,
        port=port,
        http=Http,
        log_config=None,  # ours is in place
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    # What the imports make, 110,000 objects, stays to the end. Looking through it for garbage makes the start longer,
    # and would later hold all requests up: 65 ms on an idle machine, 150 and more on one that is busy.
    gc.disable()
    config.load_app()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    gc.enable()
    server = Server(config)

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # The server puts this back after its graceful stop and sends itself the signal once more; by default the process
    # would end by that, and be told to have failed.
    signal.signal(signal.SIGTERM, stop)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(None if listener is None else [socket.socket(fileno=listener)])
