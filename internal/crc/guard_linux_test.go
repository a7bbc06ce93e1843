package crc

import (
	"syscall"
	"testing"
)

// TestBounds sums up bytes that end, or begin, where memory does, as those of a
// mapped file may.
func TestBounds(t *testing.T) {
	page := syscall.Getpagesize()
	m, err := syscall.Mmap(-1, 0, 3*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(m)
	for _, guard := range [][]byte{m[:page], m[2*page:]} {
		if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	p := m[page : 2*page]
	copy(p, random(page, 10))
	for _, k := range all() {
		for n := range min(page, 2100) {
			same(t, k, 0, 0, p[:n])
			same(t, k, 0, 0, p[page-n:])
		}
	}
}
