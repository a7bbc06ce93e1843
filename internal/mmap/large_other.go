//go:build !linux

package mmap

// LargePages does nothing.
func LargePages([]byte) {}
