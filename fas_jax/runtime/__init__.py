"""The machine: devices, processes, memory, progress, the command line."""
