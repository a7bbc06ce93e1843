package main

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
)

// settings are the KEY=VALUE arguments of a script command.
type settings map[string]string

// parseSettings takes the arguments KEY=VALUE from args; a key without a
// default is a mistake.
func parseSettings(ts *testscript.TestScript, args []string, defaults settings) settings {
	s := maps.Clone(defaults)
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		if _, ok := defaults[key]; !ok {
			ts.Fatalf("unknown setting %q, known are %v", key, slices.Sorted(maps.Keys(defaults)))
		}
		s[key] = value
	}
	return s
}

func (s settings) int(ts *testscript.TestScript, key string) int {
	n, err := strconv.Atoi(s[key])
	ts.Check(err)
	return n
}

func (s settings) float(ts *testscript.TestScript, key string) float64 {
	x, err := strconv.ParseFloat(s[key], 64)
	ts.Check(err)
	return x
}

func (s settings) dtype(ts *testscript.TestScript) dtype.DType {
	d, ok := dtype.Parse(s["dtype"])
	if !ok {
		ts.Fatalf("unknown dtype %q", s["dtype"])
	}
	return d
}

// normal makes a tensor of random values with a standard deviation of scale,
// the same for the same name and seed.
func normal(name string, seed uint64, scale float64, d dtype.DType, shape ...int) safetensors.NamedData {
	h := fnv.New64a()
	h.Write([]byte(name))
	r := rand.New(rand.NewPCG(seed, h.Sum64()))
	return filled(name, func() float64 { return r.NormFloat64() * scale }, d, shape...)
}

func filled(name string, value func() float64, d dtype.DType, shape ...int) safetensors.NamedData {
	n := 1
	for _, s := range shape {
		n *= s
	}
	data := make([]byte, (n*d.Bits()+7)/8)
	if d.Float() {
		x := make([]float64, n)
		for i := range x {
			x[i] = value()
		}
		d.Encode64(data, x)
	}
	return safetensors.NamedData{Name: name, DType: d, Shape: shape, Data: data}
}

func writeTensors(ts *testscript.TestScript, path string, tensors []safetensors.NamedData) {
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o777))
	f, err := os.Create(path)
	ts.Check(err)
	ts.Check(safetensors.Write(f, tensors, map[string]string{"format": "pt"}))
	ts.Check(f.Close())
}

func writeJSON(ts *testscript.TestScript, path string, v any) {
	data, err := json.MarshalIndent(v, "", "  ")
	ts.Check(err)
	ts.Check(os.WriteFile(path, append(data, '\n'), 0o666))
}

// scriptTensors writes one file of any tensors:
//
//	mktensors FILE NAME:DTYPE:SHAPE[:VALUE]...
//
// SHAPE is such as 4x8, or empty for a scalar; VALUE fills the tensor (nan,
// inf, 0, 0.5; without it values are random, and zero for dtypes that are not
// floats).
func scriptTensors(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) >= 1, "mktensors FILE NAME:DTYPE:SHAPE[:VALUE]...")
	var tensors []safetensors.NamedData
	for _, spec := range args[1:] {
		tensors = append(tensors, parseTensor(ts, spec))
	}
	writeTensors(ts, ts.MkAbs(args[0]), tensors)
}

// parseTensor makes the tensor that NAME:DTYPE:SHAPE[:VALUE] describes.
func parseTensor(ts *testscript.TestScript, spec string) safetensors.NamedData {
	part := strings.Split(spec, ":")
	usage(ts, len(part) == 3 || len(part) == 4, "NAME:DTYPE:SHAPE[:VALUE]")
	d := settings{"dtype": part[1]}.dtype(ts)
	var shape []int
	for s := range strings.SplitSeq(part[2], "x") {
		if part[2] != "" {
			shape = append(shape, settings{"n": s}.int(ts, "n"))
		}
	}
	if len(part) == 3 {
		return normal(part[0], 1, 0.1, d, shape...)
	}
	value := settings{"x": part[3]}.float(ts, "x")
	return filled(part[0], func() float64 { return value }, d, shape...)
}

// scriptBase writes a small Llama checkpoint of random values:
//
//	mkbase DIR|FILE.safetensors [dtype=BF16] [layers=2] [hidden=16] [vocab=32]
//	       [shards=1] [tied=false] [quantized=METHOD] [seed=1]
func scriptBase(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) >= 1, "mkbase DIR|FILE.safetensors [KEY=VALUE]...")
	s := parseSettings(ts, args[1:], settings{"dtype": "BF16", "layers": "2", "hidden": "16", "vocab": "32", "shards": "1", "tied": "false", "quantized": "", "seed": "1"})
	hidden, vocab, layers := s.int(ts, "hidden"), s.int(ts, "vocab"), s.int(ts, "layers")
	var tensors []safetensors.NamedData
	add := func(name string, shape ...int) {
		tensors = append(tensors, normal(name, uint64(s.int(ts, "seed")), 0.05, s.dtype(ts), shape...))
	}
	add("model.embed_tokens.weight", vocab, hidden)
	for i := range layers {
		for name, shape := range llamaLinears(hidden) {
			add(fmt.Sprintf("model.layers.%d.%s.weight", i, name), shape[0], shape[1])
		}
		add(fmt.Sprintf("model.layers.%d.input_layernorm.weight", i), hidden)
		add(fmt.Sprintf("model.layers.%d.post_attention_layernorm.weight", i), hidden)
	}
	add("model.norm.weight", hidden)
	if s["tied"] != "true" {
		add("lm_head.weight", vocab, hidden)
	}
	path := ts.MkAbs(args[0])
	if strings.HasSuffix(path, ".safetensors") {
		writeTensors(ts, path, tensors)
		return
	}
	ts.Check(os.MkdirAll(path, 0o777))
	config := map[string]any{"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_size": hidden,
		"intermediate_size": 2 * hidden, "num_hidden_layers": layers, "vocab_size": vocab, "tie_word_embeddings": s["tied"] == "true", "dtype": "bfloat16"}
	if s["quantized"] != "" {
		config["quantization_config"] = map[string]any{"quant_method": s["quantized"]}
	}
	writeJSON(ts, filepath.Join(path, "config.json"), config)
	ts.Check(os.WriteFile(filepath.Join(path, "tokenizer.json"), []byte(`{"version": "1.0"}`+"\n"), 0o666))
	writeShards(ts, path, tensors, s.int(ts, "shards"))
}

// writeShards writes tensors as n files with an index, or as one without.
func writeShards(ts *testscript.TestScript, dir string, tensors []safetensors.NamedData, n int) {
	if n == 1 {
		writeTensors(ts, filepath.Join(dir, "model.safetensors"), tensors)
		return
	}
	weightMap, size := map[string]string{}, 0
	for i := range n {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, n)
		part := tensors[i*len(tensors)/n : (i+1)*len(tensors)/n]
		for _, t := range part {
			weightMap[t.Name] = name
			size += len(t.Data)
		}
		writeTensors(ts, filepath.Join(dir, name), part)
	}
	writeJSON(ts, filepath.Join(dir, "model.safetensors.index.json"), map[string]any{"metadata": map[string]any{"total_size": size}, "weight_map": weightMap})
}

// llamaLinears yields the linear modules of a layer with their [out, in], in
// the order of their names.
func llamaLinears(hidden int) func(func(string, [2]int) bool) {
	square, wide, narrow := [2]int{hidden, hidden}, [2]int{2 * hidden, hidden}, [2]int{hidden, 2 * hidden}
	shapes := map[string][2]int{
		"self_attn.q_proj": square, "self_attn.k_proj": square, "self_attn.v_proj": square, "self_attn.o_proj": square,
		"mlp.gate_proj": wide, "mlp.up_proj": wide, "mlp.down_proj": narrow,
	}
	return func(yield func(string, [2]int) bool) {
		for _, name := range slices.Sorted(maps.Keys(shapes)) {
			if !yield(name, shapes[name]) {
				return
			}
		}
	}
}

// scriptAdapter writes a PEFT adapter of random values for mkbase's model:
//
//	mkadapter DIR [r=4] [alpha=8] [targets=q_proj,v_proj] [layers=2] [hidden=16]
//	          [dtype=F32] [scale=0.05] [seed=2] [config={JSON}] [extra=SPEC,…]
//
// config's members go over the written config; extra adds tensors as
// NAME:DTYPE:SHAPE[:VALUE] of mktensors, without "base_model.model.".
func scriptAdapter(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) >= 1, "mkadapter DIR [KEY=VALUE]...")
	s := parseSettings(ts, args[1:], settings{"r": "4", "alpha": "8", "targets": "q_proj,v_proj", "layers": "2", "hidden": "16",
		"dtype": "F32", "scale": "0.05", "seed": "2", "config": "{}", "extra": ""})
	targets, rank := strings.Split(s["targets"], ","), s.int(ts, "r")
	var tensors []safetensors.NamedData
	add := func(name string, shape ...int) {
		tensors = append(tensors, normal("base_model.model."+name, uint64(s.int(ts, "seed")), s.float(ts, "scale"), s.dtype(ts), shape...))
	}
	for i := range s.int(ts, "layers") {
		for name, shape := range llamaLinears(s.int(ts, "hidden")) {
			if slices.Contains(targets, name[strings.IndexByte(name, '.')+1:]) {
				add(fmt.Sprintf("model.layers.%d.%s.lora_A.weight", i, name), rank, shape[1])
				add(fmt.Sprintf("model.layers.%d.%s.lora_B.weight", i, name), shape[0], rank)
			}
		}
	}
	dir := ts.MkAbs(args[0])
	path := filepath.Join(dir, "adapter_model.safetensors")
	for spec := range strings.SplitSeq(s["extra"], ",") {
		if spec != "" {
			tensors = append(tensors, parseTensor(ts, "base_model.model."+spec))
		}
	}
	writeTensors(ts, path, tensors)
	config := map[string]any{"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": s.float(ts, "alpha"),
		"target_modules": targets, "peft_version": "0.21.2", "base_model_name_or_path": "base"}
	ts.Check(json.Unmarshal([]byte(s["config"]), &config))
	writeJSON(ts, filepath.Join(dir, "adapter_config.json"), config)
}
