#!/bin/sh
# One image, two callers. A Beam runner starts the container with the flags of its worker contract (--id=...,
# --worker_pool, ...): those go to Beam's boot program. Everything else is a siftlm command.
set -eu

case "${1:---help}" in
    --id | --id=* | -id=* | --worker_pool | --worker_pool=* | --setup_only | --setup_only=* | \
        --*_endpoint | --*_endpoint=* | --semi_persist_dir | --semi_persist_dir=*)
        exec /opt/apache/beam/boot "$@"
        ;;
    *)
        exec siftlm "${@:---help}"
        ;;
esac
