package compose

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/binding"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/format/validate"
	"github.com/loratool/loratool/merge"
	"github.com/loratool/loratool/testdata/fixture"
)

// A part is an input of a composition: an adapter that lies on disk.
type part struct {
	specs    []spec
	weight   float64        // 0: 1
	config   map[string]any // fields beside those that its modules ask for
	replaced []adapter.Replacement
	tokens   []adapter.TokenRows
	bound    bool // to the base
}

// The modules of the base that the cases adapt: o has no bias, the others that
// can have one do.
var (
	onQ      = spec{name: "layers.0.q", out: 8, in: 6, rank: 2, alpha: 4}
	onO      = spec{name: "layers.0.o", out: 6, in: 8, rank: 3, alpha: 3}
	onHead   = spec{name: "lm_head", out: 16, in: 6, rank: 2, alpha: 4}
	onTokens = spec{name: "embed_tokens", kind: adapter.Embedding, out: 6, in: 16, rank: 2, alpha: 4}
	onConv   = spec{name: "conv", kind: adapter.Conv, out: 12, in: 5, rank: 2, alpha: 3}
	onStack  = spec{name: "experts", kind: adapter.Stack, out: 14, in: 10, rank: 2, alpha: 4, experts: 3}
	onAttn   = spec{name: "attn", out: 18, in: 6, rank: 2, alpha: 4}
	onOut    = spec{name: "attn.out_proj", out: 6, in: 6, rank: 2, alpha: 4, multiple: 2}
)

func biased(s spec) spec { s.bias = true; return s }
func dora(s spec) spec   { s.dora = true; return s }
func rooted(s spec, rank int) spec {
	s.rs, s.rank = true, rank
	return s
}

// filled is a tensor of random values that depend on its name.
func filled(name string, d dtype.DType, shape ...int) adapter.Tensor {
	t := random(rand.New(rand.NewPCG(uint64(len(name)), uint64(name[0]))), d, shape...)
	t.Name = name
	return t
}

func replacing(name, reason string, shape ...int) adapter.Replacement {
	return adapter.Replacement{Name: name, Reason: reason, Value: filled(name, dtype.F32, shape...)}
}

func dataOf(t adapter.Tensor) safetensors.NamedData {
	return safetensors.NamedData{Name: t.Name, DType: t.DType, Shape: t.Shape, Data: t.Bytes}
}

func acceptedBase(t *testing.T) *checkpoint.Checkpoint {
	var list []safetensors.NamedData
	for name, shape := range map[string][]int{
		"layers.0.q.weight": {8, 6}, "layers.0.q.bias": {8}, "layers.0.o.weight": {6, 8},
		"embed_tokens.weight": {16, 6}, "lm_head.weight": {16, 6}, "score.weight": {2, 6}, "conv.weight": {12, 5, 3, 1}, "conv.bias": {12},
		"experts.gate_up_proj": {3, 14, 10}, "attn.in_proj_weight": {18, 6}, "attn.in_proj_bias": {18}, "attn.out_proj.weight": {6, 6}, "attn.out_proj.bias": {6},
	} {
		list = append(list, dataOf(filled(name, dtype.F32, shape...)))
	}
	return fixture.Base(t, list...)
}

// write writes a part as an adapter and opens it.
func (p part) write(t *testing.T, seed uint64, base *checkpoint.Checkpoint) *dialect.File {
	t.Helper()
	a := makeAdapter(seed, dtype.F32, p.specs...)
	a.Replacements, a.Tokens = p.replaced, p.tokens
	a.FanInFanOut = p.config["fan_in_fan_out"] == true
	config := map[string]any{"peft_type": "LORA"}
	maps.Copy(config, p.config)
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	f := written(t, a, dialect.WriteOptions{Config: text})
	if !p.bound {
		return f
	}
	dir := filepath.Join(t.TempDir(), "bound")
	if _, err := binding.Write(context.Background(), dir, f, base, binding.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	return opened(t, dir)
}

func written(t *testing.T, a *adapter.Adapter, o dialect.WriteOptions) *dialect.File {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "adapter")
	if err := dialect.WritePEFT(dir, a, o); err != nil {
		t.Fatalf("write: %v", err)
	}
	return opened(t, dir)
}

func opened(t *testing.T, dir string) *dialect.File {
	t.Helper()
	f, err := dialect.OpenPEFT(dir)
	if err != nil {
		t.Fatalf("read what was written: %v", err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// mergedWith returns the values of the base with adapters merged into it.
func mergedWith(t *testing.T, base *checkpoint.Checkpoint, adapters ...Weighted) map[string][]float64 {
	t.Helper()
	var list []merge.Weighted
	for _, w := range adapters {
		list = append(list, merge.Weighted(w))
	}
	out := filepath.Join(t.TempDir(), "out.safetensors")
	if _, err := merge.Apply(context.Background(), out, base, list, merge.Options{}); err != nil {
		t.Fatalf("merge: %v", err)
	}
	f, err := safetensors.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	values := map[string][]float64{}
	for _, v := range f.Header().Tensors() {
		values[v.Name] = adapter.Tensor{DType: v.DType, Shape: v.Shape, Bytes: f.Bytes(v)}.Float64s()
	}
	return values
}

// findings returns the rules that validate has an adapter break, warnings too.
func findings(t *testing.T, f *dialect.File, base *checkpoint.Checkpoint) (list []string) {
	t.Helper()
	r, err := validate.Run(context.Background(), []string{f.Source}, validate.Options{Base: base, Deep: true})
	if err != nil || len(r.Results) != 1 || r.Results[0].Err != nil {
		t.Fatalf("validate: %+v, %v", r, err)
	}
	for _, x := range r.Results[0].Findings {
		if x.Severity != rule.Info {
			list = append(list, string(x.Rule)+" "+x.Message)
		}
	}
	return list
}

// TestAccepted: what compose writes is read, found valid and merged, to what
// merging the adapters themselves gives.
func TestAccepted(t *testing.T) {
	score := replacing("score.weight", "modules_to_save", 2, 6)
	for name, c := range map[string]struct {
		parts   []part
		options Options
		warned  []string       // rules that validate warns of
		holds   map[string]any // fields of the config
	}{
		"ranks, alphas and rsLoRA": {parts: []part{{specs: []spec{onQ, rooted(onO, 4)}}, {specs: []spec{rooted(onQ, 3), onConv}, weight: -0.5}}},
		"rsLoRA of two ranks":      {parts: []part{{specs: []spec{rooted(onQ, 2)}}, {specs: []spec{rooted(onO, 3)}}}},
		"a bias beside none":       {parts: []part{{specs: []spec{biased(onQ)}}, {specs: []spec{onO}}}},
		"none beside a bias":       {parts: []part{{specs: []spec{onO, onConv}}, {specs: []spec{biased(onQ)}, weight: 2}}},
		"a bias that is weighed 0": {parts: []part{{specs: []spec{onO}}, {specs: []spec{biased(onQ)}, weight: math.SmallestNonzeroFloat64}}, warned: []string{"AD018", "AD019"}},
		"a bias and attention":     {parts: []part{{specs: []spec{biased(onQ)}}, {specs: []spec{onAttn, onOut}}}},
		"a bias beside an initialisation": {parts: []part{{specs: []spec{onQ}, config: map[string]any{"init_lora_weights": "gaussian"}}, {specs: []spec{biased(onConv)}}},
			holds: map[string]any{"lora_bias": true, "init_lora_weights": true}},
		"parameters beside dropout": {parts: []part{{specs: []spec{onQ}, config: map[string]any{"lora_dropout": 0.1}}, {specs: []spec{onStack}}},
			holds: map[string]any{"lora_dropout": 0.0}},
		"replaced biases": {parts: []part{{specs: []spec{onQ}, replaced: []adapter.Replacement{replacing("layers.0.q.bias", "bias", 8)}}, {specs: []spec{onQ, onO}}},
			holds: map[string]any{"bias": "lora_only"}},
		"all biases replaced": {parts: []part{{specs: []spec{onQ}, replaced: []adapter.Replacement{replacing("layers.0.q.bias", "bias", 8), replacing("conv.bias", "bias", 12)}}, {specs: []spec{onConv}}},
			holds: map[string]any{"bias": "all"}},
		"a bias replaced and another added": {parts: []part{{specs: []spec{onQ}, replaced: []adapter.Replacement{replacing("layers.0.q.bias", "bias", 8)}}, {specs: []spec{biased(onQ)}}}},
		"one saved module":                  {parts: []part{{specs: []spec{onQ}, replaced: []adapter.Replacement{score}}, {specs: []spec{onO}, replaced: []adapter.Replacement{score}}}},
		"token rows":                        {parts: []part{{specs: []spec{onQ}, tokens: []adapter.TokenRows{{Path: "embed_tokens", Indices: []int{3, 5}, Rows: filled("rows", dtype.F32, 2, 6)}}}, {specs: []spec{onHead}}}},
		"DoRA alone":                        {parts: []part{{specs: []spec{dora(onQ), dora(onO)}}}, options: Options{Skip: []string{"*.o"}}},
		"bound, of which one is left out":   {parts: []part{{specs: []spec{onQ, biased(onO)}[:1], bound: true}, {specs: []spec{onO}, bound: true}}, options: Options{Skip: []string{"*.o"}}},
		"bound, a bias beside none":         {parts: []part{{specs: []spec{biased(onQ)}, bound: true}, {specs: []spec{onO}, bound: true}}},
		"cat of biases":                     {parts: []part{{specs: []spec{biased(onQ)}}, {specs: []spec{onO}}}, options: Options{Method: Cat}},
	} {
		t.Run(name, func(t *testing.T) {
			base := acceptedBase(t)
			var inputs []Weighted
			var config []byte
			for i, p := range c.parts {
				f := p.write(t, uint64(100+i), base)
				if i == 0 {
					config = f.Config
				}
				inputs = append(inputs, Weighted{f.Adapter, p.weight})
				if p.weight == 0 {
					inputs[i].Weight = 1
				}
			}
			out, _ := compose(t, c.options, inputs...)
			write := dialect.WriteOptions{Config: config}
			if out.Notes != nil {
				write.Metadata = out.Notes.Metadata()
			}
			f := written(t, out, write)
			for _, found := range findings(t, f, base) {
				if id, _, _ := strings.Cut(found, " "); !slices.Contains(c.warned, id) {
					t.Errorf("validate: %s", found)
				}
			}
			for field, want := range c.holds {
				var fields map[string]any
				if err := json.Unmarshal(f.Config, &fields); err != nil || fields[field] != want {
					t.Errorf("%s is %v, want %v, %v", field, fields[field], want, err)
				}
			}
			got := mergedWith(t, base, Weighted{f.Adapter, 1})
			if len(c.options.Skip) > 0 {
				return
			}
			for name, want := range mergedWith(t, base, inputs...) {
				for i, x := range want {
					if math.Abs(got[name][i]-x) > 1e-5 {
						t.Fatalf("element %d of %s is %v, merging the adapters themselves gives %v", i, name, got[name][i], x)
					}
				}
			}
		})
	}
}

// TestNotAccepted: what could not be written so that it would be accepted is
// refused before anything is.
func TestNotAccepted(t *testing.T) {
	rows := []adapter.TokenRows{{Path: "embed_tokens", Indices: []int{3}, Rows: filled("rows", dtype.F32, 1, 6)}}
	zeros := func(d dtype.DType, shape ...int) []adapter.Replacement {
		return []adapter.Replacement{{Name: "score.weight", Reason: "modules_to_save", Value: adapter.NewTensor(d, shape, make([]float64, 12))}}
	}
	saved := []adapter.Replacement{replacing("lm_head.weight", "modules_to_save", 16, 6)}
	table := []adapter.Replacement{replacing("embed_tokens.weight", "modules_to_save", 16, 6)}
	score := []adapter.Replacement{replacing("score.weight", "modules_to_save", 2, 6)}
	for name, c := range map[string]struct {
		parts []part
		want  string
	}{
		"replaced and adapted":       {[]part{{specs: []spec{onQ}, replaced: saved}, {specs: []spec{onHead}}}, "lm_head"},
		"adapted and replaced":       {[]part{{specs: []spec{onHead}}, {specs: []spec{onQ}, replaced: saved}}, "lm_head"},
		"attention replaced":         {[]part{{specs: []spec{onAttn}}, {specs: []spec{onQ}, replaced: []adapter.Replacement{replacing("attn.in_proj_weight", "modules_to_save", 18, 6)}}}, "in_proj_weight"},
		"replaced, with token rows":  {[]part{{specs: []spec{onQ}, replaced: table}, {specs: []spec{onO}, tokens: rows}}, "embed_tokens"},
		"adapted, with token rows":   {[]part{{specs: []spec{onTokens}}, {specs: []spec{onQ}, tokens: rows}}, "embed_tokens"},
		"replaced by other dtypes":   {[]part{{specs: []spec{onQ}, replaced: zeros(dtype.F16, 2, 6)}, {specs: []spec{onQ}, replaced: zeros(dtype.BF16, 2, 6)}}, "score.weight"},
		"replaced by other shapes":   {[]part{{specs: []spec{onQ}, replaced: zeros(dtype.F32, 2, 6)}, {specs: []spec{onQ}, replaced: zeros(dtype.F32, 3, 4)}}, "score.weight"},
		"no module left":             {[]part{{specs: []spec{onQ}, replaced: score}, {specs: []spec{onQ}, weight: -1}}, "without a module"},
		"a bias beside parameters":   {[]part{{specs: []spec{biased(onQ)}}, {specs: []spec{onStack}}}, "lora_bias"},
		"DoRA beside another":        {[]part{{specs: []spec{dora(onQ)}}, {specs: []spec{onO}}}, "DoRA"},
		"another beside DoRA":        {[]part{{specs: []spec{onO}}, {specs: []spec{dora(onQ)}}}, "DoRA"},
		"parameters, fan_in_fan_out": {[]part{{specs: []spec{onQ}, config: map[string]any{"fan_in_fan_out": true}}, {specs: []spec{onStack}}}, "fan_in_fan_out"},
		"layer_replication":          {[]part{{specs: []spec{onQ}, config: map[string]any{"layer_replication": [][]int{{0, 1}, {0, 1}}}}, {specs: []spec{onO}}}, "layer_replication"},
	} {
		t.Run(name, func(t *testing.T) {
			var inputs []Weighted
			for _, p := range c.parts {
				w := Weighted{p.write(t, 100, nil).Adapter, p.weight}
				if p.weight == 0 {
					w.Weight = 1
				}
				inputs = append(inputs, w)
			}
			out, _, err := Compose(context.Background(), inputs, Options{})
			dir := filepath.Join(t.TempDir(), "out")
			if err == nil {
				err = dialect.WritePEFT(dir, out, dialect.WriteOptions{})
			}
			if u, ok := errors.AsType[*rule.Unsupported](err); !ok || !strings.Contains(u.What, c.want) {
				t.Errorf("%v, want what is unsupported about %q", err, c.want)
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("something was written")
			}
		})
	}
}
