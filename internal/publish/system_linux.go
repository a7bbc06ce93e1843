package publish

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// renameNoReplace renames a file unless the new name is taken.
func renameNoReplace(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if lacks(err) {
		return linkNoReplace(from, to)
	}
	return linkError("rename", from, to, err)
}

// renameOverEmpty renames a folder unless the new name is taken by something
// other than an empty folder. rename(2) does just that; os.Rename refuses an
// empty folder too.
func renameOverEmpty(from, to string) error {
	return linkError("rename", from, to, unix.Rename(from, to))
}

// exchange swaps two names in one step.
func exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if lacks(err) {
		return errors.ErrUnsupported
	}
	return linkError("exchange", a, b, err)
}

// lacks reports whether the kernel or the file system does not know a flag of
// renameat2(2): ENOSYS before Linux 3.15, EINVAL on NFS and some others.
func lacks(err error) bool {
	return err == unix.ENOSYS || err == unix.EINVAL
}

func linkError(op, from, to string, err error) error {
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: op, Old: from, New: to, Err: err}
}

// cloneFile makes dst share the blocks of src.
func cloneFile(dst, src *os.File) error {
	return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
}

// allocate reserves blocks beyond the end of a file and keeps its length, so
// that the length still tells how much was written.
func allocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
		if err != unix.EINTR {
			return os.NewSyscallError("fallocate", err)
		}
	}
}
