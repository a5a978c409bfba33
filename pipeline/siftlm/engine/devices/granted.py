"""Finds the devices that Spark has granted to the executor which started this process.

A standalone cluster's worker writes the addresses of an executor's resources to a file, and names it in the command
line of the executor (`--resourcesFile`), which is all that a process which is none of Spark's own can see of them. On
YARN and Kubernetes it is the container that has the granted devices and no others.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from siftlm.engine.devices.listing import VISIBLE

FLAG = b"--resourcesFile"
RESOURCE = "gpu"  # of spark.executor.resource.gpu.amount
IN_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # in which nvidia-smi numbers devices, and so Spark's discovery script


def granted(executor: int) -> dict[str, str]:
    """Returns the environment variables by which CUDA shows what Spark granted to the executor, a process number.

    They are none where that process is no executor, or one without such a resource.
    """
    words = _command(executor)
    if FLAG not in words[:-1]:
        return {}
    written = orjson.loads(Path(words[words.index(FLAG) + 1].decode()).read_bytes())
    own = [each["addresses"] for each in written if each["id"]["resourceName"] == RESOURCE]
    return {VISIBLE: ",".join(own[0]), **IN_ORDER} if own else {}


def _command(process: int) -> list[bytes]:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:  # of another user, or no Linux
        return []
