// Package publish puts outputs under their final names complete or not at
// all: it writes beside the target under a recognisable temporary name,
// syncs, checks and renames. It knows files and folders, not what they hold.
package publish

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// tempPattern matches the temporary names of this package:
// .loratool-PID-RANDOM.tmp, and .loratool-PID-RANDOM.old-NAME for a folder
// that was NAME and is about to be replaced by one.
var tempPattern = regexp.MustCompile(`^\.loratool-[0-9]+-[0-9a-f]{16}\.(?:tmp|old-(.+))$`)

// tempAttempts bounds how often a temporary name is tried again when another
// process swept it in the moment between its creation and its lock.
const tempAttempts = 10

// errSwept reports that a temporary name was removed before it was locked.
var errSwept = errors.New("temporary file was removed by another process")

// tempPath returns a new temporary name in dir. The process number in it is
// for the reader of a listing; who owns it is decided by the lock.
func tempPath(dir, suffix string) string {
	var b [8]byte
	rand.Read(b[:]) // never fails, by its documentation
	return filepath.Join(dir, fmt.Sprintf(".loratool-%d-%s.%s", os.Getpid(), hex.EncodeToString(b[:]), suffix))
}

// CheckFile says before the work what [Alias] and [CreateFile] would say after
// it.
func CheckFile(path string, force bool, inputs ...string) error {
	return check(path, false, force, inputs)
}

// CheckDir says before the work what [Alias] and [CreateDir] would say after it.
func CheckDir(path string, force bool, inputs ...string) error {
	return check(path, true, force, inputs)
}

func check(path string, dir, force bool, inputs []string) error {
	if err := Alias(path, inputs...); err != nil {
		return err
	}
	_, _, err := target(disk{}, path, dir, force)
	return err
}

// target returns the absolute form of an output path after checking what is
// there now. A folder that must exist is its parent. The error wraps
// fs.ErrExist when only force would allow the output; a link, a device or an
// entry of the wrong kind is refused with force too.
func target(d disk, path string, dir, force bool) (abs string, old fs.FileInfo, err error) {
	abs, err = filepath.Abs(path)
	if err != nil {
		return "", nil, err
	}
	if filepath.Dir(abs) == abs {
		return "", nil, fmt.Errorf("output %q: is the root folder", path)
	}
	old, err = d.lstat(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return abs, nil, checkParent(d, path, abs)
	}
	if err != nil {
		return "", nil, err
	}
	if err := checkKind(path, old, dir); err != nil {
		return "", nil, err
	}
	if force {
		return abs, old, nil
	}
	if dir {
		empty, err := d.emptyDir(abs)
		if err != nil || empty {
			return abs, old, err
		}
	}
	return "", nil, fmt.Errorf("output %q: %w", path, fs.ErrExist)
}

// checkParent gives a missing parent folder its own message.
func checkParent(d disk, path, abs string) error {
	parent, err := d.stat(filepath.Dir(abs))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("output %q: folder %q: %w", path, filepath.Dir(path), fs.ErrNotExist)
	}
	if err == nil && !parent.IsDir() {
		return fmt.Errorf("output %q: %q is not a folder", path, filepath.Dir(path))
	}
	return err
}

// checkKind refuses to replace an entry that is not of the output's kind.
func checkKind(path string, old fs.FileInfo, dir bool) error {
	mode := old.Mode()
	switch {
	case mode&fs.ModeSymlink != 0:
		return fmt.Errorf("output %q: is a symbolic link", path)
	case mode.IsDir() && !dir:
		return fmt.Errorf("output %q: is a folder, the output is a file", path)
	case mode.IsRegular() && dir:
		return fmt.Errorf("output %q: is a file, the output is a folder", path)
	case !mode.IsRegular() && !mode.IsDir():
		return fmt.Errorf("output %q: is not a regular file", path)
	}
	return nil
}

// newTemp makes a temporary entry in dir and locks it, so that SweepStale
// leaves it alone while this process lives. The lock is nil where the file
// system has none.
func newTemp(d disk, dir string, create func(path string) error) (path string, lock *os.File, err error) {
	for range tempAttempts {
		path = tempPath(dir, "tmp")
		if err := create(path); err != nil {
			return "", nil, err
		}
		lock, err = d.lock(path)
		if err == nil {
			return path, lock, nil
		}
		if !errors.Is(err, errSwept) {
			d.removeAll(path) // best effort; the lock's error is the news
			return "", nil, err
		}
	}
	return "", nil, err
}

// closeLock releases a lock that newTemp returned.
func closeLock(lock *os.File) {
	if lock != nil {
		lock.Close() // read-only use: nothing to lose
	}
}
