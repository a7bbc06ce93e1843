package publish

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// A disk does the I/O of this package. Every call that may fail goes through
// do, so that a test can make the n-th one fail. The zero value is the real
// file system.
type disk struct {
	around func(op, path string, call func() error) error // nil outside tests
}

// do makes one call, or lets a test do it.
func (d disk) do(op, path string, call func() error) error {
	if d.around != nil {
		return d.around(op, path, call)
	}
	return call()
}

// create makes a file that did not exist, 0666 &^ umask.
func (d disk) create(path string) (f *os.File, err error) {
	err = d.do("create", path, func() error {
		f, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o666)
		return err
	})
	return f, err
}

// mkdir makes a folder that did not exist, 0777 &^ umask.
func (d disk) mkdir(path string) error {
	return d.do("mkdir", path, func() error { return os.Mkdir(path, 0o777) })
}

func (d disk) lstat(path string) (fi fs.FileInfo, err error) {
	err = d.do("lstat", path, func() error { fi, err = os.Lstat(path); return err })
	return fi, err
}

func (d disk) stat(path string) (fi fs.FileInfo, err error) {
	err = d.do("stat", path, func() error { fi, err = os.Stat(path); return err })
	return fi, err
}

func (d disk) chmod(path string, mode fs.FileMode) error {
	return d.do("chmod", path, func() error { return os.Chmod(path, mode) })
}

// lock takes the lock of a temporary entry that was just made.
func (d disk) lock(path string) (lock *os.File, err error) {
	err = d.do("lock", path, func() error { lock, err = lockTemp(path); return err })
	if err != nil {
		closeLock(lock)
		return nil, err
	}
	return lock, nil
}

func (d disk) syncFile(f *os.File) error {
	return d.do("sync", f.Name(), f.Sync)
}

func (d disk) closeFile(f *os.File) error {
	return d.do("close", f.Name(), f.Close)
}

// syncPath syncs a file that another handle wrote.
func (d disk) syncPath(path string) error {
	return d.do("sync", path, func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}

// syncDir makes the entries of a folder durable. File systems that cannot
// sync a folder, and folders one may write but not read, are not an error.
func (d disk) syncDir(path string) error {
	return d.do("sync", path, func() error {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		err = f.Sync()
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
			return nil
		}
		return err
	})
}

// renameFile gives a file its final name. Without force an entry that is
// already there stays and the error wraps fs.ErrExist.
func (d disk) renameFile(from, to string, force bool) error {
	return d.do("rename", to, func() error {
		if force {
			return os.Rename(from, to)
		}
		return renameNoReplace(from, to)
	})
}

// renameDir gives a folder its final name; only an empty folder may be there.
func (d disk) renameDir(from, to string) error {
	return d.do("rename", to, func() error { return renameOverEmpty(from, to) })
}

// exchange swaps two folders in one step. It returns errors.ErrUnsupported
// where the system cannot.
func (d disk) exchange(a, b string) error {
	return d.do("exchange", b, func() error { return exchange(a, b) })
}

func (d disk) remove(path string) error {
	return d.do("remove", path, func() error { return os.Remove(path) })
}

func (d disk) removeAll(path string) error {
	return d.do("remove", path, func() error { return os.RemoveAll(path) })
}

func (d disk) readDir(path string) (entries []fs.DirEntry, err error) {
	err = d.do("readdir", path, func() error { entries, err = os.ReadDir(path); return err })
	return entries, err
}

// emptyDir reports whether a folder has no entries.
func (d disk) emptyDir(path string) (empty bool, err error) {
	err = d.do("readdir", path, func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.Readdirnames(1)
		if err == io.EOF {
			empty, err = true, nil
		}
		return err
	})
	return empty, err
}
