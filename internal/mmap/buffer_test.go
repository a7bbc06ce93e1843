package mmap

import (
	"runtime"
	"testing"
	"unsafe"
)

func TestBuffer(t *testing.T) {
	for _, n := range []int{1, 4096, 8 << 20, 8<<20 + 1} {
		b, err := NewBuffer(n)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Data) != n || cap(b.Data) != n {
			t.Errorf("NewBuffer(%d): %d bytes, capacity %d", n, len(b.Data), cap(b.Data))
		}
		if at := uintptr(unsafe.Pointer(&b.Data[0])); runtime.GOOS == "linux" && at%4096 != 0 {
			t.Errorf("NewBuffer(%d) begins at %#x, not at a page", n, at)
		}
		for i := range b.Data {
			b.Data[i] = 1 // all of it can be written
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestBufferTooLarge(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the heap panics elsewhere")
	}
	if b, err := NewBuffer(1 << 60); err == nil {
		b.Close()
		t.Error("a buffer of 2^60 bytes")
	}
}

// A hint must leave memory as it is, wherever it begins and ends.
func TestLargePages(t *testing.T) {
	memory := make([]byte, 8<<20)
	for i := range memory {
		memory[i] = byte(i % 251)
	}
	for _, part := range [][2]int{{0, 0}, {0, 1}, {1, 4096}, {5, 8<<20 - 3}, {0, 8 << 20}} {
		LargePages(memory[part[0]:part[1]])
	}
	for i, x := range memory {
		if x != byte(i%251) {
			t.Fatalf("byte %d is %d", i, x)
		}
	}
}
