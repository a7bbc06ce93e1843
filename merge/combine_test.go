package merge

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/testdata/fixture"
)

// mergeCase merges adapters of goldens, each with its weight, into the base of
// the first, and returns the output.
func mergeCase(t *testing.T, base string, adapters []string, weights []float64) (string, *Report, error) {
	t.Helper()
	b := fixture.Open(t, base)
	var ws []Weighted
	for i, path := range adapters {
		a, err := dialect.OpenPEFT(path)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		ws = append(ws, Weighted{Adapter: a.Adapter, Weight: weights[i]})
	}
	out := filepath.Join(t.TempDir(), "out")
	r, err := Apply(context.Background(), out, b, ws, Options{})
	return out, r, err
}

func golden(parts ...string) string { return filepath.Join(append([]string{goldens}, parts...)...) }

// TestWeights holds what an adapter's weight can mean: values that replace
// those of the base have no share of themselves.
func TestWeights(t *testing.T) {
	for _, c := range []struct {
		name    string
		weights []float64
		want    string // of verdict
	}{
		{"linear", []float64{0.5}, "accept"},
		{"linear", []float64{0}, "accept"},
		{"linear", []float64{1, -2.5}, "accept"},
		{"linear", []float64{1e308}, "AD045"},
		{"trainable-tokens-list", []float64{1}, "accept"},
		{"trainable-tokens-list", []float64{0.5}, "unsupported"},
		{"trainable-tokens-list", []float64{1, 1}, "accept"}, // the same values twice
		{"modules-to-save", []float64{0.5}, "unsupported"},
		{"modules-to-save", []float64{1, 1}, "accept"},
		{"bias-all", []float64{-1}, "unsupported"},
		{"dora-linear", []float64{0.5}, "unsupported"},
		{"dora-linear", []float64{1, 1}, "unsupported"},
		{"lora-bias", []float64{0.5}, "accept"},
	} {
		adapters := make([]string, len(c.weights))
		for i := range adapters {
			adapters[i] = golden(c.name, "adapter")
		}
		if _, _, err := mergeCase(t, golden(c.name, "base"), adapters, c.weights); verdict(err) != c.want {
			t.Errorf("%s with weights %v: %s, want %s: %v", c.name, c.weights, verdict(err), c.want, err)
		}
	}
}

// TestConflictingReplacements refuses two adapters that replace the same
// values by different ones.
func TestConflictingReplacements(t *testing.T) {
	for _, c := range []struct{ base, one, other, want string }{
		{"tied-embedding-saved", "tied-embedding-saved", "ensure-weight-tying-saved", "both replace tensor"},
		{"trainable-tokens-tied", "trainable-tokens-tied", "trainable-tokens-tied", ""},
		{"save-embedding-layers", "trainable-tokens-list", "save-embedding-layers", ""}, // rows here, a delta on the head there
		{"tied-head-only", "tied-head-only", "tied-head-saved", "replaced by"},
	} {
		_, _, err := mergeCase(t, golden(c.base, "base"), []string{golden(c.one, "adapter"), golden(c.other, "adapter")}, []float64{1, 1})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s and %s: %v, want %q", c.one, c.other, err, c.want)
		}
	}
}

// TestWeightZero copies every byte of the base, the tie of its head included.
func TestWeightZero(t *testing.T) {
	for _, name := range []string{"linear", "lora-bias", "tied-head-only", "tied-embedding-only", "experts-nested"} {
		out, r, err := mergeCase(t, golden(name, "base"), []string{golden(name, "adapter")}, []float64{0})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want, got := openGolden(t, golden(name, "base", "model.safetensors")), openGolden(t, filepath.Join(out, "model.safetensors"))
		for _, n := range sortedNames(want) {
			compareBits(t, name+" "+n, tensorOf(t, got, n), tensorOf(t, want, n).Data)
		}
		if len(sortedNames(got)) != len(sortedNames(want)) || len(r.Tensors) != 0 || r.Adapters[0].Applied != r.Adapters[0].Modules {
			t.Errorf("%s: %d tensors, %d changed, %d of %d modules applied", name, len(sortedNames(got)), len(r.Tensors), r.Adapters[0].Applied, r.Adapters[0].Modules)
		}
	}
}

// TestUntiedFile says what a file cannot: that its config.json must change.
func TestUntiedFile(t *testing.T) {
	_, r, err := mergeCase(t, golden("tied-head-only", "base", "model.safetensors"), []string{golden("tied-head-only", "adapter")}, []float64{1})
	if err != nil || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "tie_word_embeddings false") {
		t.Errorf("notes %q, %v", r.Notes, err)
	}
}
