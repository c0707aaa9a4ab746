"""Where the world is touched: sockets, serial ports, files, compilers, emulators."""
