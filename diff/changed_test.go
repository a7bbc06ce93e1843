package diff_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/loratool/loratool/diff"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/mmap"
)

// TestChangedInputs cuts a file within its last page, which reads as zeros
// from there on and is no fault, under those who report what they read.
func TestChangedInputs(t *testing.T) {
	m := newMaker()
	m.small()
	base, tuned := m.open(t)
	compare := func() error {
		_, err := diff.CompareBases(context.Background(), base, tuned, diff.CompareOptions{})
		return err
	}
	var adapters []*dialect.File
	for range 2 {
		adapters = append(adapters, factors(t, "x", encoded("", dtype.F32, []int{2, 4}, m.values(8, 1)), encoded("", dtype.F32, []int{4, 2}, m.values(8, 1))))
	}
	pair := func() error {
		_, err := diff.CompareAdapters(context.Background(), adapters[0].Adapter, adapters[1].Adapter, false)
		return err
	}
	measure := func() error {
		_, err := diff.MeasureAdapter(context.Background(), adapters[1].Adapter, diff.Options{})
		return err
	}
	for _, c := range []struct {
		name   string
		report func() error
		file   *safetensors.File
	}{
		{"bases", compare, tuned.Shards()[0].File},
		{"adapters", pair, adapters[0].Weights},
		{"measure", measure, adapters[1].Weights},
	} {
		if err := c.report(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if err := os.Truncate(c.file.Path(), c.file.Size()-4); err != nil {
			t.Fatal(err)
		}
		if err := c.report(); !errors.Is(err, safetensors.ErrChanged) {
			t.Errorf("%s of a file that was cut off: %v", c.name, err)
		}
	}
}

// TestStopped cuts a file off at a page, which is a fault, and ends a context.
func TestStopped(t *testing.T) {
	m := newMaker()
	const in = 1 << 14
	f := factors(t, "x", encoded("", dtype.F32, []int{2, in}, m.values(2*in, 1)), encoded("", dtype.F32, []int{4, 2}, m.values(8, 1)))
	reports := map[string]func(context.Context) error{
		"adapters": func(ctx context.Context) error {
			_, err := diff.CompareAdapters(ctx, f.Adapter, f.Adapter, false)
			return err
		},
		"measure": func(ctx context.Context) error {
			_, err := diff.MeasureAdapter(ctx, f.Adapter, diff.Options{})
			return err
		},
	}
	why := errors.New("enough")
	ended, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	for name, report := range reports {
		if err := report(ended); !errors.Is(err, why) {
			t.Errorf("%s after the context ended: %v", name, err)
		}
	}
	if err := os.Truncate(f.Weights.Path(), 4096); err != nil {
		t.Fatal(err)
	}
	for name, report := range reports {
		if err := report(context.Background()); !errors.Is(err, mmap.ErrFault) {
			t.Errorf("%s of a file that was cut off: %v", name, err)
		}
	}
}

// factors writes and opens an adapter of one module.
func factors(t *testing.T, module string, a, b safetensors.NamedData) *dialect.File {
	t.Helper()
	dir := t.TempDir()
	a.Name, b.Name = "base_model.model."+module+".lora_A.weight", "base_model.model."+module+".lora_B.weight"
	f, err := os.Create(filepath.Join(dir, "adapter_model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := safetensors.Write(f, []safetensors.NamedData{a, b}, nil); err != nil {
		t.Fatal(err)
	}
	config := `{"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["` + module + `"]}`
	if err := os.WriteFile(filepath.Join(dir, "adapter_config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	opened, err := dialect.OpenPEFT(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return opened
}
