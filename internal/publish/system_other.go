//go:build !linux

package publish

import (
	"errors"
	"os"
)

// renameNoReplace renames a file unless the new name is taken.
func renameNoReplace(from, to string) error { return linkNoReplace(from, to) }

// renameOverEmpty renames a folder unless the new name is taken by something
// other than an empty folder.
func renameOverEmpty(from, to string) error {
	if fi, err := os.Lstat(to); err == nil && fi.IsDir() {
		if err := os.Remove(to); err != nil {
			return err
		}
	}
	return os.Rename(from, to)
}

// exchange swaps two names in one step, which this system cannot.
func exchange(a, b string) error { return errors.ErrUnsupported }

// cloneFile makes dst share the blocks of src, which this system cannot.
func cloneFile(dst, src *os.File) error { return errors.ErrUnsupported }

// allocate reserves blocks beyond the end of a file, which this system cannot.
func allocate(f *os.File, size int64) error { return errors.ErrUnsupported }
