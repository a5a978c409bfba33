"""Worker processes of FnApiRunner on this machine, forked from one that has imported everything.

Beam's own multi_processing mode starts a new interpreter for every worker of every stage, 2 CPU seconds each. Here
the first stage starts a server process that imports Beam and the stages once, and workers are its forks: it has no
threads and has run no kernel, so a fork of it is clean. A worker that dies fails the stage; in Beam's own mode the
runner would wait for it forever.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
from typing import Any

from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import GrpcWorkerHandler, WorkerHandler
from apache_beam.runners.worker.sdk_worker import SdkHarness
from apache_beam.transforms import environments

URN = "siftlm:environment:forked:v1"
STOP_SECONDS = 10.0
AGAIN_SECONDS = 0.2
PRELOADED = "siftlm.stages.preloaded"


@environments.Environment.register_urn(URN, None)
class ForkedEnvironment(environments.Environment):
    """Names `ForkedWorker` in a pipeline."""

    def to_runner_api_parameter(self, _context: object) -> tuple[str, None]:
        return URN, None

    @staticmethod
    def from_runner_api_parameter(
        _payload: object, capabilities: Any, artifacts: Any, resource_hints: Any, _context: object
    ) -> ForkedEnvironment:
        return ForkedEnvironment(capabilities, artifacts, resource_hints)


def environment() -> ForkedEnvironment:
    return ForkedEnvironment(environments.python_sdk_capabilities(), ())


@WorkerHandler.register_environment(URN, None)
class ForkedWorker(GrpcWorkerHandler):
    """One worker process of one pipeline."""

    def __init__(self, _payload: object, state: Any, provision_info: Any, grpc_server: Any) -> None:
        super().__init__(state, provision_info, grpc_server)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([PRELOADED])
        self._process = context.Process(target=serve, args=(self.control_address, self.worker_id), daemon=True)
        self._stopped = threading.Event()

    def start_worker(self) -> None:
        self._process.start()
        threading.Thread(target=self._watch, daemon=True).start()

    def stop_worker(self) -> None:
        self._stopped.set()
        self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()

    def _watch(self) -> None:
        """Fails what the runner waits for, or comes to wait for, when the process ends before it was told to."""
        self._process.join()
        ended = f"a worker process ended with exit code {self._process.exitcode}"
        while True:
            for number, asked in list(self.control_conn._futures_by_id.items()):
                response = beam_fn_api_pb2.InstructionResponse(instruction_id=number, error=ended)
                asked.set(response)  # what is only aborted does not count as done
                asked.abort(RuntimeError(ended))
            if self._stopped.wait(AGAIN_SECONDS):
                return


def serve(control_address: str, worker_id: str) -> None:
    """Works for the runner at `control_address` until it closes the channel."""
    logging.getLogger().setLevel(logging.ERROR)
    SdkHarness(control_address, worker_id=worker_id, state_cache_size=0).run()
