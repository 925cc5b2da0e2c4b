"""Ground words of the architecture: bits, registers, exceptions, descriptors, platforms. Imports nothing above it."""
