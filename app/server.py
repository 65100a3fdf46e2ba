"""One server process: uvicorn, with a graceful end."""

import asyncio
import contextlib
import signal
import socket
from types import FrameType

import uvicorn

# Seconds after SIGTERM: for requests that are on their way, and then for those that run. What stops services kills
# them after ten, as a rule.
LAST_CALL_SECONDS = 0.5
GRACE_SECONDS = 7


class Server(uvicorn.Server):
    """uvicorn closes connections that are idle at once, and with them a request that is just arriving.

    Here only new connections are refused at first; the others end with the reply that they bring next.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        self.server_state.default_headers.append((b"connection", b"close"))
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
        log_config=None,  # ours is in place
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    config.load_app()
    server = Server(config)

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # The server puts this back after its graceful stop and sends itself the signal once more; by default the process
    # would end by that, and be told to have failed.
    signal.signal(signal.SIGTERM, stop)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(None if listener is None else [socket.socket(fileno=listener)])
