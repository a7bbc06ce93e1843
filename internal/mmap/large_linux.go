package mmap

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// LargePages asks the system to hold the whole pages of memory in large ones:
// a processor finds only so many pages without a look into tables, which costs
// most where a machine is itself emulated.
func LargePages(memory []byte) {
	if len(memory) == 0 {
		return
	}
	page := unix.Getpagesize()
	skip := -int(uintptr(unsafe.Pointer(&memory[0]))) & (page - 1)
	if n := (len(memory) - skip) / page * page; n > 0 {
		_ = unix.Madvise(memory[skip:skip+n], unix.MADV_HUGEPAGE) // a hint, which some systems do not know
	}
}
