package publish

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// SweepStale removes from a folder the temporary files and folders that a
// process of this package left there when it was killed; those of processes
// that live are locked and stay. A folder that was moved away to be replaced
// gets its name back if nothing took it. It returns how many entries it dealt
// with. Where the system has no locks, it does nothing.
func SweepStale(dir string) (int, error) {
	return sweepStale(disk{}, dir)
}

func sweepStale(d disk, dir string) (swept int, err error) {
	entries, err := d.readDir(dir)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, entry := range entries {
		match := tempPattern.FindStringSubmatch(entry.Name())
		if match == nil || !(entry.IsDir() || entry.Type().IsRegular()) {
			continue
		}
		done, err := sweepOne(d, filepath.Join(dir, entry.Name()), match[1])
		if done {
			swept++
		}
		errs = append(errs, err)
	}
	return swept, errors.Join(errs...)
}

// sweepOne removes one temporary entry if nobody holds its lock. Name is the
// name that a folder moved away had, or empty.
func sweepOne(d disk, path, name string) (done bool, err error) {
	lock, err := d.lock(path)
	if errors.Is(err, errSwept) || errors.Is(err, errLocked) || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || lock == nil {
		return false, err
	}
	defer closeLock(lock)
	if name == "" {
		err := d.removeAll(path)
		return err == nil, err
	}
	err = d.renameDir(path, filepath.Join(filepath.Dir(path), name))
	if errors.Is(err, fs.ErrExist) {
		err = d.removeAll(path)
	}
	return err == nil, err
}
