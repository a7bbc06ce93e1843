package train

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/mmap"
)

// TestCutOffBase cuts the weights off under a run and under a model.
func TestCutOffBase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "base")
	if err := os.CopyFS(dir, os.DirFS("../testdata/stories260k/base")); err != nil {
		t.Fatal(err)
	}
	base, err := checkpoint.Open(dir, checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	m, err := Load(base, nil, 2)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := New(base, pattern(30), pattern(3), quick(LoRA))
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	err = tr.Run(t.Context(), Hooks{Event: func(Event) error {
		steps++
		return os.Truncate(base.Shards()[0].File.Path(), 4096)
	}})
	if !errors.Is(err, mmap.ErrFault) || steps != 1 {
		t.Errorf("run: %v after %d steps", err, steps)
	}
	for name, read := range map[string]func() error{
		"logits":   func() error { _, err := m.Logits([]int32{1, 2, 3}); return err },
		"loss":     func() error { _, _, err := m.Loss(pattern(1)[0]); return err },
		"generate": func() error { _, err := m.Generate(t.Context(), []int32{1}, Sampling{MaxTokens: 2}); return err },
		"evaluate": func() error { _, err := tr.Evaluate(); return err },
		"compare":  func() error { _, err := tr.Compare(m); return err },
		"new":      func() error { _, err := New(base, pattern(3), nil, quick(LoRA)); return err },
	} {
		if err := read(); !errors.Is(err, mmap.ErrFault) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
