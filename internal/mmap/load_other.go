//go:build !linux

package mmap

// Load does nothing.
func Load([]byte) {}
