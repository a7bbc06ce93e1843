package merge

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openDirect opens a second handle of a file for unbuffered writes, or returns
// nil.
func openDirect(path string) *os.File {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return f
}

// isInvalid reports that a file system took O_DIRECT at opening but not for
// writing.
func isInvalid(err error) bool { return errors.Is(err, unix.EINVAL) }
