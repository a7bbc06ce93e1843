//go:build !linux

package mmap

// NewBuffer returns n bytes.
func NewBuffer(n int) (*Buffer, error) { return &Buffer{Data: make([]byte, n)}, nil }

// Close lets the buffer go; Data must not be used any more.
func (b *Buffer) Close() error {
	b.Data = nil
	return nil
}
