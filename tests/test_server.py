"""What our server adds to uvicorn."""

import asyncio
import contextlib
import socket
from typing import Any

import uvicorn
import uvloop

from app.server import AT_ONCE, Http, Server
from tests.conftest import free_port


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """No request comes."""


def test_a_burst_of_connections_is_taken_in_few_turns_of_the_loop() -> None:
    """Under load a turn takes a tenth of a second and more: one connection a turn would leave the last for seconds."""
    burst = 6 * AT_ONCE

    async def turns() -> int:
        port = free_port()
        server = Server(uvicorn.Config(nothing, port=port, http=Http, log_config=None, lifespan="off"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        with contextlib.ExitStack() as stack:
            # They are made while the loop stands still, as it does while it answers others.
            for _ in range(burst):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            count = 0
            while len(server.server_state.connections) < burst and count < 10 * burst:
                await asyncio.sleep(0)
                count += 1
        server.should_exit = True
        await serving
        return count

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(turns()) <= burst // 4
