//go:build linux || darwin

package publish

import (
	"os"

	"golang.org/x/sys/unix"
)

// FreeSpace returns how many bytes an ordinary user may still write on the
// disk that holds dir.
func FreeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
