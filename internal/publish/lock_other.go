//go:build !unix || solaris || aix

package publish

import (
	"errors"
	"os"
)

// openNonblock keeps an open from waiting at a pipe; there are none here.
const openNonblock = 0

// errLocked reports a temporary entry whose owner lives.
var errLocked = errors.New("temporary file belongs to a running process")

// lockTemp returns nil and no error: this system has no locks that end with
// the process, so temporary names are never swept.
func lockTemp(string) (*os.File, error) { return nil, nil }
