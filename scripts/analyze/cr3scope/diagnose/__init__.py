"""Why: evidence in, findings out."""
