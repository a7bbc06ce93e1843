package mmap

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Load asks the system for the pages of a view, in one call in which other
// goroutines go on: a page that is not in memory when it is touched stops a
// processor until the disk has it. What cannot be read is found then.
func Load(view []byte) {
	if len(view) == 0 {
		return
	}
	skip := uintptr(unsafe.Pointer(&view[0])) % uintptr(unix.Getpagesize())
	if skip == 0 {
		_ = unix.Madvise(view, unix.MADV_POPULATE_READ) // a hint, which systems before Linux 5.14 do not know
	}
}
