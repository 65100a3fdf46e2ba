import socket
from pathlib import Path

from training.evaluate import listens


def test_a_server_that_does_not_listen_yet_leaves_nothing_open(tmp_path: Path) -> None:
    address = tmp_path / "socket"
    assert not listens(address)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        assert address.exists()
        assert not listens(address)
        server.listen()
        assert listens(address)
