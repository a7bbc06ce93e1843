package diff_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/loratool/loratool/diff"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/lowrank"
	"github.com/loratool/loratool/merge"
	"github.com/loratool/loratool/testdata/fixture"
)

// TestRoundTrip extracts from models that PEFT merged, merges what was
// extracted and compares with the model it came from: every tensor is as near
// as its certificate says.
func TestRoundTrip(t *testing.T) {
	const goldens = "../testdata/peft-0.21.2"
	cases, err := filepath.Glob(goldens + "/*/expected.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	carried := 0
	for _, expected := range cases {
		dir := filepath.Dir(expected)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			base, tuned := fixture.Open(t, filepath.Join(dir, "base")), fixture.Open(t, expected)
			x, err := diff.Extract(context.Background(), base, tuned, diff.ExtractOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(x.Adapter.Modules) == 0 {
				return
			}
			carried++
			checkRoundTrip(t, base, tuned, x)
		})
	}
	if carried < 50 {
		t.Errorf("%d cases gave modules, expected at least 50", carried)
	}
}

func checkRoundTrip(t *testing.T, base, tuned *checkpoint.Checkpoint, x *diff.Extraction) {
	t.Helper()
	out := t.TempDir()
	if err := dialect.WritePEFT(filepath.Join(out, "adapter"), x.Adapter, dialect.WriteOptions{Config: x.Config}); err != nil {
		t.Fatal(err)
	}
	a, err := dialect.OpenPEFT(filepath.Join(out, "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	merged := filepath.Join(out, "merged")
	if _, err := merge.Apply(context.Background(), merged, base, []merge.Weighted{{Adapter: a.Adapter, Weight: 1}}, merge.Options{DType: dtype.F32}); err != nil {
		t.Fatal(err)
	}
	back := fixture.Open(t, merged)
	for _, c := range x.Report.Modules {
		want, got := values(t, tuned, c.Tensor), values(t, back, c.Tensor)
		distance, norm := 0.0, 0.0
		for i := range want {
			distance += (got[i] - want[i]) * (got[i] - want[i])
			norm += want[i] * want[i]
		}
		// The merge rounds each element once more, to float32.
		limit := c.Error*c.Norm*1.001 + 0x1p-24*math.Sqrt(norm)
		if d := math.Sqrt(distance); d > limit {
			t.Errorf("%s: the merged tensor is %g away, the certificate says %g", c.Tensor, d, limit)
		}
	}
}

func values(t *testing.T, c *checkpoint.Checkpoint, name string) []float64 {
	t.Helper()
	shard, tensor, ok := c.Lookup(name)
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	x := make([]float64, tensor.Elements())
	tensor.DType.Decode64(x, c.Bytes(shard, tensor))
	return x
}

// A maker makes the two checkpoints of a test.
type maker struct {
	r           *rand.Rand
	base, tuned []safetensors.NamedData
}

func (m *maker) values(n int, sigma float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(m.r.NormFloat64() * sigma)
	}
	return x
}

func encoded(name string, d dtype.DType, shape []int, x []float32) safetensors.NamedData {
	raw := make([]byte, len(x)*d.Bits()/8)
	d.Encode32(raw, x)
	return safetensors.NamedData{Name: name, DType: d, Shape: shape, Data: raw}
}

// add adds a tensor that changes by a delta of a rank: 0 for none, -1 for one
// without low rank.
func (m *maker) add(name string, d dtype.DType, rank int, shape ...int) {
	n := 1
	for _, s := range shape {
		n *= s
	}
	w := m.values(n, 0.02)
	m.base = append(m.base, encoded(name, d, shape, w))
	cols := shape[len(shape)-1]
	switch {
	case rank < 0:
		for i, x := range m.values(n, 0.002) {
			w[i] += x
		}
	case rank > 0:
		b, a := m.values(n/cols*rank, 0.02), m.values(rank*cols, 0.05)
		for i := range w {
			delta := 0.0
			for k := range rank {
				delta += float64(b[i/cols*rank+k]) * float64(a[k*cols+i%cols])
			}
			w[i] = float32(float64(w[i]) + delta)
		}
	}
	m.tuned = append(m.tuned, encoded(name, d, shape, w))
}

func (m *maker) open(t *testing.T) (base, tuned *checkpoint.Checkpoint) {
	t.Helper()
	return fixture.Base(t, m.base...), fixture.Base(t, m.tuned...)
}

func newMaker() *maker { return &maker{r: rand.New(rand.NewPCG(1, 2))} }

// small adds a model of two layers.
func (m *maker) small() {
	for _, l := range []string{"0", "1"} {
		m.add("model.layers."+l+".q_proj.weight", dtype.F32, 4, 48, 64)
		m.add("model.layers."+l+".down_proj.weight", dtype.F32, 8, 64, 96)
		m.add("model.layers."+l+".norm.weight", dtype.F32, -1, 64)
	}
}

// TestAccount checks that every tensor is unchanged, carried or named, with
// the reason, and that the shares add up to one.
func TestAccount(t *testing.T) {
	m := newMaker()
	m.small()
	m.add("model.embed_tokens.weight", dtype.F32, 2, 40, 64)
	m.add("model.layers.0.k_proj.weight", dtype.F32, 0, 16, 64)
	m.add("model.layers.0.k_proj.bias", dtype.F32, -1, 16)
	m.add("conv.weight", dtype.F32, -1, 8, 1, 3, 3)
	m.tuned = append(m.tuned, encoded("new.weight", dtype.F32, []int{2, 2}, m.values(4, 1)))
	m.base = append(m.base, encoded("old.weight", dtype.F32, []int{2, 2}, m.values(4, 1)))
	m.base = append(m.base, encoded("lm_head.weight", dtype.F32, []int{40, 64}, m.values(40*64, 1)))
	m.tuned = append(m.tuned, encoded("lm_head.weight", dtype.F32, []int{42, 64}, m.values(42*64, 1)))
	base, tuned := m.open(t)
	x, err := diff.Extract(context.Background(), base, tuned, diff.ExtractOptions{})
	if err != nil {
		t.Fatal(err)
	}
	why := map[string]string{}
	share := x.Report.Carried
	for _, l := range x.Report.LeftOut {
		why[l.Tensor] = l.Why
		if l.Share != nil {
			share += *l.Share
		}
	}
	want := map[string]string{
		"model.layers.0.norm.weight": "not a matrix", "model.layers.1.norm.weight": "not a matrix", "model.layers.0.k_proj.bias": "not a matrix",
		"conv.weight": "depthwise convolution", "new.weight": "not in the base", "old.weight": "not in the tuned model", "lm_head.weight": "shape [40 64] became [42 64]",
	}
	if len(why) != len(want) {
		t.Errorf("left out %v, want %v", why, want)
	}
	for name, w := range want {
		if why[name] != w {
			t.Errorf("%s: %q, want %q", name, why[name], w)
		}
	}
	for _, c := range x.Report.Modules {
		share += c.Error * c.Error * c.Norm * c.Norm / square(x.Report)
	}
	if math.Abs(share-1) > 1e-6 {
		t.Errorf("the shares add up to %g", share)
	}
	ranks := map[string]int{}
	for _, c := range x.Report.Modules {
		ranks[c.Module] = c.Rank
	}
	if ranks["model.layers.0.q_proj"] != 4 || ranks["model.layers.1.down_proj"] != 8 || ranks["model.embed_tokens"] != 2 || len(ranks) != 5 {
		t.Errorf("ranks %v", ranks)
	}
	if x.Report.Unchanged != 1 {
		t.Errorf("%d unchanged, want 1", x.Report.Unchanged)
	}
}

// square returns ‖change‖², from the modules and the share of all else.
func square(r diff.ExtractReport) float64 {
	total, left := 0.0, 0.0
	for _, c := range r.Modules {
		total += c.Norm * c.Norm
	}
	for _, l := range r.LeftOut {
		if l.Share != nil {
			left += *l.Share
		}
	}
	return total / (1 - left)
}

func TestSave(t *testing.T) {
	m := newMaker()
	m.small()
	m.add("model.norm.weight", dtype.F32, 0, 64)
	base, tuned := m.open(t)
	x, err := diff.Extract(context.Background(), base, tuned, diff.ExtractOptions{Save: []string{"*norm"}, Exclude: []string{"*.q_proj"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Report.Saved) != 2 || len(x.Adapter.Replacements) != 2 || len(x.Adapter.Modules) != 2 {
		t.Fatalf("saved %v, %d replacements, %d modules", x.Report.Saved, len(x.Adapter.Replacements), len(x.Adapter.Modules))
	}
	for _, r := range x.Adapter.Replacements {
		shard, tensor, _ := tuned.Lookup(r.Name)
		if !bytes.Equal(r.Value.Bytes, tuned.Bytes(shard, tensor)) {
			t.Errorf("%s: not the tuned value", r.Name)
		}
	}
	for _, l := range x.Report.LeftOut {
		if l.Why != "excluded" {
			t.Errorf("%s left out: %s", l.Tensor, l.Why)
		}
	}
	if _, err := diff.Extract(context.Background(), base, tuned, diff.ExtractOptions{Exclude: []string{"*.k_prj"}}); err == nil {
		t.Error("a pattern that matches nothing is accepted")
	}
}

// TestSameBytes checks that workers and memory do not change the result.
func TestSameBytes(t *testing.T) {
	m := newMaker()
	m.small()
	m.add("model.embed_tokens.weight", dtype.BF16, -1, 1500, 64)
	base, tuned := m.open(t)
	var want [][]byte
	for _, o := range []diff.ExtractOptions{{Workers: 1}, {Workers: 2}, {Workers: 7}, {Workers: 3, Memory: 1}} {
		o.Seed, o.Rank, o.DType = 9, lowrank.Rules{Rule: lowrank.Fixed(6)}, dtype.BF16
		x, err := diff.Extract(context.Background(), base, tuned, o)
		if err != nil {
			t.Fatal(err)
		}
		var got [][]byte
		for _, mod := range x.Adapter.Modules {
			got = append(got, mod.A.Bytes, mod.B.Bytes)
		}
		if want == nil {
			want = got
		}
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("%+v: other bytes", o)
		}
	}
}

// TestBudget checks the size, and that no exchange of two ranks would be
// better.
func TestBudget(t *testing.T) {
	m := newMaker()
	m.small()
	base, tuned := m.open(t)
	const budget = 12 << 10
	x, err := diff.Extract(context.Background(), base, tuned, diff.ExtractOptions{Rank: lowrank.Rules{Rule: mustRule(t, "budget=12KiB")}})
	if err != nil {
		t.Fatal(err)
	}
	if x.Report.Bytes > budget || x.Report.Bytes < budget*3/4 {
		t.Errorf("%d bytes of a budget of %d", x.Report.Bytes, budget)
	}
	worst, best := math.Inf(1), 0.0 // of what is kept and of what is not, by byte
	for _, c := range x.Report.Modules {
		perRank := float64(4 * (c.Shape[0] + c.Shape[1]))
		worst = min(worst, c.Spectrum[c.Rank-1]*c.Spectrum[c.Rank-1]/perRank)
		if perRank < budget-float64(x.Report.Bytes) {
			best = max(best, c.Spectrum[c.Rank]*c.Spectrum[c.Rank]/perRank)
		}
	}
	if best > worst*1.001 {
		t.Errorf("a rank left out is worth %g, one kept %g", best, worst)
	}
}

func mustRule(t *testing.T, s string) lowrank.Rule {
	t.Helper()
	r, err := lowrank.ParseRule(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRules checks the rules that look at the error, and exceptions.
func TestRules(t *testing.T) {
	m := newMaker()
	m.add("a.weight", dtype.F32, -1, 96, 64)
	m.add("b.weight", dtype.F32, -1, 64, 96)
	base, tuned := m.open(t)
	rules := lowrank.Rules{Rule: mustRule(t, "energy=0.8"), For: []lowrank.Override{{Glob: "b", Rule: mustRule(t, "error=0.3")}}}
	x, err := diff.Extract(context.Background(), base, tuned, diff.ExtractOptions{Rank: rules})
	if err != nil {
		t.Fatal(err)
	}
	exact, err := diff.Extract(context.Background(), base, tuned, diff.ExtractOptions{Rank: rules, Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range x.Report.Modules {
		if got, want := c.Rank, exact.Report.Modules[i].Rank; got < want || got > want+1 {
			t.Errorf("%s: rank %d, exactly %d", c.Module, got, want)
		}
	}
	if a, b := x.Report.Modules[0], x.Report.Modules[1]; a.Energy < 0.8 || b.Error > 0.3 {
		t.Errorf("energy %g of a, error %g of b", a.Energy, b.Error)
	}
}

// TestExtremes extracts changes whose squares float32 does not hold, and whose
// factors f16 does not: the certificate is true, and small.
func TestExtremes(t *testing.T) {
	for _, scale := range []float32{1e-30, 1e-20, 1e-9, 1e-4, 1, 1e6, 1e20, 1e30} {
		for d, most := range map[dtype.DType]float64{dtype.F32: 1e-6, dtype.F16: 1e-3, dtype.BF16: 8e-3} {
			m := newMaker()
			b, a := m.values(40*3, 1), m.values(3*56, 1)
			w, x := m.values(40*56, 0.02*float64(scale)), make([]float32, 40*56)
			for i := range x {
				for k := range 3 {
					x[i] += scale * b[i/56*3+k] * a[k*56+i%56]
				}
				x[i] += w[i]
			}
			shape := []int{40, 56}
			m.base, m.tuned = append(m.base, encoded("q.weight", dtype.F32, shape, w)), append(m.tuned, encoded("q.weight", dtype.F32, shape, x))
			base, tuned := m.open(t)
			r, err := diff.Extract(context.Background(), base, tuned, diff.ExtractOptions{Rank: lowrank.Rules{Rule: lowrank.Fixed(3)}, DType: d})
			if err != nil {
				t.Fatal(err)
			}
			if e := r.Report.Modules[0].Error; !(e <= most) {
				t.Errorf("%v factors of a change of size %g: error %g", d, scale, e)
			}
			checkRoundTrip(t, base, tuned, r)
		}
	}
}

func TestNotFinite(t *testing.T) {
	m := newMaker()
	m.small()
	last := m.tuned[0].Data
	dtype.F32.Encode32(last[len(last)-4:], []float32{float32(math.NaN())})
	base, tuned := m.open(t)
	_, err := diff.Extract(context.Background(), base, tuned, diff.ExtractOptions{})
	if !errors.Is(err, rule.ErrUnsupported) || !bytes.Contains([]byte(err.Error()), []byte("layers.0.q_proj")) {
		t.Errorf("error %v, want one that names the tensor", err)
	}
	x, err := diff.Extract(context.Background(), base, tuned, diff.ExtractOptions{Exclude: []string{"*.layers.0.q_proj"}})
	if err != nil || len(x.Report.Modules) != 3 {
		t.Errorf("without it: %v, %v", x, err)
	}
}

func TestEqual(t *testing.T) {
	m := newMaker()
	m.add("a.weight", dtype.F32, 0, 8, 8)
	base, tuned := m.open(t)
	x, err := diff.Extract(context.Background(), base, tuned, diff.ExtractOptions{})
	if err != nil || len(x.Adapter.Modules) != 0 || x.Report.Unchanged != 1 || x.Report.Carried != 1 {
		t.Errorf("%+v, %v", x, err)
	}
}

// TestStop checks that a cancelled extraction says so.
func TestStop(t *testing.T) {
	m := newMaker()
	m.small()
	base, tuned := m.open(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("stopped by the test")
	cancel(why)
	if _, err := diff.Extract(ctx, base, tuned, diff.ExtractOptions{}); !errors.Is(err, why) {
		t.Errorf("error %v, want the cause", err)
	}
}
