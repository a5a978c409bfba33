"""Runs the process of one device, which does one call after another and can be replaced.

After an error of CUDA a process can often not use the device any more. The process of a device sees no other one, and
holds the device's lock for as long as it lives. It ends when the process that started it does.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from typing import Any

from siftlm import logs
from siftlm.engine.allocator import limit_arenas
from siftlm.engine.devices.listing import DeviceProvider, VisibleDevice
from siftlm.errors import reason_of
from siftlm.scorers.devices import assign

START = """
import json, sys
sys.path[:] = json.loads(sys.argv[3])
from siftlm.engine.devices.process import serve
serve(int(sys.argv[1]), int(sys.argv[2]))
"""
END_SECONDS = 5.0  # for a process whose channel is closed
DONE, RAISED, FAILED = "done", "raised", "failed"


class DeviceError(Exception):
    """Reports that a device failed, or the process on it: what it was doing can be done on another."""


class DeviceProcess:
    """Starts, calls and ends the process of one device.

    It is neither forked, for CUDA survives no fork, nor one of `multiprocessing`, whose workers may have no children
    and whose children run the user's script again.
    """

    def __init__(self, device: VisibleDevice, provider: DeviceProvider, lock: int) -> None:
        self.device = device
        self.since: float | None = None  # when it came to have nothing to do; None while it works
        ours, theirs = socket.socketpair()
        words = [sys.executable, "-P", "-c", START, str(theirs.fileno()), str(lock), json.dumps(sys.path)]
        try:
            self._process = subprocess.Popen(
                words, env={**os.environ, **provider.environment(device)}, stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), lock), start_new_session=True,
            )  # fmt: skip
        finally:
            theirs.close()
            os.close(lock)  # that of the process stays
        self._channel = Connection(ours.detach())
        self._first = pickle.dumps((provider, logs.level()))

    def call(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        """Returns what a function returns that is called in the process, or raises what it raises.

        Raises:
            DeviceError: the device failed, or the process ended.
        """
        asked = pickle.dumps((function, arguments))
        try:
            if self._first:
                self._channel.send_bytes(self._first)
                self._first = b""
            self._channel.send_bytes(asked)
            kind, value = ForkingPickler.loads(self._channel.recv_bytes())
        except (EOFError, OSError):
            raise DeviceError(self._last_words()) from None
        if kind == FAILED:
            raise DeviceError(value)
        if kind == RAISED:
            raise value
        return value

    def end(self) -> None:
        """Ends the process, and with it the hold on the device."""
        self._process.kill()
        self._process.wait()
        self._channel.close()

    def _last_words(self) -> str:
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "its process closed the channel"
        names = {-number: number.name for number in signal.Signals}
        return f"its process ended {f'by {names[code]}' if code in names else f'with exit code {code}'}"


def serve(channel: int, lock: int) -> None:
    """Does what comes through a channel, on the device that this process sees, until the channel is closed."""
    for descriptor in (channel, lock):
        os.set_inheritable(descriptor, False)
    connection = Connection(channel)
    calls: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, calls), daemon=True).start()
    provider, level = ForkingPickler.loads(calls.get())
    logs.show(sys.stderr, level)
    limit_arenas()
    broken = _opened(provider)
    while True:
        asked = calls.get()
        connection.send_bytes(pickle.dumps((FAILED, broken)) if broken else _answer(provider, asked))


def _receive(connection: Connection, calls: SimpleQueue[bytes]) -> None:
    """Ends the process when the channel ends, however busy it is: nobody is there to work for."""
    while True:
        try:
            calls.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)


def _opened(provider: DeviceProvider) -> str | None:
    """Opens the device for all models of this process; why that fails, if it does."""
    try:
        assign(provider.open())
    except Exception as error:  # noqa: BLE001 - the process that asked is told
        return reason_of(error)
    return None


def _answer(provider: DeviceProvider, asked: bytes) -> bytes:
    try:
        function, arguments = ForkingPickler.loads(asked)
        return pickle.dumps((DONE, function(*arguments)))
    except Exception as error:  # noqa: BLE001 - the process that asked is told
        reason = provider.failure(error)
        return pickle.dumps((FAILED, reason)) if reason else _raised(error)


def _raised(error: Exception) -> bytes:
    """An error with its traceback, as text where it cannot be pickled."""
    try:
        told = pickle.dumps((RAISED, ExceptionWithTraceback(error, error.__traceback__)))
        ForkingPickler.loads(told)
    except Exception:  # noqa: BLE001 - of a class that cannot be pickled or made again
        told = pickle.dumps((RAISED, RuntimeError("".join(traceback.format_exception(error)))))
    return told
