package normalize_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/normalize"
	"github.com/loratool/loratool/internal/mmap"
)

// TestStopped cuts a file off at a page, which is a fault, and ends a context.
func TestStopped(t *testing.T) {
	f := write(t, &adapter.Adapter{Modules: []*adapter.Module{module("l.0.q", dtype.F32, 4, 8, 6, 1<<14)}})
	out := filepath.Join(t.TempDir(), "out")
	why := errors.New("enough")
	ended, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	if _, err := normalize.Apply(ended, out, f, profile(t, "vllm"), normalize.Options{}); !errors.Is(err, why) {
		t.Errorf("after the context ended: %v", err)
	}
	if err := os.Truncate(f.Weights.Path(), 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := normalize.Apply(context.Background(), out, f, profile(t, "vllm"), normalize.Options{}); !errors.Is(err, mmap.ErrFault) {
		t.Errorf("of a file that was cut off: %v", err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("something was written")
	}
}
