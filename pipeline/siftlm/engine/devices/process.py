"""Runs the process of one device, which does a few calls at a time and can be replaced.

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
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from multiprocessing.reduction import ForkingPickler
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
AT_ONCE = 2  # calls: while the end of one shard is written, the device has work of another
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
        self.calls = 0  # that it has taken on
        self.since = 0.0  # when it came to have none
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
        self._changing = threading.Lock()
        self._numbers = count()
        self._answers: dict[int, Future[Any]] | None = {}  # that are awaited; None once there will be no more
        self._send((provider, logs.level()))
        threading.Thread(target=self._receive, daemon=True).start()

    def call(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        """Returns what a function returns that is called in the process, or raises what it raises.

        Raises:
            DeviceError: the device failed, or the process ended.
        """
        asked, answer = pickle.dumps((function, arguments)), Future[Any]()
        with self._changing:
            if self._answers is None:
                raise DeviceError(self._last_words())
            number = next(self._numbers)
            self._answers[number] = answer
            self._send((number, asked))
        kind, value = answer.result()
        if kind == FAILED:
            raise DeviceError(value)
        if kind == RAISED:
            raise value
        return value

    def end(self) -> None:
        """Ends the process, and with it the hold on the device."""
        self._process.kill()
        self._process.wait()

    def _send(self, message: object) -> None:
        with suppress(OSError):  # the process has ended, which the channel tells whoever reads it
            self._channel.send(message)

    def _receive(self) -> None:
        """Hands answers to those who wait for them, until the process ends."""
        try:
            while True:
                number, answer = ForkingPickler.loads(self._channel.recv_bytes())
                with self._changing:
                    assert self._answers is not None, "answers are awaited until the channel ends"
                    waiting = self._answers.pop(number)
                waiting.set_result(answer)
        except (EOFError, OSError):
            pass
        finally:
            with self._changing:
                left, self._answers = list((self._answers or {}).values()), None
            for waiting in left:
                waiting.set_result((FAILED, self._last_words()))
            self._channel.close()

    def _last_words(self) -> str:
        """How the process ended, in words."""
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "its process closed the channel"
        names = {-number: number.name for number in signal.Signals}
        return f"its process ended {f'by {names[code]}' if code in names else f'with exit code {code}'}"


def serve(channel: int, lock: int) -> None:
    """Does what comes through a channel, on the device that this process sees, and ends when the channel does.

    That is at once, however busy the process is: nobody is there to work for.
    """
    for descriptor in (channel, lock):
        os.set_inheritable(descriptor, False)
    connection, sending = Connection(channel), threading.Lock()
    provider, level = connection.recv()
    logs.show(sys.stderr, level)
    limit_arenas()
    threads = ThreadPoolExecutor(AT_ONCE)
    broken = threads.submit(_opened, provider)

    def answer(number: int, asked: bytes) -> None:
        told = (FAILED, reason) if (reason := broken.result()) else _answer(provider, asked)
        with sending:
            connection.send_bytes(_pickled(number, told))

    with suppress(EOFError, OSError):
        while True:
            threads.submit(answer, *connection.recv())
    os._exit(1)


def _opened(provider: DeviceProvider) -> str | None:
    """Opens the device for all models of this process; why that fails, if it does."""
    try:
        assign(provider.open())
    except Exception as error:  # noqa: BLE001 - the process that asked is told
        return reason_of(error)
    return None


def _answer(provider: DeviceProvider, asked: bytes) -> tuple[str, Any]:
    try:
        function, arguments = ForkingPickler.loads(asked)
        return DONE, function(*arguments)
    except Exception as error:  # noqa: BLE001 - the process that asked is told
        reason = provider.failure(error)
        return (FAILED, reason) if reason else (RAISED, _raised(error))


def _pickled(number: int, told: tuple[str, Any]) -> bytes:
    try:
        return pickle.dumps((number, told))
    except Exception as error:  # noqa: BLE001 - of whatever class a result cannot be pickled
        return pickle.dumps((number, (RAISED, _raised(error))))


def _raised(error: Exception) -> object:
    """An error with its traceback, as text where it cannot be pickled."""
    told = ExceptionWithTraceback(error, error.__traceback__)
    try:
        ForkingPickler.loads(pickle.dumps(told))
    except Exception:  # noqa: BLE001 - of a class that cannot be pickled or made again
        return RuntimeError("".join(traceback.format_exception(error)))
    return told
