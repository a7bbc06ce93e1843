package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A Dir is an output folder that appears under its final name complete or not
// at all. Create is safe for concurrent use, the other methods are not.
type Dir struct {
	disk  disk
	path  string // final name, absolute
	temp  string // name while it is filled; empty once renamed or removed
	force bool
	old   fs.FileInfo // folder that was there at the start, if any
	want  map[string]int64
	lock  *os.File
}

// CreateDir starts an output folder beside its final name, with permissions
// 0777 &^ umask or those of the folder it replaces. Without force the error
// wraps fs.ErrExist unless the name is free or an empty folder. A folder that
// holds the working directory is never replaced.
//
// The caller fills it through Create or Path and ends with Commit or Abort; a
// deferred Abort after Commit does nothing.
func CreateDir(path string, force bool) (*Dir, error) {
	return createDir(disk{}, path, force)
}

func createDir(d disk, path string, force bool) (*Dir, error) {
	abs, old, err := target(d, path, true, force)
	if err != nil {
		return nil, err
	}
	if old != nil && holdsWorkingDir(old) {
		return nil, fmt.Errorf("output %q: holds the working directory", path)
	}
	parent := filepath.Dir(abs)
	sweepStale(d, parent) // best effort: debris is no reason to fail
	out := &Dir{disk: d, path: abs, force: force, old: old, want: map[string]int64{}}
	out.temp, out.lock, err = newTemp(d, parent, d.mkdir)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// holdsWorkingDir reports whether the working directory is the folder or lies
// below it.
func holdsWorkingDir(dir fs.FileInfo) bool {
	wd, err := os.Getwd()
	if err != nil {
		return false
	}
	return within(wd, dir)
}

// Path returns where the named file lies until Commit. Name is a relative
// path with slashes.
func (d *Dir) Path(name string) string {
	return filepath.Join(d.temp, filepath.FromSlash(name))
}

// Create makes a file of the folder, and folders above it as needed. The
// caller closes it before Commit, which syncs it.
func (d *Dir) Create(name string) (*os.File, error) {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return nil, fmt.Errorf("output file %q: leaves the output folder", name)
	}
	path := d.Path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, err
	}
	return d.disk.create(path)
}

// Expect names the size in bytes of a file that Commit insists on.
func (d *Dir) Expect(name string, size int64) { d.want[name] = size }

// Commit checks the sizes, syncs every file and folder, and gives the folder
// its final name. A folder that was there (force) is swapped away in one step
// and then removed. After an error that comes before the renaming, nothing is
// left behind; after one that comes later, the output is complete under its
// name.
func (d *Dir) Commit() error {
	if d.temp == "" {
		return errors.New("output was committed or aborted before")
	}
	defer d.Abort()
	if err := d.finish(); err != nil {
		return Explain(err, filepath.Dir(d.path), -1)
	}
	replaced, err := d.rename()
	if err != nil {
		return err
	}
	d.temp = ""
	err = d.disk.syncDir(filepath.Dir(d.path))
	if replaced != "" {
		err = errors.Join(err, d.disk.removeAll(replaced))
	}
	if err != nil {
		return fmt.Errorf("output is in place, but: %w", err)
	}
	return nil
}

// finish brings the temporary folder into the state it is published in.
func (d *Dir) finish() error {
	for name, want := range d.want {
		fi, err := d.disk.lstat(d.Path(name))
		if err != nil {
			return err
		}
		if fi.Size() != want {
			return fmt.Errorf("output file %q: %d bytes were written, expected %d", name, fi.Size(), want)
		}
	}
	if d.old != nil {
		if err := d.disk.chmod(d.temp, d.old.Mode().Perm()); err != nil {
			return err
		}
	}
	return d.syncTree(d.temp)
}

// syncTree syncs the regular files below a folder, then the folder.
func (d *Dir) syncTree(path string) error {
	entries, err := d.disk.readDir(path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		child := filepath.Join(path, entry.Name())
		switch {
		case entry.IsDir():
			err = d.syncTree(child)
		case entry.Type().IsRegular():
			err = d.disk.syncPath(child)
		}
		if err != nil {
			return err
		}
	}
	return d.disk.syncDir(path)
}

// rename publishes the folder and returns the new name of the folder it
// replaced, if it replaced one that was not empty.
func (d *Dir) rename() (replaced string, err error) {
	err = d.disk.renameDir(d.temp, d.path)
	if err == nil || !d.force || d.old == nil || !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	err = d.disk.exchange(d.temp, d.path)
	if !errors.Is(err, errors.ErrUnsupported) {
		return d.temp, err
	}
	return d.renameAway()
}

// renameAway replaces a folder in two steps where the system cannot swap. If
// the process dies between them, SweepStale gives the old folder its name
// back.
func (d *Dir) renameAway() (replaced string, err error) {
	lock, err := d.disk.lock(d.path)
	if err != nil {
		return "", err
	}
	defer closeLock(lock)
	away := tempPath(filepath.Dir(d.path), "old-"+filepath.Base(d.path))
	if err := d.disk.renameDir(d.path, away); err != nil {
		d.disk.renameDir(away, d.path) // a network file system may fail after the deed
		return "", err
	}
	if err := d.disk.renameDir(d.temp, d.path); err != nil {
		return "", errors.Join(err, d.disk.renameDir(away, d.path))
	}
	return away, nil
}

// Abort removes what was written. It does nothing after Commit or Abort.
func (d *Dir) Abort() {
	if d.temp != "" {
		d.disk.removeAll(d.temp) // best effort: the next run sweeps it
		d.temp = ""
	}
	closeLock(d.lock)
	d.lock = nil
}
