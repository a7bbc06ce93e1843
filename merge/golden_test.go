package merge

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
)

// goldens are cases that PEFT 0.21.2 made; its README says how.
const goldens = "../testdata/peft-0.21.2"

// A goldenCase is the case.json of a folder.
type goldenCase struct {
	Expect  string         `json:"expect"`          // "merge", "unsupported" or the ID of a rule
	Changed int            `json:"changed_tensors"` // tensors that differ from the base's, or are new
	Config  map[string]any `json:"config"`          // fields of the merged config.json
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// TestGoldens merges every case and compares the bytes of all tensors with
// PEFT's merge in float64 rounded once.
func TestGoldens(t *testing.T) {
	folders, err := os.ReadDir(goldens)
	if err != nil {
		t.Fatal(err)
	}
	merged := 0
	for _, f := range folders {
		if !f.IsDir() {
			continue
		}
		t.Run(f.Name(), func(t *testing.T) {
			var c goldenCase
			dir := filepath.Join(goldens, f.Name())
			readJSON(t, filepath.Join(dir, "case.json"), &c)
			out := filepath.Join(t.TempDir(), "out")
			err := mergeGolden(dir, out)
			if c.Expect != "merge" {
				expectRefusal(t, err, c.Expect)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			merged++
			compareGolden(t, dir, out, c)
		})
	}
	if merged < 60 {
		t.Errorf("%d cases merged, expected at least 60", merged)
	}
}

func mergeGolden(dir, out string) error {
	base, err := checkpoint.Open(filepath.Join(dir, "base"), checkpoint.Options{})
	if err != nil {
		return err
	}
	defer base.Close()
	a, err := dialect.OpenPEFT(filepath.Join(dir, "adapter"))
	if err != nil {
		return err
	}
	defer a.Close()
	_, err = Apply(context.Background(), out, base, []Weighted{{Adapter: a.Adapter, Weight: 1}}, Options{})
	return err
}

func expectRefusal(t *testing.T, err error, want string) {
	t.Helper()
	if e, ok := errors.AsType[*rule.Error](err); ok && string(e.Rule) == want {
		return
	}
	if want != "unsupported" || !errors.Is(err, rule.ErrUnsupported) {
		t.Errorf("error %v, want %s", err, want)
	}
}

func compareGolden(t *testing.T, dir, out string, c goldenCase) {
	t.Helper()
	want, got, base := openGolden(t, filepath.Join(dir, "expected.safetensors")), openGolden(t, filepath.Join(out, "model.safetensors")), openGolden(t, filepath.Join(dir, "base", "model.safetensors"))
	if w, g := sortedNames(want), sortedNames(got); !slices.Equal(w, g) {
		t.Fatalf("tensors %q, want %q", g, w)
	}
	changed := 0
	for _, name := range sortedNames(want) {
		w, g := tensorOf(t, want, name), tensorOf(t, got, name)
		if w.DType != g.DType || !slices.Equal(w.Shape, g.Shape) {
			t.Errorf("%s: %v %v, want %v %v", name, g.DType, g.Shape, w.DType, w.Shape)
			continue
		}
		compareBits(t, name, g, w.Data)
		if v, ok := base.Header().Lookup(name); !ok || string(base.Bytes(v)) != string(g.Data) {
			changed++
		}
	}
	if changed != c.Changed {
		t.Errorf("%d tensors changed, want %d", changed, c.Changed)
	}
	if len(c.Config) == 0 {
		return
	}
	var config map[string]any
	readJSON(t, filepath.Join(out, "config.json"), &config)
	for field, v := range c.Config {
		if config[field] != v {
			t.Errorf("config.json: %s is %v, want %v", field, config[field], v)
		}
	}
}

func openGolden(t *testing.T, path string) *safetensors.File {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// names lists the tensors of a file, sorted.
func sortedNames(f *safetensors.File) []string {
	var list []string
	for _, t := range f.Header().Tensors() {
		list = append(list, t.Name)
	}
	slices.Sort(list)
	return list
}
