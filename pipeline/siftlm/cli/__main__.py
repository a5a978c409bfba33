"""Makes `python -m siftlm.cli` the same as `siftlm`."""

from siftlm.cli.commands import main

if __name__ == "__main__":
    main()
