package model

import (
	"errors"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/strictjson"
)

func describe(t *testing.T, config string) (*Desc, error) {
	t.Helper()
	v, err := strictjson.Limits{NonFinite: true}.Decode([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return Describe(v)
}

// Parameter counts of published models, from their safetensors headers.
func TestDescribe(t *testing.T) {
	for _, c := range []struct {
		name, config string
		parameters   int64
		check        func(*Desc) bool
	}{
		{"SmolLM2-135M", `{"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
			"num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 8192,
			"rope_theta": 100000, "rms_norm_eps": 1e-05, "tie_word_embeddings": true}`, 134515008,
			func(d *Desc) bool { return d.HeadDim == 64 && d.Rope.Theta == 100000 && d.Tied && !d.QKVBias }},
		{"Llama-3.2-1B", `{"model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
			"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256, "rope_theta": 500000.0,
			"rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
			"rope_type": "llama3"}, "tie_word_embeddings": true, "rms_norm_eps": 1e-05}`, 1235814400,
			func(d *Desc) bool { return d.Rope.Llama3 != nil && d.Rope.Llama3.Factor == 32 }},
		{"Mistral-7B-v0.1", `{"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
			"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "sliding_window": 4096}`, 7241732096,
			func(d *Desc) bool { return d.Window == 4096 && !d.Tied }},
		{"Qwen2.5-0.5B", `{"model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
			"num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": true,
			"use_sliding_window": false, "sliding_window": 32768}`, 494032768,
			func(d *Desc) bool { return d.QKVBias && !d.OutBias && d.Window == 0 }},
		{"Qwen3-0.6B", `{"model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
			"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
			"tie_word_embeddings": true}`, 596049920,
			func(d *Desc) bool { return d.QKNorm && d.HeadDim*d.Heads == 2048 }},
		{"GPT-2", `{"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}`, 124439808,
			func(d *Desc) bool { return d.Tied && d.Fused && d.FF == 3072 && d.Rope == nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := describe(t, c.config)
			if err != nil {
				t.Fatal(err)
			}
			if got := d.Parameters(); got != c.parameters || !c.check(d) {
				t.Errorf("%d parameters, want %d; %+v", got, c.parameters, d)
			}
		})
	}
}

func TestDescribeRefuses(t *testing.T) {
	for _, c := range []struct {
		config, want string
		unsupported  bool
	}{
		{`{}`, `a model of type ""`, true},
		{`{"model_type": "mamba"}`, "mamba", true},
		{`{"model_type": "llama", "rope_scaling": {"rope_type": "yarn"}}`, "yarn", true},
		{`{"model_type": "llama", "hidden_act": "gelu"}`, "hidden_act", true},
		{`{"model_type": "llama", "quantization_config": {}}`, "quantized", true},
		{`{"model_type": "qwen2", "use_sliding_window": true}`, "use_sliding_window", true},
		{`{"model_type": "llama", "hidden_size": -1}`, "hidden size is -1", false},
		{`{"model_type": "llama", "hidden_size": 1e30}`, "hidden_size is 1e+30", false},
		{`{"model_type": "llama", "hidden_size": "x"}`, "hidden_size is not a number", false},
		{`{"model_type": "llama", "num_key_value_heads": 5}`, "do not share", false},
		{`{"model_type": "gpt2", "n_head": 7}`, "do not divide", false},
		{`{"model_type": "llama", "num_hidden_layers": 1073741824}`, "number of layers is 1073741824", false},
		{`{"model_type": "llama", "hidden_size": 1073741824}`, "values, the limit is", false},
		{`{"model_type": "llama", "num_attention_heads": 1073741824, "num_key_value_heads": 1073741824, "head_dim": 1073741824}`, "values, the limit is", false},
		{`{"model_type": "llama", "rms_norm_eps": 0}`, "epsilon of the norms is 0", false},
		{`{"model_type": "llama", "rms_norm_eps": NaN}`, "rms_norm_eps is NaN", false},
		{`{"model_type": "llama", "rope_theta": Infinity}`, "rope_theta is +Inf", false},
		{`{"model_type": "llama", "rope_theta": -5}`, "rope_theta is -5", false},
		{`{"model_type": "llama", "rope_scaling": {"rope_type": "linear", "factor": 0}}`, "factor is 0", false},
		{`{"model_type": "llama", "rope_scaling": {"rope_type": "llama3", "low_freq_factor": 0}}`, "low_freq_factor is 0", false},
		{`{"model_type": "llama", "rope_scaling": {"rope_type": "llama3", "original_max_position_embeddings": -4}}`, "original_max_position_embeddings is -4", false},
		{`{"model_type": "llama", "rope_scaling": {"rope_type": "yarn"}, "rope_parameters": {"rope_type": "default"}}`, "yarn", true},
		{`{"model_type": "mistral", "sliding_window": -1}`, "sliding_window is -1", false},
	} {
		_, err := describe(t, c.config)
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, rule.ErrUnsupported) != c.unsupported {
			t.Errorf("%s: error %v, want %q", c.config, err, c.want)
		}
	}
}
