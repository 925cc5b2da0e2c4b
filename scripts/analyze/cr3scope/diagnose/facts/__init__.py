"""What a rule may ask of a guest that stands: callers, the code of files, registers when it died."""
