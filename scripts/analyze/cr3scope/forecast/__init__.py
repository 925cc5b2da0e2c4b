"""What a CPU that stands before `mov cr3` is about to do, told from its registers and its memory."""
