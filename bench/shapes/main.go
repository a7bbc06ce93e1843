// Command shapes writes synthetic checkpoints of real shapes, and PEFT
// adapters for them, to measure on.
//
// usage: shapes -shape 1b|1b-four|8b|8b-eight|mixtral -o DIR
//
// It writes DIR/base, DIR/adapter-all and DIR/adapter-qv; for a mixture of
// experts, whose adapter has the fused names of transformers 5, DIR/base and
// DIR/adapter-fused. Weights are BF16
// from N(0, 0.02), factors F32 such that ‖ΔW‖/‖W‖ is about 0.01.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
)

// A shape is a Llama of some layers, or a Mixtral if it has experts.
type shape struct {
	hidden, inner, kv, layers, vocab, shards int
	experts                                  int
}

// shapes: Llama-3.2-1B whole (2.5 GB), and eight of the 32 layers of
// Llama-3-8B with its embedding (4.5 GB); less of both to extract from: four
// layers of the one (0.6 GB), the same eight of the other (3.5 GB); and two of
// the 32 layers of Mixtral-8x7B (6.1 GB).
var shapes = map[string]shape{
	"1b":       {2048, 8192, 512, 16, 128256, 3, 0},
	"1b-four":  {2048, 8192, 512, 4, 32000, 1, 0},
	"8b":       {4096, 14336, 1024, 8, 128256, 4, 0},
	"8b-eight": {4096, 14336, 1024, 8, 256, 4, 0},
	"mixtral":  {4096, 14336, 1024, 2, 32000, 4, 8},
}

const rank = 16

func main() {
	name := flag.String("shape", "1b", "1b, 1b-four, 8b, 8b-eight or mixtral")
	out := flag.String("o", "", "folder to write")
	flag.Parse()
	s, ok := shapes[*name]
	if !ok || *out == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := s.write(*out); err != nil {
		log.Fatal(err)
	}
}

// linears are the linear layers of one layer, by their names on disk.
func (s shape) linears() map[string][2]int {
	all := map[string][2]int{
		"self_attn.q_proj": {s.hidden, s.hidden}, "self_attn.k_proj": {s.kv, s.hidden}, "self_attn.v_proj": {s.kv, s.hidden}, "self_attn.o_proj": {s.hidden, s.hidden},
	}
	mlp := map[string][2]int{"mlp.gate_proj": {s.inner, s.hidden}, "mlp.up_proj": {s.inner, s.hidden}, "mlp.down_proj": {s.hidden, s.inner}}
	if s.experts > 0 {
		mlp = map[string][2]int{"block_sparse_moe.gate": {s.experts, s.hidden}}
		for e := range s.experts {
			p := fmt.Sprintf("block_sparse_moe.experts.%d.", e)
			mlp[p+"w1"], mlp[p+"w3"], mlp[p+"w2"] = [2]int{s.inner, s.hidden}, [2]int{s.inner, s.hidden}, [2]int{s.hidden, s.inner}
		}
	}
	maps.Copy(all, mlp)
	return all
}

func (s shape) write(dir string) error {
	var all []safetensors.Spec
	add := func(name string, shape ...int) {
		all = append(all, safetensors.Spec{Name: name, DType: dtype.BF16, Shape: shape})
	}
	add("model.embed_tokens.weight", s.vocab, s.hidden)
	for i := range s.layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		linears := s.linears()
		for _, name := range slices.Sorted(maps.Keys(linears)) {
			add(p+name+".weight", linears[name][0], linears[name][1])
		}
		add(p+"input_layernorm.weight", s.hidden)
		add(p+"post_attention_layernorm.weight", s.hidden)
	}
	add("model.norm.weight", s.hidden)
	if err := s.writeBase(filepath.Join(dir, "base"), all); err != nil {
		return err
	}
	if s.experts > 0 {
		return s.writeFused(filepath.Join(dir, "adapter-fused"))
	}
	if err := s.writeAdapter(filepath.Join(dir, "adapter-all"), ""); err != nil {
		return err
	}
	return s.writeAdapter(filepath.Join(dir, "adapter-qv"), "qv")
}

func (s shape) writeBase(dir string, all []safetensors.Spec) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	weights := map[string]string{}
	total := int64(0)
	noise := normal(dtype.BF16, 0.02, 1<<20)
	for k := range s.shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", k+1, s.shards)
		part := all[len(all)*k/s.shards : len(all)*(k+1)/s.shards]
		h, err := safetensors.Build(part, []safetensors.Pair{{Key: "format", Value: "pt"}})
		if err != nil {
			return err
		}
		for _, t := range h.Tensors() {
			weights[t.Name] = name
		}
		total += h.DataSize()
		if err := writeNoise(filepath.Join(dir, name), h, noise); err != nil {
			return err
		}
	}
	index := map[string]any{"metadata": map[string]any{"total_size": total}, "weight_map": weights}
	if err := writeJSON(filepath.Join(dir, "model.safetensors.index.json"), index); err != nil {
		return err
	}
	class, model := "LlamaForCausalLM", "llama"
	if s.experts > 0 {
		class, model = "MixtralForCausalLM", "mixtral"
	}
	return writeJSON(filepath.Join(dir, "config.json"), map[string]any{
		"architectures": []string{class}, "model_type": model, "num_local_experts": s.experts, "hidden_size": s.hidden, "intermediate_size": s.inner, "num_hidden_layers": s.layers,
		"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": s.hidden / 32, "vocab_size": s.vocab, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
		"max_position_embeddings": 8192, "hidden_act": "silu", "tie_word_embeddings": true, "torch_dtype": "bfloat16",
	})
}

// writeNoise fills a file with the noise, from another place in each round.
func writeNoise(path string, h *safetensors.Header, noise []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	w.Write(h.Raw())
	for left, round := h.DataSize(), 0; left > 0; round++ {
		from := round * 2 * 7919 % (len(noise) / 2)
		n := min(left, int64(len(noise)-from))
		w.Write(noise[from : from+int(n)])
		left -= n
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

func (s shape) writeAdapter(dir, only string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	var tensors []safetensors.NamedData
	var targets []string
	for name, size := range s.linears() {
		short := name[strings.IndexByte(name, '.')+1:]
		if only != "" && !strings.Contains(only, short[:1]) {
			continue
		}
		targets = append(targets, short)
		for i := range s.layers {
			p := fmt.Sprintf("base_model.model.model.layers.%d.%s.", i, name)
			tensors = append(tensors,
				safetensors.NamedData{Name: p + "lora_A.weight", DType: dtype.F32, Shape: []int{rank, size[1]}, Data: normal(dtype.F32, 0.02, rank*size[1])},
				safetensors.NamedData{Name: p + "lora_B.weight", DType: dtype.F32, Shape: []int{size[0], rank}, Data: normal(dtype.F32, 0.00125, rank*size[0])})
		}
	}
	return writeTensors(dir, tensors, map[string]any{"target_modules": targets})
}

// writeFused writes an adapter of the attention and of the experts as
// transformers 5 has them in memory: two stacks in each layer.
func (s shape) writeFused(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	var tensors []safetensors.NamedData
	add := func(path string, experts, out, in int) {
		r := rank * experts
		tensors = append(tensors,
			safetensors.NamedData{Name: path + ".lora_A.weight", DType: dtype.F32, Shape: []int{r, in}, Data: normal(dtype.F32, 0.02, r*in)},
			safetensors.NamedData{Name: path + ".lora_B.weight", DType: dtype.F32, Shape: []int{out, r}, Data: normal(dtype.F32, 0.00125, r*out)})
	}
	for i := range s.layers {
		p := fmt.Sprintf("base_model.model.model.layers.%d.", i)
		for name, size := range s.linears() {
			if strings.HasPrefix(name, "self_attn.") {
				add(p+name, 1, size[0], size[1])
			}
		}
		add(p+"mlp.experts.base_layer", s.experts, 2*s.inner, s.hidden) // gate_up_proj
		add(p+"mlp.experts", s.experts, s.hidden, s.inner)              // down_proj
	}
	return writeTensors(dir, tensors, map[string]any{
		"target_modules": []string{"q_proj", "k_proj", "v_proj", "o_proj"}, "target_parameters": []string{"gate_up_proj", "down_proj"},
	})
}

func writeTensors(dir string, tensors []safetensors.NamedData, targets map[string]any) error {
	f, err := os.Create(filepath.Join(dir, "adapter_model.safetensors"))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := safetensors.Write(f, tensors, map[string]string{"format": "pt"}); err != nil {
		return err
	}
	config := map[string]any{"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "peft_version": "0.21.2", "task_type": "CAUSAL_LM", "lora_dropout": 0.0, "bias": "none"}
	maps.Copy(config, targets)
	return writeJSON(filepath.Join(dir, "adapter_config.json"), config)
}

func normal(d dtype.DType, sigma float64, n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * sigma)
	}
	b := make([]byte, n*d.Bits()/8)
	d.Encode32(b, x)
	return b
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o666)
}
