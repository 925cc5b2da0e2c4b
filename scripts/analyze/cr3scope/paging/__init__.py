"""The architecture's paging rules: entries, walks, effective rights."""
