package diff_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loratool/loratool/diff"
	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
)

func moduleOf(path string, b, a []float64, rank int) *adapter.Module {
	return &adapter.Module{Path: path, Rank: rank, Alpha: float64(rank), Multiplicity: 1,
		A: adapter.NewTensor(dtype.F64, []int{rank, len(a) / rank}, a), B: adapter.NewTensor(dtype.F64, []int{len(b) / rank, rank}, b)}
}

func one(m ...*adapter.Module) *adapter.Adapter { return &adapter.Adapter{Modules: m} }

func numbers(r *rand.Rand, n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = r.NormFloat64()
	}
	return x
}

// TestCompareAdapters checks cosine, distance and angles where they are known.
func TestCompareAdapters(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b, a := numbers(r, 30*3), numbers(r, 3*20)
	twice := make([]float64, len(b))
	for i, v := range b {
		twice[i] = -2 * v
	}
	got, err := diff.CompareAdapters(context.Background(), one(moduleOf("x", b, a, 3)), one(moduleOf("x", twice, a, 3)), false)
	if err != nil {
		t.Fatal(err)
	}
	m := got.Modules[0]
	for name, v := range map[string][2]float64{"cosine": {m.Cosine, -1}, "overlap in": {m.OverlapIn, 1}, "overlap out": {m.OverlapOut, 1},
		"norm": {m.NormB / m.NormA, 2}, "distance": {got.Distance, 3}, "total cosine": {got.Cosine, -1}} {
		if math.Abs(v[0]-v[1]) > 1e-12 {
			t.Errorf("%s %v, want %v", name, v[0], v[1])
		}
	}
	// Two planes of four dimensions with one common direction, at 30° else.
	s, c := math.Sin(math.Pi/6), math.Cos(math.Pi/6)
	got, err = diff.CompareAdapters(context.Background(), one(moduleOf("x", []float64{1, 0, 0, 1}, []float64{1, 0, 0, 0, 0, 1, 0, 0}, 2)),
		one(moduleOf("x", []float64{1, 0, 0, 5}, []float64{1, 0, 0, 0, 0, c, s, 0}, 2)), false)
	if err != nil {
		t.Fatal(err)
	}
	// The arc cosine near 1 keeps half of the digits.
	if in := got.Modules[0].AnglesIn; math.Abs(in[0]) > 1e-5 || math.Abs(in[1]-30) > 1e-9 {
		t.Errorf("angles %v, want 0 and 30", in)
	}
}

func TestCompareAdaptersParts(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	x, y := moduleOf("x", numbers(r, 8), numbers(r, 8), 2), moduleOf("y", numbers(r, 8), numbers(r, 8), 2)
	z := moduleOf("x", numbers(r, 4), numbers(r, 4), 1)
	got, err := diff.CompareAdapters(context.Background(), one(x), one(z, y), false)
	if err != nil || len(got.OnlyB) != 1 || got.OnlyB[0] != "y" || len(got.Swap) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if same, err := diff.CompareAdapters(context.Background(), one(x), one(x), true); err != nil || len(same.Swap) != 0 {
		t.Errorf("an adapter and itself: %v, %v", same.Swap, err)
	}
	if _, err := diff.CompareAdapters(context.Background(), one(x), one(moduleOf("x", numbers(r, 10), numbers(r, 8), 2)), false); err == nil {
		t.Error("adapters of other sizes are compared")
	}
	broken := numbers(r, 8)
	broken[3] = math.NaN()
	if _, err := diff.CompareAdapters(context.Background(), one(x), one(moduleOf("x", broken, numbers(r, 8), 2)), false); err == nil {
		t.Error("NaN is compared")
	} else if e, ok := errors.AsType[*rule.Error](err); !ok || e.Rule != "AD017" {
		t.Errorf("error %v, want AD017", err)
	}
	zero, err := diff.CompareAdapters(context.Background(), one(x), one(moduleOf("x", make([]float64, 8), numbers(r, 8), 2)), false)
	if err != nil || zero.Cosine != 0 || zero.Modules[0].AnglesIn != nil {
		t.Errorf("a zero delta: %+v, %v", zero, err)
	}
}

// TestCompareOdd compares adapters whose modules share a name, and refuses
// those whose deltas only a base tells, or nobody.
func TestCompareOdd(t *testing.T) {
	for name, want := range map[string]string{
		"experts-nested": "", "initialised-by-pissa": "", "experts-nested-ranks": "order only the base knows",
		"legacy-fused-layers": "enable_lora", "conv2d-grouped": "grouped convolution",
	} {
		f, err := dialect.OpenPEFT(filepath.Join("..", "testdata", "peft-0.21.2", name, "adapter"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := diff.CompareAdapters(context.Background(), f.Adapter, f.Adapter, false)
		switch {
		case want != "" && (!errors.Is(err, rule.ErrUnsupported) || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", name, err, want)
		case want == "" && (err != nil || len(r.Modules) != len(f.Modules) || math.Abs(r.Cosine-1) > 1e-12 || len(r.Swap) != 0):
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if r, err := diff.CompareAdapters(context.Background(), f.Adapter, f.Adapter, true); err != nil || len(r.Swap) != 0 {
			t.Errorf("%s, shapes: %+v, %v", name, r, err)
		}
	}
}

func ExampleCompareAdapters() {
	x := one(moduleOf("q_proj", []float64{1, 0}, []float64{3, 4}, 1))
	y := one(moduleOf("q_proj", []float64{1, 1}, []float64{3, 4}, 1))
	r, err := diff.CompareAdapters(context.Background(), x, y, false)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("cosine %.3f, inputs %.0f, outputs %.1f\n", r.Cosine, r.Modules[0].OverlapIn, r.Modules[0].OverlapOut)
	// Output: cosine 0.707, inputs 1, outputs 0.5
}
