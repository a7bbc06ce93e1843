package publish

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/loratool/loratool/internal/text"
)

// A SpaceError reports an output that does not fit on its disk.
type SpaceError struct {
	Dir    string // folder of the output
	Needed int64  // bytes, or -1 if unknown
	Free   int64  // bytes that an ordinary user may still write
	Err    error  // wraps syscall.ENOSPC, or EDQUOT for a quota
}

// Error says how much is needed and how much is free.
func (e *SpaceError) Error() string {
	free := text.Bytes(e.Free) + " free"
	if e.Needed >= 0 {
		free = "needs " + text.Bytes(e.Needed) + ", " + free
	}
	return fmt.Sprintf("folder %q: %s: %v", e.Dir, free, e.Err)
}

// Unwrap returns the system's error.
func (e *SpaceError) Unwrap() error { return e.Err }

// Require returns a *SpaceError if fewer than needed bytes are free on the
// disk that holds dir. A disk that does not say is taken to have room.
func Require(dir string, needed int64) error {
	free, err := FreeSpace(dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	if free < needed {
		return &SpaceError{Dir: dir, Needed: needed, Free: free, Err: syscall.ENOSPC}
	}
	return nil
}

// Explain returns err, as a *SpaceError if it says that the disk that holds
// dir, or a quota, is full. Needed is the size in bytes of the whole output,
// or -1.
func Explain(err error, dir string, needed int64) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	if _, ok := errors.AsType[*SpaceError](err); ok {
		return err
	}
	free, statErr := FreeSpace(dir)
	if statErr != nil {
		return err
	}
	return &SpaceError{Dir: dir, Needed: needed, Free: free, Err: err}
}

// Preallocate reserves size bytes of disk for f, whose length stays as it is,
// so that a full disk shows before the work and not after it. File systems
// that cannot reserve are not an error.
func Preallocate(f *os.File, size int64) error {
	return preallocate(disk{}, f, size)
}

func preallocate(d disk, f *os.File, size int64) error {
	if size <= 0 {
		return nil
	}
	return d.do("fallocate", f.Name(), func() error {
		err := allocate(f, size)
		if errors.Is(err, errors.ErrUnsupported) {
			return nil
		}
		return err
	})
}

// Preallocate reserves the size in bytes that the output will have, and makes
// Commit insist on it. A disk without the room is a *SpaceError.
func (f *File) Preallocate(size int64) error {
	f.Expect(size)
	return Explain(preallocate(f.disk, f.file, size), filepath.Dir(f.path), size)
}
