"""Who wrote what, and which way the CPUs came: the file of the plugin of QEMU (`scripts/qemu_plugin/`)."""
