"""What keeps other CPUs from coming to the kernel."""
