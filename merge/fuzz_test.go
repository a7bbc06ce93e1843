package merge

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/testdata/hostile"
)

// FuzzAdapter merges a config and a weights file of any bytes into the base of
// the hostile cases: it may fail, but not panic, and leaves nothing behind.
func FuzzAdapter(f *testing.F) {
	seeds := f.TempDir()
	for _, c := range hostile.AdapterCases() {
		dir := filepath.Join(seeds, c.Name)
		if err := os.Mkdir(dir, 0o777); err != nil {
			f.Fatal(err)
		}
		path, err := c.Create(dir)
		if err != nil || c.Big {
			continue
		}
		config, weights := small(filepath.Join(path, dialect.ConfigName)), small(filepath.Join(path, dialect.WeightsName))
		if config != nil && weights != nil {
			f.Add(config, weights)
		}
	}
	dir := f.TempDir()
	if _, err := hostile.AdapterCases()[0].Create(dir); err != nil { // for its base
		f.Fatal(err)
	}
	base, err := checkpoint.Open(filepath.Join(dir, hostile.BaseName), checkpoint.Options{})
	if err != nil {
		f.Fatal(err)
	}
	defer base.Close()
	f.Fuzz(func(t *testing.T, config, weights []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{dialect.ConfigName: config, dialect.WeightsName: weights} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		a, err := dialect.OpenPEFT(dir)
		if err != nil {
			return
		}
		defer a.Close()
		out := filepath.Join(t.TempDir(), "out.safetensors")
		_, err = Apply(t.Context(), out, base, []Weighted{{Adapter: a.Adapter, Weight: 1}}, Options{})
		if _, left := os.Lstat(out); (err == nil) != (left == nil) {
			t.Errorf("error %v, output %v", err, left)
		}
	})
}

// small reads a regular file of at most a few kilobytes, nil if it is none.
func small(path string) []byte {
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || info.Size() > 1<<13 {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return data
}
