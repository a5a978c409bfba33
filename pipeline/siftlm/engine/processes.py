"""Runs FnApiRunner's worker processes, forked from a server process that has imported everything.

Beam's own multi_processing mode starts a new interpreter for every worker of every stage, 2 CPU seconds each. Here
the first stage starts a server process that imports Beam and the stages once, and workers are its forks: it has no
threads and has run no kernel, so a fork of it is clean. A worker that dies fails the stage; in Beam's own mode the
runner would wait for it forever.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import forkserver, resource_tracker
from typing import Any

import grpc  # type: ignore[import-untyped]
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import GrpcWorkerHandler, WorkerHandler
from apache_beam.runners.worker.sdk_worker import SdkHarness
from apache_beam.transforms import environments

from siftlm import logs
from siftlm.errors import UserError

URN = "siftlm:environment:forked:v1"
STOP_SECONDS = 10.0
AGAIN_SECONDS = 0.2
KNOWN_SECONDS = 2.0  # until the end of a process is known, at most
PRELOADED = "siftlm.stages.preloaded"
OF_THE_TERMINAL = (signal.SIGINT, signal.SIGHUP)  # which go to workers too, whom only the submitter ends


@environments.Environment.register_urn(URN, None)
class ForkedEnvironment(environments.Environment):
    """Tells Beam to run a pipeline's workers as `ForkedWorker` processes."""

    def to_runner_api_parameter(self, _context: object) -> tuple[str, None]:
        return URN, None

    @staticmethod
    def from_runner_api_parameter(
        _payload: object, capabilities: Any, artifacts: Any, resource_hints: Any, _context: object
    ) -> ForkedEnvironment:
        return ForkedEnvironment(capabilities, artifacts, resource_hints)


def environment() -> ForkedEnvironment:
    """Returns the Beam environment whose workers are forked processes (`ForkedWorker`)."""
    return ForkedEnvironment(environments.python_sdk_capabilities(), ())


@WorkerHandler.register_environment(URN, None)
class ForkedWorker(GrpcWorkerHandler):
    """Starts, watches and stops one worker process of one pipeline."""

    def __init__(self, _payload: object, state: Any, provision_info: Any, grpc_server: Any) -> None:
        super().__init__(state, provision_info, grpc_server)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([PRELOADED])
        served = (self.control_address, self.worker_id, logs.level())
        self._process = context.Process(target=serve, args=served, daemon=True)
        self._stopped, self._ended = threading.Event(), threading.Event()
        self._killed = False
        _workers.append(self)
        _quieten_channels()

    def start_worker(self) -> None:
        resource_tracker.ensure_running()  # which changes the mask when it starts
        before = signal.pthread_sigmask(signal.SIG_BLOCK, OF_THE_TERMINAL)  # processes inherit the mask
        try:
            self._process.start()
        except (EOFError, ConnectionError) as error:
            raise UserError(
                "runner.processes: a worker must be started, but the process that starts workers was killed, perhaps "
                "for want of memory; run again, what is done stays done"
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        threading.Thread(target=self._watch, daemon=True).start()

    def stop_worker(self) -> None:
        self._stopped.set()
        if not self._ended.wait(STOP_SECONDS):
            self._killed = True
            self._process.kill()

    def own_end(self) -> int | None:
        """Returns the exit code of a worker that failed by itself; None if it runs, succeeded or was stopped."""
        return self._process.exitcode or None if self._ended.is_set() and not self._killed else None

    def _watch(self) -> None:
        """Fails what the runner waits for, or comes to wait for, when the process ends before it was told to.

        No other thread looks at the process before: the exit code can be read once.
        """
        self._process.join()
        self._ended.set()
        ended = f"a worker process ended with exit code {self._process.exitcode}"
        while True:
            for number, asked in list(self.control_conn._futures_by_id.items()):
                response = beam_fn_api_pb2.InstructionResponse(instruction_id=number, error=ended)
                asked.set(response)  # what is only aborted does not count as done
                asked.abort(RuntimeError(ended))
            if self._stopped.wait(AGAIN_SECONDS):
                return


_workers: list[ForkedWorker] = []  # of the pipeline that runs


@contextmanager
def deaths_named() -> Iterator[None]:
    """Raises a one-line UserError if the pipeline in the block fails because a worker process died.

    Beam's threads notice it first in one way or another (a channel that closed, an answer that never came), before
    the process is known to have ended. What a worker itself reports has a traceback, and is no such failure.
    """
    _workers.clear()
    try:
        yield
    except Exception as error:
        code = None if isinstance(error, UserError) or "Traceback" in str(error) else _death()
        if code is None:
            raise
        raise UserError(
            f"runner.processes: every worker must live until its stage is done, got one that ended with {_told(code)}; "
            "where memory is short, fewer processes or runner.worker_memory help; run again to go on from here"
        ) from error


@cache
def _quieten_channels() -> None:
    """Keeps threads of Beam from showing a traceback when the channel that they read breaks: the pipeline fails too."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, grpc.RpcError):
            before(args)

    threading.excepthook = hook


def _death() -> int | None:
    """The exit code of a worker that died, as soon as it is known."""
    give_up = time.monotonic() + KNOWN_SECONDS
    while True:
        code = next((code for worker in _workers if (code := worker.own_end()) is not None), None)
        if code is not None or time.monotonic() > give_up:
            return code
        time.sleep(AGAIN_SECONDS / 10)


def _told(code: int) -> str:
    return f"exit code {code}" + (f" ({signal.Signals(-code).name})" if -code in list(signal.Signals) else "")


def serve(control_address: str, worker_id: str, level: int) -> None:
    """Runs a worker for the runner at `control_address` until it closes the channel or its process ends."""
    threading.Thread(target=_end_with_submitter, daemon=True).start()
    logs.show(sys.stderr, level)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - Beam prints what it also tells the runner, with a traceback
    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # and logs
    _quieten_channels()
    try:
        SdkHarness(control_address, worker_id=worker_id, state_cache_size=0).run()
    except grpc.RpcError:
        sys.exit(1)  # the channel broke, so there is nobody to tell


@atexit.register
def _end_server() -> None:
    """Ends the server that workers are forked from, which may still be importing: it would only end after that."""
    number: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    if number is not None:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def _end_with_submitter() -> None:
    """Ends this process when the one that started it has ended, however it did: nobody is there to work for."""
    submitter = multiprocessing.parent_process()
    assert submitter is not None
    multiprocessing.connection.wait([submitter.sentinel])
    os._exit(1)
