"""Rules about the entries themselves: bits, formats, tables that are shared, moved or left over."""
