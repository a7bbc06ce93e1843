package publish

import (
	"errors"
	"io/fs"
	"os"
)

// linkNoReplace gives a file a new name unless it is taken, by a hard link,
// which fails if the name exists. Where the file system has no hard links it
// looks first and renames then: two writers at the same moment may both win.
func linkNoReplace(from, to string) error {
	err := os.Link(from, to)
	if err == nil {
		return os.Remove(from)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(to); err == nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrExist}
	}
	return os.Rename(from, to)
}
