package merge

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/testdata/fixture"
)

// TestTamperedInputs flips bits of the merged file, the record and the
// adapter: unmerge names the rule, and nothing is left.
func TestTamperedInputs(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 21))
	dir := t.TempDir()
	base := filepath.Join(dir, "base.safetensors")
	fixture.Write(t, base, named("x.weight", values(r, dtype.BF16, 0.02, 40, 50)), named("y.weight", values(r, dtype.BF16, 0.02, 8, 50)))
	a := writeAdapter(t, map[string]any{"r": 2}, named("x.lora_A.weight", values(r, dtype.F32, 0.1, 2, 50)), named("x.lora_B.weight", values(r, dtype.F32, 0.1, 40, 2)))
	merged, record := mergeRecorded(t, Options{}, base, openWeighted(t, a))
	for _, c := range []struct {
		path  string
		rules []rule.ID
		every int // how many bits lie between two that are flipped
	}{
		{merged, []rule.ID{"RC011"}, 977},
		{record, []rule.ID{"RC001", "RC002"}, 41},
		{filepath.Join(a, "adapter_model.safetensors"), []rule.ID{"RC012"}, 499},
		{filepath.Join(a, "adapter_config.json"), []rule.ID{"RC012"}, 7},
	} {
		t.Run(filepath.Base(c.path), func(t *testing.T) {
			data, err := os.ReadFile(c.path)
			if err != nil {
				t.Fatal(err)
			}
			defer os.WriteFile(c.path, data, 0o666)
			for bit := 0; bit < 8*len(data); bit += c.every {
				data[bit/8] ^= 1 << (bit % 8)
				if err := os.WriteFile(c.path, data, 0o666); err != nil {
					t.Fatal(err)
				}
				data[bit/8] ^= 1 << (bit % 8)
				checkRefused(t, dir, merged, record, a, bit, c.rules)
			}
		})
	}
}

// checkRefused unmerges with one bit flipped. A file that cannot be read any
// more may be refused by its reader.
func checkRefused(t *testing.T, dir, merged, record, a string, bit int, rules []rule.ID) {
	t.Helper()
	out := filepath.Join(dir, "out")
	err := unmergePaths(out, merged, record, a)
	if err == nil {
		t.Fatalf("bit %d: no error", bit)
	}
	if e, ok := errors.AsType[*rule.Error](err); ok && strings.HasPrefix(string(e.Rule), "RC") {
		found := false
		for _, id := range rules {
			found = found || e.Rule == id
		}
		if !found {
			t.Errorf("bit %d: %v, expected one of %v", bit, err, rules)
		}
	}
	if entries, _ := filepath.Glob(filepath.Join(dir, "*")); len(entries) != 1 {
		t.Fatalf("bit %d: files %v were left", bit, entries)
	}
}

// TestTamperNamesTheTensor checks that a change of the data is blamed on its
// tensor.
func TestTamperNamesTheTensor(t *testing.T) {
	r := rand.New(rand.NewPCG(22, 22))
	base := filepath.Join(t.TempDir(), "base.safetensors")
	fixture.Write(t, base, named("first.weight", values(r, dtype.F32, 0.02, 1500, 1000)), named("second.weight", values(r, dtype.F32, 0.02, 1500, 1000)))
	a := writeAdapter(t, map[string]any{"r": 2}, named("second.lora_A.weight", values(r, dtype.F32, 0.1, 2, 1000)), named("second.lora_B.weight", values(r, dtype.F32, 0.1, 1500, 2)))
	ws := openWeighted(t, a)
	merged, record := mergeRecorded(t, Options{}, base, ws)
	f, err := os.OpenFile(merged, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], info.Size()-1); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], info.Size()-1); err != nil {
		t.Fatal(err)
	}
	f.Close()
	_, err = unmergeTo(t, filepath.Join(t.TempDir(), "out"), merged, record, ws)
	if err == nil || !strings.Contains(err.Error(), `tensor "second.weight"`) || strings.Contains(err.Error(), "first") {
		t.Errorf("got %v, expected the name of the tensor", err)
	}
}

// TestTamperedPieceThatIsNotUsed flips a bit of a tensor that the merge replaced:
// the base's is in the record, so no byte of the merged one is used.
func TestTamperedPieceThatIsNotUsed(t *testing.T) {
	r := rand.New(rand.NewPCG(24, 24))
	dir := t.TempDir()
	base := filepath.Join(dir, "base.safetensors")
	fixture.Write(t, base, named("head.weight", values(r, dtype.F32, 0.02, 3000, 1100)), named("x.weight", values(r, dtype.BF16, 0.02, 40, 50)))
	a := writeAdapter(t, map[string]any{"r": 2, "modules_to_save": []string{"head"}}, named("head.weight", values(r, dtype.F32, 0.02, 3000, 1100)),
		named("x.lora_A.weight", values(r, dtype.F32, 0.1, 2, 50)), named("x.lora_B.weight", values(r, dtype.F32, 0.1, 40, 2)))
	merged, record := mergeRecorded(t, Options{}, base, openWeighted(t, a))
	if err := unmergePaths(filepath.Join(dir, "whole"), merged, record, a); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "whole")); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(merged, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const at = 6 << 20 // in the second of four pieces
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	err = unmergePaths(filepath.Join(dir, "out"), merged, record, a)
	if e, ok := errors.AsType[*rule.Error](err); !ok || e.Rule != "RC011" || !strings.Contains(err.Error(), `tensor "head.weight"`) {
		t.Errorf("got %v, expected RC011 of the tensor", err)
	}
	if entries, _ := filepath.Glob(filepath.Join(dir, "*")); len(entries) != 1 {
		t.Errorf("files %v were left", entries)
	}
}

// TestUnmergeOtherWeight refuses adapters with other weights.
func TestUnmergeOtherWeight(t *testing.T) {
	r := rand.New(rand.NewPCG(23, 23))
	base := filepath.Join(t.TempDir(), "base.safetensors")
	fixture.Write(t, base, named("x.weight", values(r, dtype.BF16, 0.02, 4, 5)))
	a := writeAdapter(t, map[string]any{"r": 2}, named("x.lora_A.weight", values(r, dtype.F32, 0.1, 2, 5)), named("x.lora_B.weight", values(r, dtype.F32, 0.1, 4, 2)))
	ws := openWeighted(t, a)
	merged, record := mergeRecorded(t, Options{}, base, ws)
	ws[0].Weight = 0.5
	_, err := unmergeTo(t, filepath.Join(t.TempDir(), "out"), merged, record, ws)
	if e, ok := errors.AsType[*rule.Error](err); !ok || e.Rule != "RC012" {
		t.Errorf("got %v, expected RC012", err)
	}
}

// unmergePaths is unmergeTo from paths, where any of them may be broken.
func unmergePaths(out, merged, record, a string) error {
	file, err := dialect.OpenPEFT(a)
	if err != nil {
		return err
	}
	defer file.Close()
	m, err := checkpoint.Open(merged, checkpoint.Options{})
	if err != nil {
		return err
	}
	defer m.Close()
	r, f, err := OpenRecord(record)
	if err != nil {
		return err
	}
	defer f.Close()
	u, err := NewUnmerge(m, []Weighted{{file.Adapter, 1}}, r, UnmergeOptions{})
	if err != nil {
		return err
	}
	_, err = u.Write(context.Background(), out)
	return err
}
