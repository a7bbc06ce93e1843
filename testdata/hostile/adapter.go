package hostile

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// Names in the folder that the adapter cases make: the path that Create
// returns is the adapter, and the base to merge it into lies beside it.
const (
	BaseName    = "base.safetensors"
	adapterName = "adapter"
	configName  = "adapter_config.json"
	weightsName = "adapter_model.safetensors"
	peftPrefix  = "base_model.model."
)

// A tensor is what a case writes into an adapter: float32 unless dtype says
// otherwise, every byte zero unless bits are given for all elements.
type tensor struct {
	name  string
	shape []int
	dtype string
	bits  uint32
	bytes int // of data, if dtype is given
}

// config returns a config of r 2 with the fields over it.
func config(fields map[string]any) string {
	c := map[string]any{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": []string{"x"}}
	maps.Copy(c, fields)
	data, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// encode lays tensors out as a file.
func encode(tensors []tensor) []byte {
	var entries []string
	var data []byte
	for _, t := range tensors {
		start, n := len(data), 1
		for _, d := range t.shape {
			n *= d
		}
		shape, err := json.Marshal(append([]int{}, t.shape...))
		if err != nil {
			panic(err)
		}
		if t.dtype == "" {
			t.dtype = "F32"
			for range n {
				data = append(data, byte(t.bits), byte(t.bits>>8), byte(t.bits>>16), byte(t.bits>>24))
			}
		} else {
			data = append(data, make([]byte, t.bytes)...)
		}
		name, err := json.Marshal(t.name)
		if err != nil {
			panic(err)
		}
		entries = append(entries, fmt.Sprintf(`%s:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, t.dtype, shape, start, len(data)))
	}
	return append(File(Object(entries...), 0), data...)
}

// base are the tensors of the base that the adapters are merged into.
func base() []byte {
	return encode([]tensor{
		{name: "x.weight", shape: []int{4, 3}, bits: math.Float32bits(1)}, {name: "x.bias", shape: []int{4}},
		{name: "y.weight", shape: []int{4, 3}}, {name: "e.weight", shape: []int{5, 3}}, {name: "c.weight", shape: []int{4, 3, 2, 2}},
		{name: "h.weight", dtype: "F16", shape: []int{4, 3}, bytes: 24}, {name: "i.weight", dtype: "I32", shape: []int{4, 3}, bytes: 48},
		{name: "s.experts", shape: []int{2, 4, 3}},
	})
}

// adapterFolder makes an adapter and the base beside it.
func adapterFolder(config string, tensors ...tensor) func(string) (string, error) {
	for i := range tensors {
		if !strings.HasPrefix(tensors[i].name, "=") {
			tensors[i].name = peftPrefix + tensors[i].name
		} else {
			tensors[i].name = tensors[i].name[1:]
		}
	}
	return adapterFiles(map[string]string{configName: config, weightsName: string(encode(tensors))})
}

// adapterFiles makes an adapter of any files and the base beside it.
func adapterFiles(files map[string]string) func(string) (string, error) {
	return func(dir string) (string, error) {
		path := filepath.Join(dir, adapterName)
		if err := os.MkdirAll(path, 0o777); err != nil {
			return "", err
		}
		if err := write(path, files); err != nil {
			return "", err
		}
		return path, os.WriteFile(filepath.Join(dir, BaseName), base(), 0o666)
	}
}

// pair is A and B of a module of the base, all ones.
func pair(module string) []tensor {
	return []tensor{{name: module + ".lora_A.weight", shape: []int{2, 3}, bits: math.Float32bits(1)}, {name: module + ".lora_B.weight", shape: []int{4, 2}, bits: math.Float32bits(1)}}
}

// AdapterCases are adapters, each for the base beside it; the verdict is that
// of merging the two.
func AdapterCases() []Case {
	cases := append(configCases(), factorCases()...)
	cases = append(cases, fitCases()...)
	return append(cases, bigAdapterCases()...)
}

func adapterCase(want, name string, make func(string) (string, error), warn ...string) Case {
	prefix := strings.ToLower(want)
	if want == "accept" {
		prefix = "adapter"
	}
	return Case{Name: prefix + "_" + name, Want: want, Warn: warn, Make: make}
}

// configCases break adapter_config.json (AD001–AD007, AD035, AD036).
func configCases() []Case {
	weights := string(encode(prefixed(pair("x"))))
	raw := func(want, name, text string, warn ...string) Case {
		return adapterCase(want, name, adapterFiles(map[string]string{configName: text, weightsName: weights}), warn...)
	}
	with := func(want, name, field string, v any, warn ...string) Case {
		return raw(want, name, config(map[string]any{field: v}), warn...)
	}
	plain := config(nil)
	return []Case{
		raw("accept", "plain", plain),
		raw("accept", "minimal", `{"peft_type":"LORA","r":2}`),
		adapterCase("AD001", "missing", adapterFiles(map[string]string{weightsName: weights})),
		adapterCase("AD001", "empty_folder", adapterFiles(nil)),
		adapterCase("AD001", "other_case", adapterFiles(map[string]string{"Adapter_Config.json": plain, weightsName: weights})),
		raw("AD002", "empty", ""),
		raw("AD002", "null", "null"),
		raw("AD002", "list", "["+plain+"]"),
		raw("AD002", "byte_order_mark", "\uFEFF"+plain),
		raw("AD002", "bad_utf8", `{"peft_type":"LORA","x":"`+"\xff"+`"}`),
		raw("AD002", "lone_surrogate", `{"peft_type":"LORA","x":"\ud800"}`),
		raw("AD002", "nan", `{"peft_type":"LORA","lora_alpha":NaN}`),
		raw("AD002", "infinity", `{"peft_type":"LORA","lora_alpha":-Infinity}`),
		raw("AD002", "trailing_comma", `{"peft_type":"LORA",}`),
		raw("AD002", "comment", `{"peft_type":"LORA" /* r */}`),
		raw("AD002", "bytes_behind", plain+"x"),
		raw("AD002", "key_twice", `{"peft_type":"LORA","r":2,"r":64}`),
		raw("AD002", "key_twice_by_escape", `{"peft_type":"LORA","r":2,"\u0072":64}`),
		raw("AD002", "pattern_twice", `{"peft_type":"LORA","r":2,"rank_pattern":{"a":1,"a":2}}`),
		raw("AD002", "deep", `{"peft_type":"LORA","x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`}`),
		raw("AD002", "deep_unclosed", `{"peft_type":"LORA","x":`+strings.Repeat(`{"a":`, 1_000_000)),
		raw("AD002", "pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 600\n"),
		raw("AD002", "html", "<!DOCTYPE html><html></html>"),
		with("AD003", "bias", "bias", "some"),
		with("AD003", "bias_list", "bias", []string{"all"}),
		with("AD003", "use_dora_number", "use_dora", 1),
		with("AD003", "use_rslora_string", "use_rslora", "true"),
		with("AD003", "fan_in_fan_out_null_list", "fan_in_fan_out", []any{}),
		with("AD003", "target_modules_number", "target_modules", 7),
		with("AD003", "target_modules_of_numbers", "target_modules", []int{1}),
		with("AD003", "modules_to_save_string", "modules_to_save", "head"),
		with("AD003", "target_parameters_string", "target_parameters", "x.weight"),
		with("AD003", "rank_pattern_list", "rank_pattern", []int{1}),
		with("AD003", "rank_pattern_zero", "rank_pattern", map[string]any{"x": 0}),
		with("AD003", "rank_pattern_fraction", "rank_pattern", map[string]any{"x": 2.5}),
		with("AD003", "rank_pattern_huge", "rank_pattern", map[string]any{"x": 1 << 40}),
		with("AD003", "alpha_pattern_string", "alpha_pattern", map[string]any{"x": "4"}),
		with("AD003", "init_number", "init_lora_weights", 3),
		with("AD003", "tokens_string", "trainable_token_indices", "all"),
		with("AD003", "tokens_negative", "trainable_token_indices", []int{-1}),
		with("AD003", "tokens_fraction", "trainable_token_indices", []float64{1.5}),
		with("AD003", "version_number", "peft_version", 0.21),
		with("AD004", "zero", "r", 0),
		with("AD004", "negative", "r", -8),
		with("AD004", "string", "r", "8"),
		with("AD004", "true", "r", true),
		raw("AD004", "fraction", `{"peft_type":"LORA","r":2.0}`),
		raw("AD004", "exponent", `{"peft_type":"LORA","r":2e0}`),
		raw("AD004", "above_64_bits", `{"peft_type":"LORA","r":18446744073709551618}`),
		with("AD004", "huge", "r", 1<<20+1),
		with("AD005", "string", "lora_alpha", "16"),
		raw("AD005", "overflow", `{"peft_type":"LORA","r":2,"lora_alpha":1e999}`),
		with("AD005", "list", "lora_alpha", []int{4}),
		raw("AD006", "missing", `{"r":2}`),
		with("AD006", "number", "peft_type", 1),
		with("AD006", "lower_case", "peft_type", "lora"),
		with("AD006", "unknown", "peft_type", "QUANTUM"),
		with("unsupported", "ia3", "peft_type", "IA3"),
		with("unsupported", "prompt_tuning", "peft_type", "PROMPT_TUNING"),
		with("unsupported", "pissa", "init_lora_weights", "pissa"),
		with("unsupported", "layer_replication", "layer_replication", [][]int{{0, 1}}),
		with("unsupported", "bdlora", "use_bdlora", map[string]any{"nblocks": 2}),
		with("unsupported", "unknown_switch", "use_frobnication", true),
		with("unsupported", "look_around", "rank_pattern", map[string]any{"(?!y)x": 2}),
		with("accept", "look_around_in_targets", "target_modules", `^(?!y)x$`),
		with("accept", "catastrophic_targets", "target_modules", `(a+)+$`),
		with("accept", "catastrophic_pattern", "rank_pattern", map[string]any{"((x+)+)+y": 5}),
		with("accept", "field_in_capitals", "R", 64, "AD035"),
		with("accept", "unknown_field", "frobnication", 64, "AD036"),
		with("accept", "null_fields", "rank_pattern", nil),
		with("accept", "alpha_zero", "lora_alpha", 0),
		with("accept", "alpha_negative", "lora_alpha", -3.5),
		with("accept", "alpha_tiny", "lora_alpha", 1e-320),
		with("accept", "megatron_core_gadget", "megatron_core", "os"),
	}
}

func prefixed(tensors []tensor) []tensor {
	for i := range tensors {
		tensors[i].name = peftPrefix + tensors[i].name
	}
	return tensors
}
