//go:build unix && !solaris && !aix

package publish

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openNonblock keeps an open from waiting at a pipe.
const openNonblock = unix.O_NONBLOCK

// errLocked reports a temporary entry whose owner lives.
var errLocked = errors.New("temporary file belongs to a running process")

// lockTemp opens a temporary file or folder and takes its lock, which lives as
// long as the handle or the process. It returns nil and no error where the
// file system has no locks or may not be asked, errLocked if another process has it, and errSwept
// if the name no longer leads to what was locked.
func lockTemp(path string) (*os.File, error) {
	const flags = unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	f, err := os.OpenFile(path, os.O_RDWR|flags, 0) // NFS locks only what is open for writing
	if errors.Is(err, unix.EISDIR) || errors.Is(err, os.ErrPermission) {
		f, err = os.OpenFile(path, os.O_RDONLY|flags, 0)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, errSwept
	}
	if errors.Is(err, os.ErrPermission) {
		return nil, nil // another user's, or a umask that takes every right
	}
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, errLocked
		}
		return nil, nil // no locks here: such names are never swept
	}
	have, err := f.Stat()
	if err == nil {
		var named os.FileInfo
		named, err = os.Lstat(path)
		if err == nil && !os.SameFile(have, named) || errors.Is(err, os.ErrNotExist) {
			err = errSwept
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// flock takes an exclusive lock without waiting.
func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			return err
		}
	}
}
