package merge

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/testdata/fixture"
)

// otherMerge merges as another tool would: the delta in float32, in another
// order, rounded by round, added in float32 and rounded to the dtype.
func otherMerge(w, a, b safetensors.NamedData, scale float64, round func(float64) float64) safetensors.NamedData {
	out, in, rank := w.Shape[0], w.Shape[1], a.Shape[0]
	wf, af, bf := floats(w), floats(a), floats(b)
	sums := make([]float64, len(wf))
	for i := range out {
		for j := range in {
			d := float32(0)
			for k := rank - 1; k >= 0; k-- {
				d += float32(float32(bf[i*rank+k]) * float32(af[k*in+j]))
			}
			d = float32(float64(d) * scale)
			sums[i*in+j] = float64(float32(wf[i*in+j]) + float32(round(float64(d))))
		}
	}
	m := safetensors.NamedData{DType: w.DType, Shape: w.Shape, Data: make([]byte, len(w.Data))}
	w.DType.Encode64(m.Data, sums)
	return m
}

// roundTo rounds to a dtype.
func roundTo(d dtype.DType) func(float64) float64 {
	return func(x float64) float64 {
		b := make([]byte, d.Bits()/8)
		d.Encode64(b, []float64{x})
		return d.Value(d.Bits64(b, 0))
	}
}

// TestVerdicts verifies merges of every kind.
func TestVerdicts(t *testing.T) {
	r := rand.New(rand.NewPCG(51, 51))
	const out, in, rank = 300, 500, 8
	w, a, b := values(r, dtype.BF16, 0.02, out, in), values(r, dtype.F32, 0.05, rank, in), values(r, dtype.F32, 0.05, out, rank)
	other := values(r, dtype.F32, 0.05, out, rank)
	scale := 6.0 / rank
	asIs := func(x float64) float64 { return x }
	dir := t.TempDir()
	base := filepath.Join(dir, "base.safetensors")
	fixture.Write(t, base, named("x.weight", w))
	adapter := writeAdapter(t, map[string]any{"r": rank}, named("x.lora_A.weight", a), named("x.lora_B.weight", b))
	ws := openWeighted(t, adapter)
	ours := func(o Options) safetensors.NamedData {
		f, _, err := mergeFile(t, o, base, adapter)
		if err != nil {
			t.Fatal(err)
		}
		return tensorOf(t, f, "x.weight")
	}
	seed := uint64(9)
	for _, c := range []struct {
		name   string
		merged safetensors.NamedData
		seed   *uint64
		want   Verdict
		weight float64
	}{
		{"ours", ours(Options{}), nil, Exact, 0},
		{"stochastic with its seed", ours(Options{Rounding: Stochastic, Seed: seed}), &seed, StochasticExact, 0},
		{"stochastic without", ours(Options{Rounding: Stochastic, Seed: seed}), nil, Neighbour, 0},
		{"PEFT", otherMerge(w, a, b, scale, asIs), nil, PEFT, 0},
		{"PEFT, safe_merge", otherMerge(w, a, b, scale, roundTo(dtype.BF16)), nil, PEFT, 0},
		{"PEFT, factors in f16", otherMerge(w, a, b, scale, roundTo(dtype.F16)), nil, PEFT, 0},
		{"delta in FP8", otherMerge(w, a, b, scale, roundTo(dtype.F8_E4M3)), nil, NotMerged, 0},
		{"weight 0.37", otherMerge(w, a, b, scale*0.37, asIs), nil, OtherWeight, 0.37},
		{"weight -1", otherMerge(w, a, b, -scale, asIs), nil, OtherWeight, -1},
		{"base", w, nil, Unmerged, 0},
		{"another adapter", otherMerge(w, a, other, scale, asIs), nil, NotMerged, 0},
		{"another base", values(r, dtype.BF16, 0.02, out, in), nil, NotMerged, 0},
		{"another shape", values(r, dtype.BF16, 0.02, in, out), nil, Missing, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			merged := filepath.Join(t.TempDir(), "merged.safetensors")
			fixture.Write(t, merged, named("x.weight", c.merged))
			report, err := Verify(context.Background(), fixture.Open(t, base), fixture.Open(t, merged), ws, VerifyOptions{Seed: c.seed})
			if err != nil {
				t.Fatal(err)
			}
			x := report.Tensors[0]
			if x.Verdict != c.want || c.weight != 0 && x.Weight != c.weight {
				t.Errorf("got %s (%s), weight %v, fitted %v, want %s, weight %v", x.Verdict, x.Detail, x.Weight, x.Fitted, c.want, c.weight)
			}
			if report.Contains != c.want.Holds() {
				t.Errorf("contains is %v", report.Contains)
			}
		})
	}
}
