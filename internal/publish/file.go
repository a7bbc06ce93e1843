package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A File is an output file that appears under its final name complete or not
// at all. It is not safe for concurrent use; its Handle is.
type File struct {
	disk  disk
	path  string // final name, absolute
	temp  string // name while it is written; empty once renamed or removed
	force bool
	mode  fs.FileMode // of the file to be replaced, if any
	want  int64       // expected size, or -1
	file  *os.File    // nil once closed
	lock  *os.File
}

// CreateFile starts an output file beside its final name, with permissions
// 0666 &^ umask or those of the file it replaces. Without force the error
// wraps fs.ErrExist if the name is taken. Left-overs of processes that are
// gone are removed from the folder first.
//
// The caller writes through Handle and ends with Commit or Abort; a deferred
// Abort after Commit does nothing.
func CreateFile(path string, force bool) (*File, error) {
	return createFile(disk{}, path, force)
}

func createFile(d disk, path string, force bool) (*File, error) {
	abs, old, err := target(d, path, false, force)
	if err != nil {
		return nil, err
	}
	out := &File{disk: d, path: abs, force: force, want: -1}
	if old != nil {
		out.mode = old.Mode().Perm()
	}
	dir := filepath.Dir(abs)
	sweepStale(d, dir) // best effort: debris is no reason to fail
	out.temp, out.lock, err = newTemp(d, dir, func(temp string) error {
		if out.file != nil {
			out.file.Close() // of a temporary file that was swept
		}
		out.file, err = d.create(temp)
		return err
	})
	if err != nil {
		if out.file != nil {
			out.file.Close()
		}
		return nil, err
	}
	return out, nil
}

// Handle returns the file to write to. It belongs to the File: do not close it.
func (f *File) Handle() *os.File { return f.file }

// Expect names the size in bytes that Commit insists on.
func (f *File) Expect(size int64) { f.want = size }

// Commit checks the size, syncs the file, gives it its final name and syncs
// the folder. After an error that comes before the renaming, nothing is left
// behind; after one that comes later, the output is complete under its name
// but may not survive a power failure.
func (f *File) Commit() error {
	if f.temp == "" {
		return errors.New("output was committed or aborted before")
	}
	defer f.Abort()
	if err := f.finish(); err != nil {
		return Explain(err, filepath.Dir(f.path), f.want)
	}
	if err := f.disk.renameFile(f.temp, f.path, f.force); err != nil {
		return err
	}
	f.temp = ""
	if err := f.disk.syncDir(filepath.Dir(f.path)); err != nil {
		return fmt.Errorf("output is in place, but: %w", err)
	}
	return nil
}

// finish brings the temporary file into the state it is published in.
func (f *File) finish() error {
	fi, err := f.file.Stat()
	if err != nil {
		return err
	}
	if f.want >= 0 && fi.Size() != f.want {
		return fmt.Errorf("output %q: %d bytes were written, expected %d", f.path, fi.Size(), f.want)
	}
	if f.mode != 0 && f.mode != fi.Mode().Perm() {
		if err := f.disk.chmod(f.temp, f.mode); err != nil {
			return err
		}
	}
	if err := f.disk.syncFile(f.file); err != nil {
		return err
	}
	file := f.file
	f.file = nil
	if err := f.disk.closeFile(file); err != nil {
		file.Close()
		return err
	}
	return nil
}

// Abort removes what was written. It does nothing after Commit or Abort.
func (f *File) Abort() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
	if f.temp != "" {
		f.disk.remove(f.temp) // best effort: the next run sweeps it
		f.temp = ""
	}
	closeLock(f.lock)
	f.lock = nil
}
