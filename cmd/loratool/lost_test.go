package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
)

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// TestLostResults: a command whose results could not be printed fails.
func TestLostResults(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--help"}, {"rules"}, {"rules", "--json"}} {
		var stderr bytes.Buffer
		if code := run(context.Background(), args, nil, fullDisk{}, &stderr); code != exitFailure || strings.Count(stderr.String(), "no space left") != 1 {
			t.Errorf("%v: exit status %d, %q", args, code, stderr.String())
		}
	}
}
