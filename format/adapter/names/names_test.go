package names

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
)

// fakeModel is a checkpoint of names and shapes.
type fakeModel struct {
	shapes   map[string][]int
	model    string
	classes  []string
	settings map[string]string // by path joined with dots
}

func (f fakeModel) Shape(name string) ([]int, dtype.DType, bool) {
	s, ok := f.shapes[name]
	return s, dtype.F32, ok
}
func (f fakeModel) Names() []string         { return slices.Sorted(maps.Keys(f.shapes)) }
func (f fakeModel) ModelType() string       { return f.model }
func (f fakeModel) Architectures() []string { return f.classes }
func (f fakeModel) Setting(path ...string) (string, bool) {
	s, ok := f.settings[strings.Join(path, ".")]
	return s, ok
}

// TestVectors runs every key of the map over names sampled from its patterns
// and compares with what transformers made of them.
func TestVectors(t *testing.T) {
	data, err := load()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors map[string][][3]*string
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	keys, names := 0, 0
	for _, name := range append(slices.Sorted(maps.Keys(data.Keys)), slices.Sorted(maps.Keys(data.Aliases))...) {
		key, specs := data.key(name)
		m := &Map{model: fakeModel{}, primed: true}
		if err := m.addKey(key, "", specs); err != nil {
			t.Fatalf("key %s: %v", name, err)
		}
		if m.Refused() != nil {
			t.Errorf("key %s: %v", name, m.Refused())
		}
		keys++
		rows := vectors[key]
		if rows == nil {
			rows = vectors[name]
		}
		if len(rows) == 0 {
			t.Errorf("key %s has no vectors", name)
		}
		for _, v := range rows {
			names++
			r := m.rename(*v[0])
			source := ""
			if r.by != nil {
				source = r.by.from[r.source]
			}
			if want := v[2]; r.Name != *v[1] || want == nil && source != "" || want != nil && source != *want {
				t.Errorf("key %s: %q became %q (source %q), transformers makes it %q", name, *v[0], r.Name, source, *v[1])
			}
		}
	}
	if keys < 251 {
		t.Errorf("%d keys, want 251", keys)
	}
	t.Logf("%d keys, %d names", keys, names)
}

// TestEveryConversion runs the operations of every conversion of the map over
// tensors of a shape that suits them: each element of the results must be one
// element of the tensors, and each of these must be used once.
func TestEveryConversion(t *testing.T) {
	data, err := load()
	if err != nil {
		t.Fatal(err)
	}
	model := fakeModel{settings: map[string]string{"num_attention_heads": "4", "num_key_value_heads": "2", "head_dim": "6"}}
	ran := 0
	for _, key := range slices.Sorted(maps.Keys(data.Keys)) {
		for _, s := range data.Keys[key] {
			if s.Kind != "convert" {
				continue
			}
			tr, err := s.compile(key)
			if err != nil {
				t.Fatal(err)
			}
			in, total := inputs(tr)
			out, err := (&conversion{tr, model}).run(in)
			if err != nil {
				if _, ok := errors.AsType[*rule.Unsupported](err); !ok {
					t.Errorf("%s %v: %v", key, tr.from, err)
				}
				t.Logf("unsupported: %s %v: %v", key, tr.from, err)
				continue
			}
			ran++
			if got := covered(t, out); got != total {
				t.Errorf("%s %v → %v: %d elements of %d", key, tr.from, tr.to, got, total)
			}
		}
	}
	t.Logf("%d conversions", ran)
}

// inputs makes tensors for a conversion: 8 in each list, of 48 rows and 3 columns.
func inputs(tr *transform) (in []item, elements int) {
	list, shape := 1, []int{48, 3}
	for _, op := range tr.ops {
		switch {
		case op.Op == "MergeModulelist", op.Op == "ErnieFuseAndSplitTextVisionExperts", op.Shards != "":
			list = 8
		case op.Dim1 == 2, op.Dim == 1 && len(tr.ops) == 1, op.Dim == 1 && tr.ops[0].Op == "Interleave":
			shape = []int{3, 48, 3}
		}
	}
	for i, from := range tr.from {
		x := item{key: from}
		for j := range list {
			x.arrays = append(x.arrays, leaf(fmt.Sprintf("%d.%d", i, j), shape))
			elements += product(shape)
		}
		in = append(in, x)
	}
	return in, elements
}

func product(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// covered counts the elements of the arrays, after checking that blocks cover
// each element of a parameter once and no element on disk twice.
func covered(t *testing.T, out []array) int {
	t.Helper()
	disk := map[string]bool{}
	total := 0
	for _, a := range out {
		memory := map[[3]int]bool{}
		for _, b := range a.blocks {
			each(b, func(stack, row, col, diskRow, diskCol int) {
				at, from := [3]int{stack, row, col}, fmt.Sprint(b.Tensor, b.Expert, diskRow, diskCol)
				if memory[at] || disk[from] {
					t.Fatalf("element %v or %s twice", at, from)
				}
				memory[at], disk[from] = true, true
			})
		}
		if len(memory) != product(a.shape) {
			t.Fatalf("%d elements of a parameter of shape %v", len(memory), a.shape)
		}
		total += len(memory)
	}
	return total
}

// each visits the elements of a block.
func each(b Block, visit func(stack, row, col, diskRow, diskCol int)) {
	for i := range b.Row.Len {
		for j := range b.Col.Len {
			di, dj := i, j
			if b.Transposed {
				di, dj = j, i
			}
			visit(b.Stack, b.Row.First+i*b.Row.Step, b.Col.First+j*b.Col.Step,
				b.DiskRow.First+di*b.DiskRow.Step, b.DiskCol.First+dj*b.DiskCol.Step)
		}
	}
}

// mixtral is a small Mixtral as save_pretrained writes it.
func mixtral(layers, experts int) fakeModel {
	f := fakeModel{map[string][]int{"model.embed_tokens.weight": {32, 8}, "lm_head.weight": {32, 8}}, "mixtral", []string{"MixtralForCausalLM"}, nil}
	for l := range layers {
		p := fmt.Sprintf("model.layers.%d.", l)
		f.shapes[p+"self_attn.q_proj.weight"] = []int{8, 8}
		f.shapes[p+"block_sparse_moe.gate.weight"] = []int{experts, 8}
		for e := range experts {
			q := fmt.Sprintf("%sblock_sparse_moe.experts.%d.", p, e)
			f.shapes[q+"w1.weight"], f.shapes[q+"w3.weight"], f.shapes[q+"w2.weight"] = []int{12, 8}, []int{12, 8}, []int{8, 12}
		}
	}
	return f
}

func TestMixtral(t *testing.T) {
	m, err := For(mixtral(2, 12), Rules{})
	if err != nil {
		t.Fatal(err)
	}
	p, ok, err := m.Find("model.layers.1.mlp.experts.gate_up_proj")
	if !ok || err != nil || !slices.Equal(p.Shape, []int{12, 24, 8}) || len(p.Blocks) != 24 || Describe(p.Families) != "mixtral" {
		t.Fatalf("gate_up_proj: %+v, %v, %v", p, ok, err)
	}
	for _, b := range p.Blocks { // expert 10 comes after expert 9, not after expert 1
		pattern := "w1"
		if b.Row.First == 12 {
			pattern = "w3"
		}
		if want := fmt.Sprintf("model.layers.1.block_sparse_moe.experts.%d.%s.weight", b.Stack, pattern); b.Tensor != want {
			t.Errorf("expert %d, rows from %d: %s, want %s", b.Stack, b.Row.First, b.Tensor, want)
		}
	}
	for _, name := range []string{"model.layers.0.mlp.gate.weight", "layers.0.mlp.gate.weight"} {
		if p, ok, _ = m.Find(name); !ok || p.Tensor != "model.layers.0.block_sparse_moe.gate.weight" {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if p, ok, _ = m.Find("model.layers.0.mlp.gate_proj.weight"); ok {
		t.Errorf("found what is not there: %+v", p)
	}
}

// TestInverse finds the tensors of an adapter with the names of transformers 4
// in a base that was saved with the names of memory.
func TestInverse(t *testing.T) {
	f := fakeModel{map[string][]int{
		"model.layers.0.mlp.gate.weight":          {12, 8},
		"model.layers.0.mlp.experts.gate_up_proj": {12, 24, 8},
		"model.layers.0.mlp.experts.down_proj":    {12, 8, 12},
	}, "mixtral", []string{"MixtralForCausalLM"}, nil}
	m, err := For(f, Rules{})
	if err != nil {
		t.Fatal(err)
	}
	p, ok, err := m.Inverse("model.layers.0.block_sparse_moe.experts.11.w3.weight")
	want := Block{Tensor: "model.layers.0.mlp.experts.gate_up_proj", Expert: 11, Row: All(12), Col: All(8), DiskRow: Span{12, 1, 12}, DiskCol: All(8)}
	if !ok || err != nil || len(p.Blocks) != 1 || p.Blocks[0] != want || !slices.Equal(p.Shape, []int{12, 8}) {
		t.Errorf("w3 of expert 11: %+v, %v, %v", p, ok, err)
	}
	if p, ok, err = m.Inverse("model.layers.0.block_sparse_moe.gate.weight"); !ok || err != nil || p.Tensor != "model.layers.0.mlp.gate.weight" {
		t.Errorf("gate: %+v, %v, %v", p, ok, err)
	}
	if p, ok, _ = m.Inverse("model.layers.0.block_sparse_moe.experts.12.w3.weight"); ok {
		t.Errorf("an expert too many: %+v", p)
	}
}

// TestChunkInverse finds a fused projection in a base that has its parts.
func TestChunkInverse(t *testing.T) {
	f := fakeModel{map[string][]int{}, "hrm_text", nil, nil}
	for _, n := range []string{"gate", "q", "k", "v"} {
		f.shapes[fmt.Sprintf("model.layers.0.self_attn.%s_proj.weight", n)] = []int{4, 10}
	}
	m, err := For(f, Rules{})
	if err != nil {
		t.Fatal(err)
	}
	p, ok, err := m.Inverse("model.layers.0.attn.gqkv_proj.weight")
	if !ok || err != nil || !slices.Equal(p.Shape, []int{16, 10}) || len(p.Blocks) != 4 {
		t.Fatalf("gqkv_proj: %+v, %v, %v", p, ok, err)
	}
	if b := p.Blocks[2]; b.Tensor != "model.layers.0.self_attn.k_proj.weight" || b.Row != (Span{8, 1, 4}) || b.DiskRow != All(4) {
		t.Errorf("third part: %+v", b)
	}
}

// TestScope gives the parts of a composite model the rules of their own class,
// which the config chooses.
func TestScope(t *testing.T) {
	f := fakeModel{map[string][]int{
		"language_model.model.layers.0.mlp.experts.0.gate_proj.weight":                {6, 8},
		"language_model.model.layers.0.mlp.experts.0.up_proj.weight":                  {6, 8},
		"language_model.lm_head.weight":                                               {32, 8},
		"vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight":          {8, 8},
		"multi_modal_projector.linear_1.weight":                                       {8, 8},
		"vision_tower.vision_model.encoder.layers.0.mlp.experts.0.gate_proj.weight":   {6, 8},
		"vision_tower.vision_model.encoder.layers.0.mlp.experts.0.up_proj.weight":     {6, 8},
		"vision_tower.vision_model.encoder.layers.0.mlp.experts.0.nothing.of.the.map": {6, 8},
	}, "llava", []string{"LlavaForConditionalGeneration"}, map[string]string{"text_config.model_type": "qwen3_moe", "vision_config.model_type": "clip_vision_model"}}
	m, err := For(f, Rules{})
	if err != nil {
		t.Fatal(err)
	}
	for name, disk := range map[string]string{
		"model.language_model.layers.0.mlp.experts.gate_up_proj": "",
		"lm_head.weight": "language_model.lm_head.weight",
		"model.vision_tower.encoder.layers.0.self_attn.q_proj.weight":        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight",
		"model.multi_modal_projector.linear_1.weight":                        "multi_modal_projector.linear_1.weight",
		"model.vision_tower.encoder.layers.0.mlp.experts.0.up_proj.weight":   "vision_tower.vision_model.encoder.layers.0.mlp.experts.0.up_proj.weight",
		"model.vision_tower.encoder.layers.0.mlp.experts.0.gate_proj.weight": "vision_tower.vision_model.encoder.layers.0.mlp.experts.0.gate_proj.weight",
	} {
		p, ok, err := m.Find(name)
		if !ok || err != nil || p.Tensor != disk {
			t.Errorf("%s: %+v, %v, %v", name, p, ok, err)
		}
	}
}

// TestOldNames finds modules of adapters for text and images by the names that
// other versions gave them, on bases of either version.
func TestOldNames(t *testing.T) {
	const memory, old = "model.language_model.layers.0.self_attn.q_proj.weight", "language_model.model.layers.0.self_attn.q_proj.weight"
	for _, class := range []string{"LlavaForConditionalGeneration", "PaliGemmaForConditionalGeneration", "Gemma3ForConditionalGeneration", "Mistral3ForConditionalGeneration"} {
		for _, c := range []struct{ disk, adapter string }{{old, memory}, {memory, old}} {
			f := fakeModel{map[string][]int{c.disk: {8, 8}}, "", []string{class}, nil}
			m, err := For(f, Rules{})
			if err != nil {
				t.Fatal(err)
			}
			p, ok, err := m.Find(c.adapter)
			if !ok && err == nil {
				p, ok, err = m.Inverse(c.adapter)
			}
			if !ok || err != nil || p.Tensor != c.disk {
				t.Errorf("%s: %s in a base with %s: %+v, %v", class, c.adapter, c.disk, p, err)
			}
		}
	}
}

// TestGroup applies renamings that share a name only where the guard is.
func TestGroup(t *testing.T) {
	shapes := map[string][]int{"vision_tower.encoder.blocks.0.mlp.fc0.weight": {8, 4}, "vision_tower.encoder.blocks.0.mlp.fc1.weight": {4, 8}}
	for _, c := range []struct {
		name  string
		drop  string
		found string
	}{
		{"as on disk", "", "vision_tower.encoder.blocks.0.mlp.fc0.weight"},
		{"as in memory", "vision_tower.encoder.blocks.0.mlp.fc0.weight", "vision_tower.encoder.blocks.0.mlp.fc1.weight"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fakeModel{maps.Clone(shapes), "kimi_k25", nil, nil}
			delete(f.shapes, c.drop)
			m, err := For(f, Rules{})
			if err != nil {
				t.Fatal(err)
			}
			renamed := m.Rename(c.found).Name
			if !strings.HasSuffix(renamed, "mlp.fc1.weight") {
				t.Errorf("%s became %s", c.found, renamed)
			}
			if p, ok, err := m.Find(renamed); !ok || err != nil || p.Tensor != c.found {
				t.Errorf("%s is %+v, %v", renamed, p, err)
			}
		})
	}
}

// TestUnknownOperation refuses a family by the operation's name.
func TestUnknownOperation(t *testing.T) {
	rules, err := ReadRules(strings.NewReader(`{"rules":[{"from":"x\\.weight","to":"y.weight","ops":[{"op":"Transpose","dim":0,"dim1":1}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	rules.transforms[0].ops[0].Op = "Unheard"
	m, err := For(fakeModel{shapes: map[string][]int{"x.weight": {2, 3}}}, rules)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = m.Find("y.weight")
	if u, ok := errors.AsType[*rule.Unsupported](err); !ok || !strings.Contains(u.What, "Unheard") {
		t.Errorf("error %v", err)
	}
}

func TestReadRules(t *testing.T) {
	for _, c := range []struct{ name, text, err string }{
		{"nothing", `{}`, "no rules"},
		{"unknown field", `{"rules":[{"from":"a","to":"b","with":"c"}]}`, "unknown field"},
		{"not a pattern", `{"rules":[{"from":"(","to":"b"}]}`, "missing closing"},
		{"unknown operation", `{"rules":[{"from":"a","to":"b","ops":[{"op":"Roll"}]}]}`, `operation "Roll"`},
		{"two names", `{"rules":[{"from":"a","to":["b","c"]}]}`, "need ops"},
		{"no name", `{"rules":[{"from":"a"}]}`, "needs from and to"},
		{"too long", `{"rules":[` + strings.Repeat(" ", maxRules), "more than"},
		{"good", `{"rules":[{"from":"^h\\.(\\d+)","to":"layers.\\1"}]}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules, err := ReadRules(strings.NewReader(c.text))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			m, err := For(fakeModel{shapes: map[string][]int{"h.7.q.weight": {2, 3}}}, rules)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Rename("h.7.q.weight").Name; got != "layers.7.q.weight" {
				t.Errorf("renamed to %s", got)
			}
		})
	}
}

func TestCompareNatural(t *testing.T) {
	sorted := []string{"a", "a.0", "a.2", "a.10", "a.b", "a.b1", "a.b2", "a.b10.c", "a.c", "b"}
	got := slices.Clone(sorted)
	slices.Reverse(got)
	slices.SortFunc(got, compareNatural)
	if !slices.Equal(got, sorted) {
		t.Errorf("sorted to %q, want %q", got, sorted)
	}
}

// TestLarge keeps the map linear: the names of DeepSeek-V3 in less time than
// anybody notices.
func TestLarge(t *testing.T) {
	f := mixtral(61, 256)
	start := time.Now()
	m, err := For(f, Rules{})
	if err != nil {
		t.Fatal(err)
	}
	for l := range 61 {
		if p, ok, err := m.Find(fmt.Sprintf("model.layers.%d.mlp.experts.gate_up_proj", l)); !ok || err != nil || len(p.Blocks) != 512 {
			t.Fatalf("layer %d: %v, %v", l, ok, err)
		}
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("%d names took %v", len(f.shapes), took)
	} else {
		t.Logf("%d names in %v", len(f.shapes), took)
	}
}

func ExampleMap_Find() {
	m, err := For(mixtral(1, 2), Rules{})
	if err != nil {
		fmt.Println(err)
		return
	}
	p, _, err := m.Find("model.layers.0.mlp.experts.gate_up_proj")
	fmt.Println(p.Shape, Describe(p.Families), err)
	for _, b := range p.Blocks {
		fmt.Printf("expert %d, rows %d to %d: %s\n", b.Stack, b.Row.First, b.Row.First+b.Row.Len-1, b.Tensor)
	}
	// Output:
	// [2 24 8] mixtral <nil>
	// expert 0, rows 0 to 11: model.layers.0.block_sparse_moe.experts.0.w1.weight
	// expert 1, rows 0 to 11: model.layers.0.block_sparse_moe.experts.1.w1.weight
	// expert 0, rows 12 to 23: model.layers.0.block_sparse_moe.experts.0.w3.weight
	// expert 1, rows 12 to 23: model.layers.0.block_sparse_moe.experts.1.w3.weight
}

// TestOperations compares the index maps of all chains of operations of the
// map with what transformers makes of numbered tensors.
func TestOperations(t *testing.T) {
	raw, err := os.ReadFile("testdata/operations.json")
	if err != nil {
		t.Fatal(err)
	}
	var chains map[string]struct {
		Key      string
		From, To []string
		Ops      []Op
		Inputs   [][][]int
		Outputs  []struct{ Shape, Elements []int }
	}
	if err := json.Unmarshal(raw, &chains); err != nil {
		t.Fatal(err)
	}
	model := fakeModel{settings: map[string]string{"num_attention_heads": "2", "num_key_value_heads": "1", "head_dim": "4"}}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(chains)) {
		c := chains[name]
		first, shapes, count := map[string]int{}, map[string][]int{}, 0
		var in []item
		for i, list := range c.Inputs {
			x := item{key: c.From[i]}
			for j, shape := range list {
				tensor := fmt.Sprintf("%d.%d", i, j)
				first[tensor], shapes[tensor] = count, shape
				count += product(shape)
				x.arrays = append(x.arrays, leaf(tensor, shape))
			}
			in = append(in, x)
		}
		for _, op := range c.Ops {
			seen[op.Op] = true
		}
		out, err := (&conversion{&transform{key: c.Key, from: c.From, to: c.To, ops: c.Ops}, model}).run(in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, a := range out {
			want := c.Outputs[i]
			if !slices.Equal(a.shape, want.Shape) {
				t.Errorf("%s: shape %v, want %v", name, a.shape, want.Shape)
				continue
			}
			if got := elements(a, first, shapes); !slices.Equal(got, want.Elements) {
				t.Errorf("%s: elements %v, want %v", name, got, want.Elements)
			}
		}
	}
	for op := range operations {
		if !seen[op] {
			t.Errorf("operation %s is in no chain", op)
		}
	}
}

// elements lists the numbers of the elements of an array, row by row.
func elements(a array, first map[string]int, shapes map[string][]int) []int {
	out := make([]int, product(a.shape))
	rows, cols := matrix(a.shape)
	if len(a.shape) == 3 {
		rows, cols = a.shape[1], a.shape[2]
	}
	for _, b := range a.blocks {
		shape := shapes[b.Tensor]
		diskRows, diskCols := matrix(shape)
		if len(shape) == 3 {
			diskRows, diskCols = shape[1], shape[2]
		}
		each(b, func(stack, row, col, diskRow, diskCol int) {
			out[(stack*rows+row)*cols+col] = first[b.Tensor] + (max(b.Expert, 0)*diskRows+diskRow)*diskCols + diskCol
		})
	}
	return out
}

// TestHostile meets shapes and settings that no model has.
func TestHostile(t *testing.T) {
	f := fakeModel{map[string][]int{
		"model.layers.0.mlp.experts.gate_up_proj":     {1 << 60, 0, 4},
		"vision_tower.encoder.blocks.0.wqkv.weight":   {0, 4},
		strings.Repeat("layers_norm.", 20000) + "end": {1},
	}, "kimi_k25", nil, map[string]string{"vision_config.num_attention_heads": "9223372036854775807"}}
	for _, model := range []string{"kimi_k25", "mixtral", "t5gemma2_encoder", "qwen3_vl_moe"} {
		f.model = model
		m, err := For(f, Rules{})
		if err != nil {
			t.Fatal(err)
		}
		lines, same := m.Summary()
		if len(lines)+same == 0 {
			t.Errorf("%s: nothing listed", model)
		}
		if _, ok, _ := m.Inverse("model.layers.0.block_sparse_moe.experts.3.w1.weight"); ok {
			t.Errorf("%s: an expert of an empty stack", model)
		}
	}
}

func FuzzReadRules(f *testing.F) {
	f.Add(`{"rules":[{"from":["a\\.(\\d+)","b"],"to":["c.\\1","d"],"ops":[{"op":"Chunk","dim":0}]}]}`, "a.1.b")
	f.Add(`{"rules":[{"from":"experts\\.\\d+\\.w","to":"e","ops":[{"op":"MergeModulelist"},{"op":"Interleave","dim":-1}]}]}`, "experts.7.w")
	f.Fuzz(func(t *testing.T, text, name string) {
		rules, err := ReadRules(strings.NewReader(text))
		if err != nil {
			return
		}
		m, err := For(fakeModel{shapes: map[string][]int{name: {2, 4}, name + ".1": {4}}}, rules)
		if err != nil {
			t.Fatal(err)
		}
		m.Summary()
		m.Inverse(name + ".2")
		m.Find(name)
	})
}
