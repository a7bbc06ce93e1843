//go:build !linux

package mmap

// Release does nothing.
func (m *Map) Release(from, to int64) {}
