package adapter

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/adapter/names"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
)

// lists are the tensors of one layer of a Mixtral with three experts as on
// disk, stacks as in memory.
func lists() map[string][]int {
	m := map[string][]int{"model.layers.0.block_sparse_moe.gate.weight": {3, 4}}
	for e := range 3 {
		p := fmt.Sprintf("model.layers.0.block_sparse_moe.experts.%d.", e)
		m[p+"w1.weight"], m[p+"w3.weight"], m[p+"w2.weight"] = []int{6, 4}, []int{6, 4}, []int{4, 6}
	}
	return m
}

func stacks() map[string][]int {
	return map[string][]int{"model.layers.0.mlp.gate.weight": {3, 4}, "model.layers.0.mlp.experts.gate_up_proj": {3, 12, 4}, "model.layers.0.mlp.experts.down_proj": {3, 4, 6}}
}

// fused are the two modules that PEFT makes of a layer's experts.
func fused() []*Module {
	const path = "model.layers.0.mlp.experts"
	inner, outer := module(path, Linear, 2, []int{6, 4}, []int{12, 6}), module(path, Linear, 2, []int{6, 6}, []int{4, 6})
	inner.Depth = 1
	for _, m := range []*Module{inner, outer} {
		m.Candidates = []string{"down_proj", "gate_up_proj"}
	}
	return []*Module{outer, inner}
}

// single is one expert's projection as transformers 4 names it.
func single(expert int, projection string, in, out int) *Module {
	return module(fmt.Sprintf("model.layers.0.block_sparse_moe.experts.%d.%s", expert, projection), Linear, 2, []int{2, in}, []int{out, 2})
}

func TestExperts(t *testing.T) {
	for _, c := range []struct {
		name    string
		base    map[string][]int
		modules []*Module
		pieces  int
		how     string
		first   Piece
	}{
		{"stacks on lists", lists(), fused(), 9, "map mixtral",
			Piece{Tensor: "model.layers.0.block_sparse_moe.experts.0.w1.weight", Expert: -1, Out: All(6), In: All(4), Row: All(6), Col: All(4)}},
		{"stacks on stacks", stacks(), fused(), 6, "",
			Piece{Tensor: "model.layers.0.mlp.experts.gate_up_proj", Out: All(12), In: All(4), Row: All(12), Col: All(4)}},
		{"one expert on lists", lists(), []*Module{single(1, "w3", 4, 6)}, 1, "",
			Piece{Tensor: "model.layers.0.block_sparse_moe.experts.1.w3.weight", Expert: -1, Out: All(6), In: All(4), Row: All(6), Col: All(4)}},
		{"one expert on stacks", stacks(), []*Module{single(1, "w3", 4, 6)}, 1, "map mixtral",
			Piece{Tensor: "model.layers.0.mlp.experts.gate_up_proj", Expert: 1, Out: All(6), In: All(4), Row: Span{First: 6, Step: 1, Len: 6}, Col: All(4)}},
		{"the router", lists(), []*Module{module("model.layers.0.mlp.gate", Linear, 2, []int{2, 4}, []int{3, 2})}, 1, "map mixtral",
			Piece{Tensor: "model.layers.0.block_sparse_moe.gate.weight", Expert: -1, Out: All(3), In: All(4), Row: All(3), Col: All(4)}},
		{"the model without its head", lists(), []*Module{module("layers.0.mlp.gate", Linear, 2, []int{2, 4}, []int{3, 2})}, 1, "prefix model",
			Piece{Tensor: "model.layers.0.block_sparse_moe.gate.weight", Expert: -1, Out: All(3), In: All(4), Row: All(3), Col: All(4)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &Adapter{Source: "a", Writer: "0.21.2", Modules: c.modules}
			res, err := a.Resolve(fakeBase{c.base, "mixtral"})
			if err != nil || len(res.Missing) > 0 {
				t.Fatalf("missing %v, %v", res, err)
			}
			n := 0
			for _, u := range res.Updates {
				n += len(u.Pieces)
				if u.How != c.how {
					t.Errorf("%s by %q, want %q", u.Module.Name(), u.How, c.how)
				}
			}
			if got := res.Updates[0].Pieces[0]; n != c.pieces || got != c.first {
				t.Errorf("%d pieces, the first %+v; want %d, %+v", n, got, c.pieces, c.first)
			}
		})
	}
}

// TestTwoMeanings looks for a name that is one tensor on disk and another one
// in memory: the one that the factors fit is meant.
func TestTwoMeanings(t *testing.T) {
	rules, err := names.ReadRules(strings.NewReader(`{"rules":[{"from":"fc1\\.","to":"fc2."},{"from":"fc0\\.","to":"fc1."}]}`))
	if err != nil {
		t.Fatal(err)
	}
	resolve := func(inner, out int) (*Resolution, error) {
		base := fakeBase{map[string][]int{"mlp.fc0.weight": {inner, 4}, "mlp.fc1.weight": {4, inner}}, ""}
		m := module("mlp.fc1", Linear, 2, []int{2, 4}, []int{out, 2})
		return (&Adapter{Modules: []*Module{m}}).Resolve(base, rules)
	}
	res, err := resolve(6, 6)
	if err != nil || res.Updates[0].Pieces[0].Tensor != "mlp.fc0.weight" || res.Updates[0].Pieces[0].Transposed {
		t.Errorf("factors of [6, 4]: %+v, %v", res, err)
	}
	_, err = resolve(4, 4)
	if e, ok := errors.AsType[*rule.Error](err); !ok || e.Rule != "AD028" || !strings.Contains(e.Err.Error(), "fc0") {
		t.Errorf("both fit, error %v", err)
	}
}

// TestParts refuses what cannot be done to a part of a tensor.
func TestParts(t *testing.T) {
	base := fakeBase{map[string][]int{"model.layers.0.attn.gqkv_proj.weight": {16, 4}}, "hrm_text"}
	magnitude := module("model.layers.0.self_attn.q_proj", Linear, 2, []int{2, 4}, []int{4, 2})
	magnitude.Magnitude = &Tensor{Name: "m", DType: dtype.F32, Shape: []int{4}}
	saved := Replacement{Name: "model.layers.0.self_attn.q_proj.weight", Value: Tensor{Name: "v", DType: dtype.F32, Shape: []int{4, 4}, Bytes: make([]byte, 64)}}
	for _, c := range []struct {
		name string
		a    Adapter
		word string // of the refusal, "" if it is done
	}{
		{"delta", Adapter{Modules: []*Module{module("model.layers.0.self_attn.q_proj", Linear, 2, []int{2, 4}, []int{4, 2})}}, ""},
		{"magnitude", Adapter{Modules: []*Module{magnitude}}, ""},
		{"replacement", Adapter{Replacements: []Replacement{saved}}, "for 16 of 64 elements"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, err := c.a.Resolve(base)
			if c.word == "" {
				want := Piece{Tensor: "model.layers.0.attn.gqkv_proj.weight", Expert: -1, Out: All(4), In: All(4), Row: Span{First: 4, Step: 1, Len: 4}, Col: All(4)}
				if err != nil || res.Updates[0].Pieces[0] != want {
					t.Errorf("%+v, %v", res, err)
				}
				return
			}
			if u, ok := errors.AsType[*rule.Unsupported](err); !ok || !strings.Contains(u.Error(), c.word) {
				t.Errorf("error %v, want a refusal with %q", err, c.word)
			}
		})
	}
}

// TestPatches replaces parameters that the base stores in parts: as they lie in
// the adapter where that is how they lie in the base, and in another order.
func TestPatches(t *testing.T) {
	value := func(name string, shape ...int) Replacement {
		v := Tensor{Name: name, DType: dtype.U8, Shape: shape, Bytes: make([]byte, elements(shape))}
		for i := range v.Bytes {
			v.Bytes[i] = byte(i)
		}
		return Replacement{Name: name, Value: v}
	}
	run := func(model string, shapes map[string][]int, all ...Replacement) map[string][]byte {
		res, err := (&Adapter{Replacements: all}).Resolve(fakeBase{shapes, model})
		if err != nil {
			t.Fatalf("%s: %v", model, err)
		}
		got := map[string][]byte{}
		for _, r := range res.Replacements {
			if got[r.Name] = r.Value.Bytes; !slices.Equal(r.Value.Shape, shapes[r.Name]) {
				t.Errorf("%s has shape %v", r.Name, r.Value.Shape)
			}
		}
		return got
	}
	expert := func(e int, w string) string {
		return fmt.Sprintf("model.layers.0.block_sparse_moe.experts.%d.%s.weight", e, w)
	}
	shapes := map[string][]int{}
	for e := range 2 {
		shapes[expert(e, "w1")], shapes[expert(e, "w3")], shapes[expert(e, "w2")] = []int{3, 2}, []int{3, 2}, []int{2, 3}
	}
	saved := value("model.layers.0.mlp.experts.gate_up_proj", 2, 6, 2)
	got := run("mixtral", shapes, saved)
	if want := []byte{18, 19, 20, 21, 22, 23}; len(got) != 4 || !bytes.Equal(got[expert(1, "w3")], want) {
		t.Errorf("w3 of expert 1 is %v, want %v of %d", got[expert(1, "w3")], want, len(got))
	}
	if &got[expert(1, "w3")][0] != &saved.Value.Bytes[18] {
		t.Error("a part that lies in the adapter as in the base is copied")
	}
	const gate = "model.layers.0.mlp.gate.weight"
	got = run("ernie4_5_vl_moe", map[string][]int{gate: {2, 3}}, value("model.layers.0.mlp.text_moe.gate.weight", 3, 2))
	if want := []byte{0, 2, 4, 1, 3, 5}; !bytes.Equal(got[gate], want) {
		t.Errorf("a transposed replacement is %v, want %v", got[gate], want)
	}
	const qkv = "model.layers.0.attn.gqkv_proj.weight"
	parts := []Replacement{}
	for _, n := range []string{"gate", "q", "k", "v"} {
		parts = append(parts, value("model.layers.0.self_attn."+n+"_proj.weight", 1, 2))
	}
	if got = run("hrm_text", map[string][]int{qkv: {4, 2}}, parts...); !bytes.Equal(got[qkv], []byte{0, 1, 0, 1, 0, 1, 0, 1}) {
		t.Errorf("four parts are %v", got[qkv])
	}
}

// TestRules finds a module by a rule of the user.
func TestRules(t *testing.T) {
	rules, err := names.ReadRules(strings.NewReader(`{"rules":[{"from":"^h\\.","to":"model.layers."}]}`))
	if err != nil {
		t.Fatal(err)
	}
	a := &Adapter{Modules: []*Module{module("model.layers.3.q", Linear, 2, []int{2, 4}, []int{3, 2})}}
	base := fakeBase{map[string][]int{"h.3.q.weight": {3, 4}}, ""}
	if res, err := a.Resolve(base); err != nil || len(res.Missing) != 1 {
		t.Errorf("without rules: %+v, %v", res, err)
	}
	res, err := a.Resolve(base, rules)
	if err != nil || len(res.Updates) != 1 || len(res.Maps) != 1 || res.Maps[0].String() != "1 module by the map names file" {
		t.Errorf("with rules: %+v, %v", res, err)
	}
}
