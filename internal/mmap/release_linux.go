package mmap

import "golang.org/x/sys/unix"

// Release lets go of the whole pages of m.Data[from:to], which stay in the
// page cache and come back when they are read: what is done with does not count
// as memory of this process, and is not left to be given up at its end.
func (m *Map) Release(from, to int64) {
	page := int64(unix.Getpagesize())
	from, to = (from+page-1)&-page, to&-page
	if from < to {
		_ = unix.Madvise(m.Data[from:to], unix.MADV_DONTNEED) // a hint
	}
}
