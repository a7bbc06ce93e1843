//go:build !linux && !darwin

package publish

import "errors"

// FreeSpace returns errors.ErrUnsupported: this system is not asked.
func FreeSpace(dir string) (int64, error) { return 0, errors.ErrUnsupported }
