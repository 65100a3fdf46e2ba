"""Connections dealt evenly over server processes. With the processes themselves: test_processes.py."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from app.dealing import FEW, Seat, Table


@pytest.fixture
def table() -> Iterator[Table]:
    with Table.laid(2) as table:
        yield table


Sit = Callable[[int], Seat]


@pytest.fixture
def seat(table: Table) -> Iterator[Sit]:
    """Takes a place, as a process does that inherited the table."""
    with contextlib.ExitStack() as stack:

        def sit(place: int) -> Seat:
            found = Seat(Table.parse(",".join(str(os.dup(one)) for one in table.descriptors)), place)
            for end in (found.box, *found._boxes):
                stack.enter_context(end)
            found.sit()
            return found

        yield sit


@contextlib.contextmanager
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's end and the server's."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        yield client, server


def test_one_goes_to_the_place_that_has_fewer_with_all_that_was_sent(seat: Sit) -> None:
    first, second = seat(0), seat(1)
    first.count(1)
    with connection() as (client, server):
        client.sendall(b"before")
        assert first.pass_on(server.fileno())
        server.close()
        taken = second.take()
        assert taken
        with taken:
            client.sendall(b" and after")
            client.shutdown(socket.SHUT_WR)
            assert b"".join(iter(lambda: taken.recv(100), b"")) == b"before and after"
            taken.sendall(b"reply")
            assert client.recv(100) == b"reply"
    assert second.take() is None
    assert first.take() is None


def test_one_that_is_passed_on_counts_from_then_on(seat: Sit) -> None:
    first, second = seat(0), seat(1)
    first.count(1)
    with connection() as (_, server):
        assert first.pass_on(server.fileno())
        assert not first.pass_on(server.fileno())  # it waits in the box
        taken = second.take()
        assert taken
        assert not first.pass_on(server.fileno())  # it is there, though its process has done nothing with it yet
        taken.close()
        second.count(-1)
        assert first.pass_on(server.fileno())


def test_it_stays_where_there_are_as_many_or_many(seat: Sit) -> None:
    first, second = seat(0), seat(1)
    with connection() as (_, server):
        assert not first.pass_on(server.fileno())
        first.count(1)
        second.count(1)
        assert not first.pass_on(server.fileno())
        second.count(-1)
        first.count(FEW)
        assert not first.pass_on(server.fileno())
        first.count(-1)
        assert first.pass_on(server.fileno())


def test_nobody_who_left_or_died_gets_one(table: Table, seat: Sit) -> None:
    first, second = seat(0), seat(1)
    first.count(1)
    with connection() as (_, server):
        second.leave()
        assert not first.pass_on(server.fileno())
        second.sit()
        table.clear(1)
        assert not first.pass_on(server.fileno())
        first.leave()
        assert not first.pass_on(server.fileno())


def test_those_that_came_before_it_sat_down_count(seat: Sit) -> None:
    """A process listens a moment before others may pass on to it."""
    first, second = seat(0), seat(1)
    second.leave()
    second.count(1)
    second.sit()
    first.count(1)
    with connection() as (_, server):
        assert not first.pass_on(server.fileno())
        second.count(-1)
        assert first.pass_on(server.fileno())


def test_a_full_box_takes_no_more_and_loses_none(seat: Sit) -> None:
    first, second = seat(0), seat(1)
    first.count(FEW)
    with connection() as (_, server):
        # So that it is the box, which the system lets have a few, that is full, not the count.
        second.count(-(10**6))
        put = 0
        while first.pass_on(server.fileno()):
            put += 1
    assert put
    taken = 0
    while found := second.take():
        found.close()
        taken += 1
    assert taken == put


def test_a_successor_takes_what_waits_for_its_predecessor(table: Table, seat: Sit) -> None:
    first = seat(0)
    seat(1)
    first.count(1)
    with connection() as (_, server):
        assert first.pass_on(server.fileno())
        table.clear(1)
        successor = seat(1)
        assert not first.pass_on(server.fileno())
        taken = successor.take()
        assert taken
        taken.close()
        successor.count(-1)
        assert first.pass_on(server.fileno())
