package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// A tensor is an entry of a file with its bytes.
type tensor struct {
	name, dtype string
	shape       []int
	data        []byte
}

// f32 makes a tensor of values that go on by a step, so that no two rows are
// the same.
func f32(name string, first, step float32, shape ...int) tensor {
	n := 1
	for _, d := range shape {
		n *= d
	}
	t := tensor{name: name, dtype: "F32", shape: append([]int{}, shape...)}
	for i := range n {
		t.data = binary.LittleEndian.AppendUint32(t.data, math.Float32bits(first+float32(i)*step))
	}
	return t
}

// bf16 makes a tensor of values of which bfloat16 holds each exactly.
func bf16(name string, first, step float32, shape ...int) tensor {
	t := f32(name, first, step, shape...)
	var half []byte
	for i := 0; i < len(t.data); i += 4 {
		half = append(half, t.data[i+2], t.data[i+3])
	}
	t.dtype, t.data = "BF16", half
	return t
}

// as gives a tensor another dtype of the same size.
func (t tensor) as(dtype string) tensor {
	t.dtype = dtype
	return t
}

// named renames a tensor.
func (t tensor) named(name string) tensor {
	t.name = name
	return t
}

// metadata are pairs of key and value.
type metadata [][2]string

var pt = metadata{{"format", "pt"}}

// with adds entries.
func (m metadata) with(pairs ...string) metadata {
	m = slices.Clone(m)
	for i := 0; i < len(pairs); i += 2 {
		m = append(m, [2]string{pairs[i], pairs[i+1]})
	}
	return m
}

// st makes a safetensors file of tensors in their order.
func st(m metadata, tensors ...tensor) []byte {
	var members []string
	if m != nil {
		var pairs []string
		for _, p := range m {
			pairs = append(pairs, quoted(p[0])+":"+quoted(p[1]))
		}
		members = append(members, `"__metadata__":{`+strings.Join(pairs, ",")+"}")
	}
	var data []byte
	for _, t := range tensors {
		members = append(members, entry(t.name, t.dtype, numbers(t.shape), numbers([]int{len(data), len(data) + len(t.data)})))
		data = append(data, t.data...)
	}
	header := object(members...)
	for (len(header)+8)%8 != 0 {
		header += " "
	}
	return file(header, data)
}

// file makes a file of any header.
func file(header string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func entry(name, dtype, shape, offsets string) string {
	return quoted(name) + `:{"dtype":"` + dtype + `","shape":` + shape + `,"data_offsets":` + offsets + `}`
}

func object(members ...string) string { return "{" + strings.Join(members, ",") + "}" }

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings have no errors
	}
	return string(b)
}

func numbers(list []int) string {
	return strings.ReplaceAll(fmt.Sprint(list), " ", ",")
}

// zeros are bytes of tensor data.
func zeros(n int) []byte { return make([]byte, n) }

// A config is adapter_config.json by field, with values as JSON.
type config map[string]string

// plain is the config of the plain adapter.
func plain() config {
	return config{
		"base_model_name_or_path": `"example/base"`, "peft_type": `"LORA"`, "task_type": "null", "r": "2", "lora_alpha": "4",
		"target_modules": `["q_proj"]`, "bias": `"none"`,
	}
}

// with sets fields; a value of "" removes one.
func (c config) with(pairs ...string) config {
	out := config{}
	maps.Copy(out, c)
	for i := 0; i < len(pairs); i += 2 {
		if out[pairs[i]] = pairs[i+1]; pairs[i+1] == "" {
			delete(out, pairs[i])
		}
	}
	return out
}

func (c config) bytes() []byte {
	var members []string
	for k, v := range c {
		members = append(members, "  "+quoted(k)+": "+v)
	}
	slices.Sort(members)
	return []byte("{\n" + strings.Join(members, ",\n") + "\n}\n")
}

const prefix = "base_model.model."

// pair makes the factors of a module with rank r of a weight [out, in].
func pair(path string, r, in, out int) []tensor {
	return []tensor{
		f32(prefix+path+".lora_A.weight", 0.5, 0.25, r, in),
		f32(prefix+path+".lora_B.weight", -0.5, 0.125, out, r),
	}
}

// q is the module of the plain adapter.
const q = "model.layers.0.self_attn.q_proj"

// attn is a module of GPT-2.
const attn = "transformer.h.0.attn.c_attn"

func factors() []tensor { return pair(q, 2, 4, 3) }

// folder is an adapter folder.
func folder(c config, m metadata, tensors ...tensor) map[string][]byte {
	return map[string][]byte{"adapter/adapter_config.json": c.bytes(), "adapter/adapter_model.safetensors": st(m, tensors...)}
}

// also joins files.
func also(sets ...map[string][]byte) map[string][]byte {
	all := map[string][]byte{}
	for _, s := range sets {
		maps.Copy(all, s)
	}
	return all
}

// base is a checkpoint of one file.
func base(c string, tensors ...tensor) map[string][]byte {
	files := map[string][]byte{"base/model.safetensors": st(pt, tensors...)}
	if c != "" {
		files["base/config.json"] = []byte(c + "\n")
	}
	return files
}

// weight is the tensor of the base that the plain adapter adapts.
func weight() tensor { return f32(q+".weight", -1, 0.5, 3, 4) }
