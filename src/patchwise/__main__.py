"""``python -m patchwise``."""

from patchwise.cli import main

if __name__ == "__main__":
    main()
