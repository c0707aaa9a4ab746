"""PyPI's stm32loader on a pseudo-terminal, which has no control lines: without the two methods that set them it
leaves them alone. Run as a program of its own; its arguments are stm32loader's."""

import sys

from stm32loader.main import main
from stm32loader.uart import SerialConnection

del SerialConnection.enable_reset
del SerialConnection.enable_boot0

if __name__ == "__main__":
    main(*sys.argv[1:])
