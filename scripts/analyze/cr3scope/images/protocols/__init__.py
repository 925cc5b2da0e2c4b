"""What a file says to the loaders that it is made for: Multiboot, Limine, Linux."""
