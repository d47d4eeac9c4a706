"""The same workloads in other libraries: scripts that import only the peer they measure."""
