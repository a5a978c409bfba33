"""Runs as the worker process of an engine: `siftlm-worker --id=... --provision_endpoint=...`.

This is Beam's container contract without a container. Executors of Spark and Flink run the command of a PROCESS
environment with these two flags; the provision service then says where the work comes from. Packages are those of
the environment that the command is in, so nothing is staged or installed.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from siftlm.console import use_utf8
from siftlm.engine.devices.granted import granted
from siftlm.engine.devices.listing import VISIBLE


def main(arguments: list[str] | None = None) -> None:
    """Runs a Beam worker for an engine until the engine closes the control channel."""
    use_utf8()
    parser = argparse.ArgumentParser(description="A Beam worker with siftlm's stages; started by an engine.")
    parser.add_argument("--id", required=True, help="the name that the engine gave this worker")
    parser.add_argument("--provision_endpoint", required=True, help="where the engine says what to do")
    flags, _ = parser.parse_known_args(arguments)
    # Executors may start the command with a bare environment; kernels and models look for the same PATH.
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    if VISIBLE not in os.environ:
        os.environ.update(granted(os.getppid()))
    os.environ.update(environment(flags.id, provision(flags.id, flags.provision_endpoint)))
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main([])


def provision(worker: str, endpoint: str) -> Any:
    """Returns the Beam ProvisionInfo that the engine's provision service holds for this worker."""
    import grpc  # type: ignore[import-untyped]
    from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc

    with grpc.insecure_channel(endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        return service.GetProvisionInfo(request, metadata=[("worker_id", worker)], timeout=60).info


def environment(worker: str, info: Any) -> dict[str, str]:
    """Returns the environment variables that configure Beam's Python worker as `info` says."""
    from google.protobuf import json_format, text_format  # type: ignore[import-untyped]

    return {
        "WORKER_ID": worker,
        "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(info.control_endpoint),
        "LOGGING_API_SERVICE_DESCRIPTOR": text_format.MessageToString(info.logging_endpoint),
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }
