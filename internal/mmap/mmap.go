// Package mmap maps files into memory for reading, turns the fault that a
// shrinking file causes into an error, and gives buffers for unbuffered writes.
package mmap

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	mapping "github.com/edsrzf/mmap-go"
)

// ErrFault is wrapped by the errors of Guard: the file behind a mapping was
// cut off, or its device failed, while it was read.
var ErrFault = errors.New("mapped file cannot be read: cut short, or its device failed")

// A Map is a read-only view of a file. Writing to Data is a fault.
type Map struct {
	Data []byte
	m    mapping.MMap
}

// Open maps the first size bytes of f, which may be closed afterwards. A size
// of 0 gives an empty view.
func Open(f *os.File, size int64) (*Map, error) {
	if size == 0 {
		return &Map{}, nil
	}
	if size < 0 || int64(int(size)) != size {
		return nil, fmt.Errorf("map %d bytes: more than this machine can address", size)
	}
	m, err := mapping.MapRegion(f, int(size), mapping.RDONLY, 0, 0)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", size, err)
	}
	return &Map{Data: m, m: m}, nil
}

// Close ends the mapping; views of Data must not be used any more.
func (m *Map) Close() error {
	if m.m == nil {
		return nil
	}
	m.Data = nil
	return m.m.Unmap()
}

// Guard calls read and returns an error that wraps ErrFault if read touched a
// page of a mapping that is gone. It covers the calling goroutine only: every
// goroutine that reads mapped bytes needs its own Guard. Other panics pass.
func Guard(read func()) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // what the runtime adds to a fault
			err = fmt.Errorf("%w (address %#x)", ErrFault, r.Addr())
		default:
			panic(r)
		}
	}()
	read()
	return nil
}
