qemu-system-x86_64 -enable-kvm -kernel build/examples/multiboot.elf -display none -d int,cpu_reset -serial stdio -no-reboot -D cr3scope-run/again.log
