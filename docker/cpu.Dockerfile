# siftlm on CPUs: scheduled refreshes, and the workers of Spark, Flink or Dataflow.
#
#     docker build --file docker/cpu.Dockerfile --tag siftlm:cpu .
#
# The build context is the root of the repository. README.md beside this file says how the image is used.
ARG BEAM_VERSION=2.77.0
FROM apache/beam_python3.11_sdk:${BEAM_VERSION} AS beam

FROM python:3.11-slim

# Set it to an index with CPU wheels of torch, and the image is several GB smaller.
ARG PIP_EXTRA_INDEX_URL=""

# The compiled kernels are made for this processor at build time, so that every worker has the same machine code.
ARG NUMBA_CPU_NAME=x86-64-v3
ARG NUMBA_CPU_FEATURES=+avx2,+fma,+bmi,+bmi2

# Beam would otherwise start its workers in a new virtual environment, without these packages.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 \
    NUMBA_CPU_NAME=${NUMBA_CPU_NAME} \
    NUMBA_CPU_FEATURES=${NUMBA_CPU_FEATURES} \
    NUMBA_CACHE_DIR=/opt/siftlm/kernels \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    PATH=/opt/venv/bin:${PATH}

# The environment belongs to the user, because Beam installs what a job stages into it.
RUN useradd --create-home --uid 10001 siftlm \
    && mkdir -p /opt/venv /opt/siftlm \
    && chown siftlm:siftlm /opt/venv /opt/siftlm
COPY --from=beam /opt/apache/beam /opt/apache/beam
COPY --chmod=0755 docker/entrypoint.sh /opt/siftlm/entrypoint.sh

USER siftlm
WORKDIR /home/siftlm
RUN python3 -m venv /opt/venv

# The dependencies are a layer of their own, which a change of the code leaves as it is.
COPY --chown=siftlm:siftlm docker/constraints-cpu.txt /opt/siftlm/constraints.txt
RUN pip install --requirement /opt/siftlm/constraints.txt

COPY --chown=siftlm:siftlm pyproject.toml README.md LICENSE /tmp/siftlm/
COPY --chown=siftlm:siftlm pipeline /tmp/siftlm/pipeline
COPY --chown=siftlm:siftlm kernels /tmp/siftlm/kernels
RUN pip install --no-deps "/tmp/siftlm[gguf,int8,gcs,s3]" \
    && pip check \
    && rm -rf /tmp/siftlm \
    && python -m siftlm_kernels

COPY --chown=siftlm:siftlm conf conf

ENTRYPOINT ["/opt/siftlm/entrypoint.sh"]
