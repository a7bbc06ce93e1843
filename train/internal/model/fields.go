package model

import (
	"fmt"
	"math"
	"strconv"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/strictjson"
	"github.com/loratool/loratool/internal/text"
)

// fields reads the members of a config and keeps the first thing that is
// wrong.
type fields struct {
	object strictjson.Value
	err    error
}

func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("config.json: "+format, args...)
	}
}

func (f *fields) refuse(format string, args ...any) {
	if f.err == nil {
		f.err = &rule.Unsupported{File: "config.json", What: fmt.Sprintf(format, args...)}
	}
}

// lookup returns a member that is there and not null.
func (f *fields) lookup(name string) (strictjson.Value, bool) {
	v, ok := f.object.Lookup(name)
	return v, ok && v.Kind != strictjson.Null
}

func (f *fields) number(name string, missing float64) float64 {
	v, ok := f.lookup(name)
	if !ok {
		return missing
	}
	x, err := strconv.ParseFloat(v.Text, 64)
	switch {
	case v.Kind != strictjson.Number || err != nil:
		f.fail("%s is not a number", name)
		return missing
	case math.IsNaN(x) || math.IsInf(x, 0):
		f.fail("%s is %g", name, x)
		return missing
	}
	return x
}

// positive reads a number that must be above 0.
func (f *fields) positive(name string, missing float64) float64 {
	x := f.number(name, missing)
	if x <= 0 {
		f.fail("%s is %g", name, x)
	}
	return x
}

// size reads a count; 0 for a missing one is refused by Desc.check.
func (f *fields) size(name string, missing int) int {
	x := f.number(name, float64(missing))
	if x != math.Trunc(x) || math.Abs(x) > maxSize {
		f.fail("%s is %g", name, x)
		return missing
	}
	return int(x)
}

func (f *fields) flag(name string, missing bool) bool {
	v, ok := f.lookup(name)
	if !ok {
		return missing
	}
	if v.Kind != strictjson.Bool {
		f.fail("%s is not true or false", name)
	}
	return v.True
}

func (f *fields) word(name, missing string) string {
	v, ok := f.lookup(name)
	if !ok {
		return missing
	}
	if v.Kind != strictjson.String {
		f.fail("%s is not a string", name)
	}
	return v.Text
}

// Describe reads the description of a decoder from the object of a
// config.json. A model of another kind is a *rule.Unsupported.
func Describe(config strictjson.Value) (*Desc, error) {
	f := &fields{object: config}
	name := f.word("model_type", "")
	read, ok := families[name]
	if f.err == nil && !ok {
		return nil, unsupportedFamily(name)
	}
	if f.err != nil {
		return nil, f.err
	}
	if _, ok := f.lookup("quantization_config"); ok {
		f.refuse("training on quantized weights")
	}
	d := read(f)
	d.Family = name
	if f.err != nil {
		return nil, f.err
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	return &d, nil
}

// describeLlama reads the fields that Llama and its descendants share, with
// Llama's defaults.
func describeLlama(f *fields) Desc {
	d := Desc{
		Layers: f.size("num_hidden_layers", 32), Width: f.size("hidden_size", 4096), FF: f.size("intermediate_size", 11008),
		Heads: f.size("num_attention_heads", 32), Vocab: f.size("vocab_size", 32000), Context: f.size("max_position_embeddings", 2048),
		Eps: f.number("rms_norm_eps", 1e-6), Tied: f.flag("tie_word_embeddings", false), Gated: true,
		QKVBias: f.flag("attention_bias", false), MLPBias: f.flag("mlp_bias", false),
	}
	d.OutBias = d.QKVBias
	d.KVHeads = f.size("num_key_value_heads", d.Heads)
	d.HeadDim = f.size("head_dim", d.Width/max(d.Heads, 1))
	d.Rope = f.rope()
	if act := f.word("hidden_act", "silu"); act != "silu" && act != "swish" {
		f.refuse("hidden_act %s", text.Quote(act))
	}
	return d
}

func describeMistral(f *fields) Desc {
	d := describeLlama(f)
	d.QKVBias, d.OutBias, d.MLPBias = false, false, false
	if v, ok := f.object.Lookup("sliding_window"); !ok {
		d.Window = 4096
	} else if v.Kind != strictjson.Null {
		if d.Window = f.size("sliding_window", 0); d.Window < 1 {
			f.fail("sliding_window is %d", d.Window)
		}
	}
	return d
}

func describeQwen2(f *fields) Desc {
	d := describeLlama(f)
	d.QKVBias, d.OutBias, d.MLPBias = true, false, false
	f.refuseWindows()
	return d
}

func describeQwen3(f *fields) Desc {
	d := describeLlama(f)
	d.HeadDim = f.size("head_dim", 128)
	d.MLPBias, d.QKNorm = false, true
	f.refuseWindows()
	return d
}

// refuseWindows refuses models of which some layers see part of the keys.
func (f *fields) refuseWindows() {
	if f.flag("use_sliding_window", false) {
		f.refuse("use_sliding_window")
	}
}

func describeGPT2(f *fields) Desc {
	d := Desc{
		Layers: f.size("n_layer", 12), Width: f.size("n_embd", 768), Heads: f.size("n_head", 12),
		Vocab: f.size("vocab_size", 50257), Context: f.size("n_positions", 1024),
		Eps: f.number("layer_norm_epsilon", 1e-5), Tied: f.flag("tie_word_embeddings", true),
		LayerNorm: true, QKVBias: true, OutBias: true, MLPBias: true, Fused: true,
	}
	d.FF = f.size("n_inner", 4*d.Width)
	d.KVHeads, d.HeadDim = d.Heads, d.Width/max(d.Heads, 1)
	if d.Heads > 0 && d.Width%d.Heads != 0 {
		f.fail("%d heads do not divide the width %d", d.Heads, d.Width)
	}
	switch act := f.word("activation_function", "gelu_new"); act {
	case "gelu_new", "gelu_pytorch_tanh":
	default:
		f.refuse("activation_function %s", text.Quote(act))
	}
	if f.flag("scale_attn_by_inverse_layer_idx", false) || !f.flag("scale_attn_weights", true) {
		f.refuse("attention scaled otherwise than by 1/√dim")
	}
	return d
}

// rope reads rope_theta and rope_scaling, or the rope_parameters that take
// their place from transformers 5 on. Of both, transformers reads rope_scaling.
func (f *fields) rope() *Rope {
	r := &Rope{Theta: f.positive("rope_theta", 10000)}
	v, ok := f.lookup("rope_scaling")
	if !ok || v.Kind == strictjson.Object && len(v.Members) == 0 {
		if v, ok = f.lookup("rope_parameters"); !ok {
			return r
		}
	}
	if v.Kind != strictjson.Object {
		f.fail("rope parameters are %s", v.Kind)
		return r
	}
	p := &fields{object: v}
	r.Theta = p.positive("rope_theta", r.Theta)
	switch kind := p.word("rope_type", p.word("type", "default")); kind {
	case "default":
	case "linear":
		r.Linear = p.positive("factor", 1)
	case "llama3":
		r.Llama3 = &Llama3{
			Factor: p.positive("factor", 8), LowFreq: p.positive("low_freq_factor", 1), HighFreq: p.positive("high_freq_factor", 4),
			OriginalContext: p.positive("original_max_position_embeddings", 8192),
		}
		if r.Llama3.HighFreq <= r.Llama3.LowFreq {
			p.fail("frequency factors of llama3 scaling are out of order")
		}
	default:
		p.refuse("rope scaling %s", text.Quote(kind))
	}
	if partial := f.number("partial_rotary_factor", p.number("partial_rotary_factor", 1)); partial != 1 {
		p.refuse("partial_rotary_factor %g", partial)
	}
	if f.err == nil {
		f.err = p.err
	}
	return r
}
