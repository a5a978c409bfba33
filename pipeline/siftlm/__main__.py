"""Makes `python -m siftlm` the same as `siftlm`."""

from siftlm.cli.commands import main

if __name__ == "__main__":
    main()
