//go:build !unix

package hostile

import "errors"

func fifo(string) (string, error)   { return "", errors.ErrUnsupported }
func socket(string) (string, error) { return "", errors.ErrUnsupported }
