"""What an operator and a contributor start from: scripts, unit file, binaries."""
