"""The screen's QR codes: pictures in, the records of a trace out (docs/trace-format.md, "The photo stream")."""
