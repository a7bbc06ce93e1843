package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"
)

// TestInterruptedRead interrupts a command that waits for its standard input.
func TestInterruptedRead(t *testing.T) {
	const base = "../../testdata/stories260k/base"
	in, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		w.Write([]byte("\"a\"\n"))
		cancel(interruption{os.Interrupt})
	}()
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"tokenize", base, "--json-lines"}, in, &stdout, &stderr)
	if code != exitInterrupted || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit status %d, %q", code, stderr.String())
	}
}
