package merge

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/testdata/fixture"
)

// TestUnmergeGoldens restores the base of every kind of adapter that PEFT
// writes, and verifies the merge, to nearest and stochastically.
func TestUnmergeGoldens(t *testing.T) {
	folders, err := os.ReadDir(goldens)
	if err != nil {
		t.Fatal(err)
	}
	restored := 0
	for _, f := range folders {
		dir := filepath.Join(goldens, f.Name())
		if !f.IsDir() {
			continue
		}
		var c goldenCase
		readJSON(t, filepath.Join(dir, "case.json"), &c)
		if c.Expect != "merge" {
			continue
		}
		t.Run(f.Name(), func(t *testing.T) {
			a, err := dialect.OpenPEFT(filepath.Join(dir, "adapter"))
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			ws := []Weighted{{a.Adapter, 1}}
			for _, o := range []Options{{}, {Rounding: Stochastic, Seed: 5}} {
				merged, record := mergeRecorded(t, o, filepath.Join(dir, "base"), ws)
				out := filepath.Join(t.TempDir(), "restored")
				if _, err := unmergeTo(t, out, merged, record, ws); err != nil {
					t.Fatal(err)
				}
				compareTrees(t, out, filepath.Join(dir, "base"))
				checkVerified(t, filepath.Join(dir, "base"), merged, ws)
				restored++
			}
		})
	}
	if restored < 120 {
		t.Errorf("%d merges undone, expected at least 120", restored)
	}
}

// checkVerified checks that verify finds every bit of a merge of ours.
func checkVerified(t *testing.T, base, merged string, ws []Weighted) {
	t.Helper()
	r, err := Verify(context.Background(), fixture.Open(t, base), fixture.Open(t, merged), ws, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range r.Tensors {
		if x.Verdict != Exact && x.Verdict != StochasticExact && x.Verdict != Untouched {
			t.Errorf("%s: verdict %s: %s", x.Name, x.Verdict, x.Detail)
		}
	}
	if !r.Contains {
		t.Error("the merge is not said to contain its adapter")
	}
}

// TestVerifyFindsChanges flips one bit of a merged tensor.
func TestVerifyFindsChanges(t *testing.T) {
	dir := filepath.Join(goldens, "linear-bf16")
	a, err := dialect.OpenPEFT(filepath.Join(dir, "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ws := []Weighted{{a.Adapter, 1}}
	merged, _ := mergeRecorded(t, Options{}, filepath.Join(dir, "base"), ws)
	path := filepath.Join(merged, "model.safetensors")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := fixture.Open(t, merged)
	found := map[Verdict]bool{}
	for _, name := range m.Names() {
		shard, v, _ := m.Lookup(name)
		at := m.Shards()[shard].File.Header().DataStart() + v.Begin
		broken := append([]byte(nil), data...)
		broken[at] ^= 4 // the third bit from the end of a bf16
		if err := os.WriteFile(path, broken, 0o666); err != nil {
			t.Fatal(err)
		}
		again, err := checkpoint.Open(merged, checkpoint.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := Verify(context.Background(), fixture.Open(t, filepath.Join(dir, "base")), again, ws, VerifyOptions{})
		again.Close()
		if err != nil {
			t.Fatal(err)
		}
		if r.Contains {
			t.Errorf("%s: a flipped bit is not found", name)
		}
		for _, x := range r.Tensors {
			if x.Name == name {
				found[x.Verdict] = true
			}
			if (x.Name == name) == x.Verdict.Holds() {
				t.Errorf("bit of %s: %s is %s: %s", name, x.Name, x.Verdict, x.Detail)
			}
		}
	}
	if !found[NotMerged] || !found[Altered] {
		t.Errorf("verdicts %v, expected not and altered", found)
	}
}
