package mmap

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a large page of the usual processors, a multiple of
// the alignment that unbuffered writes need.
const hugePage = 2 << 20

// NewBuffer returns n bytes at an address that unbuffered writes take, in large
// pages where the system gives them: a disk gets such a buffer in few long
// pieces, which doubles what it writes a second where requests are bounded by
// their pieces.
func NewBuffer(n int) (*Buffer, error) {
	whole, err := unix.Mmap(-1, 0, n+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("allocate a buffer of %d bytes: %w", n, err)
	}
	_ = unix.Madvise(whole, unix.MADV_HUGEPAGE) // a hint, which some systems do not know
	skip := -int(uintptr(unsafe.Pointer(&whole[0]))) & (hugePage - 1)
	return &Buffer{Data: whole[skip : skip+n : skip+n], whole: whole}, nil
}

// Close frees the buffer; Data must not be used any more.
func (b *Buffer) Close() error {
	b.Data = nil
	return unix.Munmap(b.whole)
}
