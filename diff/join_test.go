package diff_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/loratool/loratool/diff"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/lowrank"
	"github.com/loratool/loratool/merge"
	"github.com/loratool/loratool/testdata/fixture"
)

// folder writes a checkpoint with a config.json.
func folder(t *testing.T, config string, tensors []safetensors.NamedData) *checkpoint.Checkpoint {
	t.Helper()
	dir := t.TempDir()
	fixture.Write(t, filepath.Join(dir, "model.safetensors"), tensors...)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return fixture.Open(t, dir)
}

// experts adds a layer of a Mixtral: two experts as lists, and their router.
func (m *maker) experts(rank int) {
	for e := range 2 {
		for w, shape := range map[string][]int{"w1": {12, 8}, "w2": {8, 12}, "w3": {12, 8}} {
			m.add(fmt.Sprintf("model.layers.0.block_sparse_moe.experts.%d.%s.weight", e, w), dtype.F32, rank, shape...)
		}
	}
	m.add("model.layers.0.block_sparse_moe.gate.weight", dtype.F32, rank, 2, 8)
}

// stacked gives the tensors of experts the layout that they have in memory.
func stacked(tensors []safetensors.NamedData) (out []safetensors.NamedData) {
	find := func(e int, w string) []byte {
		name := fmt.Sprintf("model.layers.0.block_sparse_moe.experts.%d.%s.weight", e, w)
		return tensors[slices.IndexFunc(tensors, func(t safetensors.NamedData) bool { return t.Name == name })].Data
	}
	up := safetensors.NamedData{Name: "model.layers.0.mlp.experts.gate_up_proj", DType: dtype.F32, Shape: []int{2, 24, 8}}
	down := safetensors.NamedData{Name: "model.layers.0.mlp.experts.down_proj", DType: dtype.F32, Shape: []int{2, 8, 12}}
	for e := range 2 {
		up.Data = slices.Concat(up.Data, find(e, "w1"), find(e, "w3"))
		down.Data = slices.Concat(down.Data, find(e, "w2"))
	}
	gate := tensors[slices.IndexFunc(tensors, func(t safetensors.NamedData) bool { return t.Shape[0] == 2 })]
	gate.Name = "model.layers.0.mlp.gate.weight"
	return []safetensors.NamedData{up, down, gate}
}

const mixtralConfig = `{"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}`

// TestStack extracts the experts of lists as the stack that they are in memory,
// from whichever layout the two checkpoints have.
func TestStack(t *testing.T) {
	m := newMaker()
	m.experts(2)
	var first []byte
	for _, c := range []struct {
		name        string
		base, tuned []safetensors.NamedData
		memory      int64
	}{
		{"lists", m.base, m.tuned, 0},
		{"decoded again and again", m.base, m.tuned, 1},
		{"lists and stacks", m.base, stacked(m.tuned), 0},
		{"stacks and lists", stacked(m.base), m.tuned, 0},
		{"stacks", stacked(m.base), stacked(m.tuned), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			base, tuned := folder(t, mixtralConfig, c.base), folder(t, mixtralConfig, c.tuned)
			x, err := diff.Extract(context.Background(), base, tuned, diff.ExtractOptions{Rank: lowrank.Rules{Rule: lowrank.Fixed(4)}, Memory: c.memory})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, q := range x.Report.Modules {
				if names = append(names, q.Module); q.Error > 1e-5 {
					t.Errorf("%s misses %g", q.Module, q.Error)
				}
			}
			if want := []string{"model.layers.0.mlp.experts.down_proj", "model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.gate.weight"}; !sameSet(names, want) {
				t.Fatalf("modules %q, want %q", names, want)
			}
			if len(x.Report.LeftOut) > 0 {
				t.Errorf("left out: %v", x.Report.LeftOut)
			}
			for _, a := range x.Adapter.Modules {
				if a.Param != "gate_up_proj" {
					continue
				}
				if !slices.Equal(a.A.Shape, []int{8, 8}) || !slices.Equal(a.B.Shape, []int{24, 8}) || a.Depth != 1 {
					t.Errorf("factors %v and %v at depth %d", a.A.Shape, a.B.Shape, a.Depth)
				}
				if first == nil {
					first = a.A.Bytes
				} else if c.memory == 0 && !slices.Equal(first, a.A.Bytes) {
					t.Error("the factors depend on how the experts are stored")
				}
			}
			gives(t, x, base, tuned)
		})
	}
}

func sameSet(a, b []string) bool {
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// gives merges what was extracted into the base and compares with the tuned
// checkpoint, if both store the model in the same way.
func gives(t *testing.T, x *diff.Extraction, base, tuned *checkpoint.Checkpoint) {
	t.Helper()
	if !slices.Equal(base.Names(), tuned.Names()) {
		return
	}
	dir := t.TempDir()
	if err := dialect.WritePEFT(filepath.Join(dir, "adapter"), x.Adapter, dialect.WriteOptions{Config: x.Config, Others: x.Others}); err != nil {
		t.Fatal(err)
	}
	a, err := dialect.OpenPEFT(filepath.Join(dir, "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	out := filepath.Join(dir, "merged")
	if _, err := merge.Apply(context.Background(), out, base, []merge.Weighted{{Adapter: a.Adapter, Weight: 1}}, merge.Options{}); err != nil {
		t.Fatal(err)
	}
	merged := fixture.Open(t, out)
	for _, name := range tuned.Names() {
		got, want := values(t, merged, name), values(t, tuned, name)
		for i := range want {
			if math.Abs(got[i]-want[i]) > 1e-6 {
				t.Fatalf("%s: element %d is %g, want %g", name, i, got[i], want[i])
			}
		}
	}
}

// TestCut extracts the projections that one tensor holds as modules of their
// own: those that did not change get no factors.
func TestCut(t *testing.T) {
	m := newMaker()
	const config, name = `{"model_type": "hrm_text", "architectures": ["HrmTextForCausalLM"]}`, "model.layers.0.attn.gqkv_proj.weight"
	m.add(name, dtype.F32, 2, 32, 10)
	copy(m.tuned[0].Data[:4*80], m.base[0].Data) // the first part, the gate, is as it was
	base, tuned := folder(t, config, m.base), folder(t, config, m.tuned)
	x, err := diff.Extract(context.Background(), base, tuned, diff.ExtractOptions{Rank: lowrank.Rules{Rule: lowrank.Fixed(2)}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range x.Adapter.Modules {
		names = append(names, a.Name())
	}
	if want := []string{"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj", "model.layers.0.self_attn.v_proj"}; !sameSet(names, want) {
		t.Fatalf("modules %q, want %q", names, want)
	}
	if !slices.Contains(x.Others, "model.layers.0.self_attn.gate_proj.weight") {
		t.Errorf("others are %q", x.Others)
	}
	gives(t, x, base, tuned)
}

// TestTurned extracts a weight that is stored as its transpose, and saves it
// whole.
func TestTurned(t *testing.T) {
	m := newMaker()
	const config, name = `{"model_type": "ernie4_5_vl_moe", "architectures": ["Ernie4_5_VLMoeForConditionalGeneration"]}`, "model.layers.0.mlp.gate.weight"
	m.add(name, dtype.BF16, 1, 8, 70)
	base, tuned := folder(t, config, m.base), folder(t, config, m.tuned)
	x, err := diff.Extract(context.Background(), base, tuned, diff.ExtractOptions{Rank: lowrank.Rules{Rule: lowrank.Fixed(8)}})
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Report.Modules) != 1 || !slices.Equal(x.Report.Modules[0].Shape, []int{70, 8}) {
		t.Fatalf("%+v", x.Report.Modules)
	}
	gives(t, x, base, tuned)
	saved, err := diff.Extract(context.Background(), base, tuned, diff.ExtractOptions{Save: []string{"*.gate"}})
	if err != nil {
		t.Fatal(err)
	}
	r := saved.Adapter.Replacements[0]
	if !slices.Equal(r.Value.Shape, []int{70, 8}) || !slices.Equal(r.Value.Bytes[2:4], m.tuned[0].Data[2*70:2*71]) {
		t.Errorf("saved %s of shape %v", r.Name, r.Value.Shape)
	}
}
