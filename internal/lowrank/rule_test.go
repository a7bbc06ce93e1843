package lowrank

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestParseRule(t *testing.T) {
	for in, want := range map[string]string{
		"16": "16", "auto": "auto", "energy=0.95": "energy=0.95", "error=0.05": "error=0.05", "ratio=1e-3": "ratio=0.001", "budget=2MB": "budget=2000000",
	} {
		if r, err := ParseRule(in); err != nil || r.String() != want {
			t.Errorf("%s: %v, %v", in, r, err)
		}
	}
	for _, in := range []string{"", "0", "-1", "1.5", "9999999", "energy", "energy=0", "energy=1.5", "energy=nan", "budget=0", "budget=x", "full=1"} {
		if r, err := ParseRule(in); err == nil {
			t.Errorf("%q is read as %v", in, r)
		}
	}
	for _, in := range []string{"8", "=8", "[=8", "*=budget=1MB", "*=zero"} {
		if o, err := ParseOverride(in); err == nil {
			t.Errorf("%q is read as %v", in, o)
		}
	}
}

func TestRank(t *testing.T) {
	s := Spectrum{Sigma: []float64{4, 2, 1, 0.5}, Square: 16 + 4 + 1 + 0.25, Floor: 0.75}
	for _, c := range []struct {
		rule string
		want int
	}{
		{"2", 2}, {"9", 4}, {"auto", 3},
		{"energy=0.75", 1}, {"energy=0.76", 2}, {"energy=0.98", 3}, {"energy=1", 4},
		{"error=0.5", 1}, {"error=0.49", 2}, {"error=0.1", 4}, {"error=1", 0},
		{"ratio=1", 1}, {"ratio=0.5", 2}, {"ratio=0.51", 1}, {"ratio=0.125", 4},
		{"budget=1MB", 4},
	} {
		r, err := ParseRule(c.rule)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Rank(s); got != c.want {
			t.Errorf("%s: rank %d, want %d", c.rule, got, c.want)
		}
	}
	if got, want := s.Error(2), math.Sqrt(1.25/21.25); got != want {
		t.Errorf("error of rank 2: %v, want %v", got, want)
	}
	zero := Spectrum{Sigma: []float64{0, 0}}
	for rule, want := range map[string]int{"auto": 0, "energy=0.9": 0, "error=0.1": 0, "ratio=0.1": 0, "1": 1} {
		if r, _ := ParseRule(rule); r.Rank(zero) != want {
			t.Errorf("%s of a zero delta: rank %d, want %d", rule, r.Rank(zero), want)
		}
	}
	if zero.Error(0) != 0 {
		t.Error("a zero delta has an error")
	}
}

// TestPartialSpectrum: the values that are not known count as error.
func TestPartialSpectrum(t *testing.T) {
	s := Spectrum{Sigma: []float64{4, 2}, Square: 16 + 4 + 1}
	for share, want := range map[string]int{"0.5": 1, "0.25": 2, "0.1": 2} {
		if r, _ := ParseRule("error=" + share); r.Rank(s) != want {
			t.Errorf("error=%s: rank %d, want %d", share, r.Rank(s), want)
		}
	}
}

func TestRules(t *testing.T) {
	q, err := ParseOverride("*.q_proj=2")
	if err != nil {
		t.Fatal(err)
	}
	r := Rules{Rule: Fixed(8), For: []Override{q, {"model.layers.0.*", Fixed(4)}}}
	for name, want := range map[string]string{"model.layers.0.q_proj": "2", "model.layers.0.v_proj": "4", "model.layers.1.v_proj": "8"} {
		if got := r.Lookup(name).String(); got != want {
			t.Errorf("%s: rule %s, want %s", name, got, want)
		}
	}
	if err := r.Check([]string{"model.layers.0.q_proj"}); err != nil {
		t.Error(err)
	}
	if err := r.Check([]string{"model.layers.0.k_proj"}); err == nil || !strings.Contains(err.Error(), "*.q_proj") {
		t.Errorf("a glob without a module: %v", err)
	}
}

// TestAllocate compares with all allocations of small cases: nothing that fits
// loses less, up to the last rank.
func TestAllocate(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		modules := make([]Cost, 3)
		for i := range modules {
			s := []float64{r.Float64(), r.Float64(), r.Float64()}
			slices.Sort(s)
			slices.Reverse(s)
			modules[i] = Cost{Sigma: s, Bytes: 1 + r.Int64N(4)}
		}
		limit := 3 + r.Int64N(20)
		ranks, err := Allocate(limit, modules)
		if err != nil {
			t.Fatal(err)
		}
		kept, bytes := worth(modules, ranks)
		if bytes > limit {
			t.Fatalf("%v in %d: %d bytes", modules, limit, bytes)
		}
		// No allocation of what the greedy one uses is worth more.
		for n := range 64 {
			other := []int{n & 3, n >> 2 & 3, n >> 4}
			if k, b := worth(modules, other); b <= bytes-3 && k > kept {
				t.Errorf("%v in %d: %v keeps %v in %d, %v keeps %v in %d", modules, limit, ranks, kept, bytes, other, k, b)
			}
		}
	}
	if _, err := Allocate(3, []Cost{{Sigma: []float64{1, 1}, Bytes: 2, Least: 2}}); err == nil {
		t.Error("ranks beyond the budget")
	}
}

func worth(modules []Cost, ranks []int) (kept float64, bytes int64) {
	for i, m := range modules {
		kept += sumSquares(m.Sigma[:ranks[i]])
		bytes += int64(ranks[i]) * m.Bytes
	}
	return kept, bytes
}
