"""`make releases`: the README's two commands on Debian's releases, each in a root of its own."""
