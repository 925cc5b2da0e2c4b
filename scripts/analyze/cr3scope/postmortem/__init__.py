"""Why a paused guest without a trace died or stopped: asked of its registers, memory and log."""
