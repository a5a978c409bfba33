"""`python -m siftlm.cli` is `siftlm`."""

from siftlm.cli.commands import main

if __name__ == "__main__":
    main()
