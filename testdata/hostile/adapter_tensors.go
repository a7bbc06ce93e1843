package hostile

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// widths are the bytes of twelve elements, enough for [4, 3], of every dtype
// that can be stored so.
var widths = map[string]int{
	"BOOL": 12, "F4": 6, "F6_E2M3": 9, "F6_E3M2": 9, "U8": 12, "I8": 12, "F8_E8M0": 12, "I16": 24, "U16": 24, "I32": 48, "U32": 48, "C64": 96, "I64": 96, "U64": 96,
	"F8_E5M2": 12, "F8_E4M3": 12, "F16": 24, "BF16": 24, "F32": 48, "F64": 96, "F8_E4M3FNUZ": 12, "F8_E5M2FNUZ": 12,
}

// factorCases break the weights file (AD008–AD026, AD031, AD046).
func factorCases() []Case {
	c := func(want, name string, fields map[string]any, tensors ...tensor) Case {
		return adapterCase(want, name, adapterFolder(config(fields), tensors...))
	}
	file := func(want, name string, files map[string]string) Case {
		files[configName] = config(nil)
		return adapterCase(want, name, adapterFiles(files))
	}
	shaped := func(a, b []int) []tensor {
		return []tensor{{name: "x.lora_A.weight", shape: a}, {name: "x.lora_B.weight", shape: b}}
	}
	x := pair("x")
	dora := map[string]any{"use_dora": true}
	magnitude := func(shape ...int) tensor {
		return tensor{name: "x.lora_magnitude_vector", shape: shape, bits: math.Float32bits(1)}
	}
	rows := func(shape ...int) tensor {
		return tensor{name: "e.token_adapter.trainable_tokens_delta", shape: shape}
	}
	tokens := func(indices any) map[string]any { return map[string]any{"trainable_token_indices": indices} }
	cases := []Case{
		file("AD008", "missing", map[string]string{}),
		file("AD009", "pickle", map[string]string{"adapter_model.bin": "\x80\x04\x95\x2d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x18touch /tmp/loratool_pwned\x85R."}),
		file("accept", "pickle_beside", map[string]string{"adapter_model.bin": "\x80\x02}", weightsName: string(encode(prefixed(pair("x"))))}),
		file("ST024", "adapter_pointer", map[string]string{weightsName: "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 600\n"}),
		file("ST024", "adapter_html", map[string]string{weightsName: "<!DOCTYPE html><html></html>"}),
		file("ST024", "adapter_gguf", map[string]string{weightsName: "GGUF\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}),
		file("ST016", "adapter_cut_short", map[string]string{weightsName: strings.TrimSuffix(string(encode(prefixed(pair("x")))), "\x3f")}),
		c("AD011", "a_alone", nil, x[0]),
		c("AD011", "b_alone", nil, x[1]),
		c("AD011", "embedding_a_alone", nil, tensor{name: "e.lora_embedding_A", shape: []int{2, 5}}),
		c("AD011", "embedding_a_linear_b", nil, tensor{name: "e.lora_embedding_A", shape: []int{2, 5}}, tensor{name: "e.lora_B.weight", shape: []int{3, 2}}),
		c("AD011", "magnitude_alone", dora, magnitude(4)),
		c("AD011", "lora_bias_missing", map[string]any{"lora_bias": true}, pair("x")...),
		c("AD012", "rank", map[string]any{"r": 3}, pair("x")...),
		c("AD012", "rank_pattern", map[string]any{"rank_pattern": map[string]int{"x": 4}}, pair("x")...),
		c("AD013", "inner", nil, shaped([]int{2, 3}, []int{4, 3})...),
		c("AD013", "transposed", nil, shaped([]int{3, 2}, []int{2, 4})...),
		c("AD014", "scalar", nil, shaped([]int{}, []int{})...),
		c("AD014", "vector", nil, shaped([]int{6}, []int{8})...),
		c("AD014", "six_dimensions", nil, shaped([]int{2, 3, 1, 1, 1, 1}, []int{4, 2, 1, 1, 1, 1})...),
		c("AD014", "mixed_dimensions", nil, shaped([]int{2, 3, 1, 1}, []int{4, 2})...),
		c("AD014", "kernel_of_b", nil, shaped([]int{2, 3, 2, 2}, []int{4, 2, 2, 2})...),
		c("AD017", "nan_in_a", nil, tensor{name: x[0].name, shape: x[0].shape, bits: 0x7fc00000}, x[1]),
		c("AD017", "infinite_in_b", nil, x[0], tensor{name: x[1].name, shape: x[1].shape, bits: 0x7f800000}),
		c("AD017", "signalling_nan", nil, tensor{name: x[0].name, shape: x[0].shape, bits: 0xff800001}, x[1]),
		c("unsupported", "bias_without_switch", nil, append(pair("x"), tensor{name: "x.lora_B.bias", shape: []int{4}})...),
		c("AD023", "two_spellings", nil, append(pair("x"), tensor{name: "x.lora_A.default.weight", shape: []int{2, 3}})...),
		c("AD023", "wrapped_spelling", nil, append(pair("x"), tensor{name: "_orig_mod.x.lora_A.weight", shape: []int{2, 3}})...),
		c("AD023", "without_prefix", nil, append(pair("x"), tensor{name: "=x.lora_A.weight", shape: []int{2, 3}})...),
		c("AD047", "two_adapters", nil, tensor{name: "x.lora_A.one.weight", shape: []int{2, 3}}, tensor{name: "x.lora_B.two.weight", shape: []int{4, 2}}),
		c("AD025", "empty_a", nil, shaped([]int{0}, []int{4, 2})...),
		c("AD025", "empty_dimension", nil, shaped([]int{2, 0}, []int{4, 2})...),
		c("AD025", "empty_b", nil, shaped([]int{2, 3}, []int{4, 0})...),
		c("AD026", "no_tensors", nil),
		c("unsupported", "magnitude_without_switch", nil, append(pair("x"), magnitude(4))...),
		c("AD031", "switch_without_magnitude", dora, pair("x")...),
		c("accept", "dora", dora, append(pair("x"), magnitude(4))...),
		c("AD027", "magnitude_length", dora, append(pair("x"), magnitude(3))...),
		c("AD027", "magnitude_empty", dora, append(pair("x"), magnitude(0))...),
		c("AD045", "magnitude_of_zero_row", dora, append([]tensor{{name: "y.lora_A.weight", shape: []int{2, 3}}, {name: "y.lora_B.weight", shape: []int{4, 2}}}, tensor{name: "y.lora_magnitude_vector", shape: []int{4}, bits: math.Float32bits(1)})...),
		c("AD046", "rows_without_indices", nil, rows(2, 3)),
		c("AD046", "rows_and_indices", tokens([]int{1}), rows(2, 3)),
		c("AD046", "rows_of_another_module", tokens(map[string][]int{"other": {1, 2}}), rows(2, 3)),
		c("AD027", "row_beyond", tokens([]int{1, 5}), rows(2, 3)),
		c("AD027", "row_huge", tokens([]int{1, 1 << 40}), rows(2, 3)),
		c("AD027", "rows_of_another_width", tokens([]int{1, 2}), rows(2, 4)),
		c("AD046", "row_twice", tokens([]int{1, 1}), rows(2, 3)),
		c("accept", "rows", tokens([]int{4, 0}), rows(2, 3)),
		c("unsupported", "kasa", nil, append(pair("x"), tensor{name: "x.lora_diag", shape: []int{2}})...),
		c("unsupported", "grouped_convolution", map[string]any{"r": 4}, shaped([]int{4, 6, 3}, []int{8, 2, 1})...),
		c("unsupported", "fused_layers", nil, shaped([]int{4, 3}, []int{8, 2, 1})...),
	}
	for _, d := range slices.Sorted(maps.Keys(widths)) {
		want := "AD015"
		switch d {
		case "F8_E5M2", "F8_E4M3", "F16", "BF16", "F32", "F64", "F8_E4M3FNUZ", "F8_E5M2FNUZ":
			want = "accept"
		}
		cases = append(cases, c(want, "factors_of_"+strings.ToLower(d), map[string]any{"r": 4},
			tensor{name: "x.lora_A.weight", shape: []int{4, 3}, dtype: d, bytes: widths[d]}, tensor{name: "x.lora_B.weight", shape: []int{4, 4}}))
	}
	return cases
}

// fitCases do not fit the base (AD027, AD028, AD045).
func fitCases() []Case {
	c := func(want, name string, fields map[string]any, tensors ...tensor) Case {
		return adapterCase(want, name, adapterFolder(config(fields), tensors...))
	}
	factors := func(path string, a, b []int, bits uint32) []tensor {
		return []tensor{{name: path + ".lora_A.weight", shape: a, bits: bits}, {name: path + ".lora_B.weight", shape: b, bits: bits}}
	}
	one := math.Float32bits(1)
	stack := map[string]any{"target_parameters": []string{"s.experts"}}
	return []Case{
		c("AD027", "wider", nil, factors("x", []int{2, 5}, []int{4, 2}, one)...),
		c("AD027", "taller", nil, factors("x", []int{2, 3}, []int{9, 2}, one)...),
		c("AD027", "linear_for_convolution", nil, factors("c", []int{2, 3}, []int{4, 2}, one)...),
		c("AD027", "convolution_for_linear", nil, factors("x", []int{2, 3, 1, 1}, []int{4, 2, 1, 1}, one)...),
		c("AD027", "kernel", nil, factors("c", []int{2, 3, 3, 3}, []int{4, 2, 1, 1}, one)...),
		c("accept", "convolution", nil, factors("c", []int{2, 3, 2, 2}, []int{4, 2, 1, 1}, one)...),
		c("AD027", "embedding", nil, tensor{name: "e.lora_embedding_A", shape: []int{2, 6}}, tensor{name: "e.lora_embedding_B", shape: []int{3, 2}}),
		c("AD012", "experts", stack, factors("s", []int{6, 3}, []int{4, 6}, one)...),
		c("AD027", "experts_width", stack, factors("s", []int{4, 5}, []int{4, 4}, one)...),
		c("AD027", "experts_odd", map[string]any{"r": 1, "target_parameters": []string{"s.experts"}}, factors("s", []int{3, 3}, []int{4, 3}, one)...),
		c("AD012", "experts_rank", map[string]any{"r": 1, "target_parameters": []string{"s.experts"}}, factors("s", []int{4, 3}, []int{4, 4}, one)...),
		c("accept", "experts", stack, factors("s", []int{4, 3}, []int{4, 4}, one)...),
		c("AD023", "experts_twice", stack, append(factors("s", []int{4, 3}, []int{4, 4}, one), factors("s.base_layer", []int{4, 3}, []int{4, 4}, one)...)...),
		c("AD028", "no_module", nil, factors("nowhere.to.be.found", []int{2, 3}, []int{4, 2}, one)...),
		c("AD028", "empty_path", nil, factors("", []int{2, 3}, []int{4, 2}, one)...),
		c("AD028", "dots", nil, factors("...x", []int{2, 3}, []int{4, 2}, one)...),
		c("AD028", "name_of_control_characters", nil, factors("x\x1b[31m\u202e\n", []int{2, 3}, []int{4, 2}, one)...),
		c("AD028", "long_name", nil, factors(strings.Repeat("x.", 50_000)+"x", []int{2, 3}, []int{4, 2}, one)...),
		c("AD028", "stray_tensor", nil, append(pair("x"), tensor{name: "z.inv_freq", shape: []int{4}})...),
		c("AD028", "new_head", map[string]any{"modules_to_save": []string{"score"}}, append(pair("x"), tensor{name: "score.weight", shape: []int{2, 3}})...),
		c("AD027", "replacement_shape", map[string]any{"modules_to_save": []string{"y"}}, append(pair("x"), tensor{name: "y.weight", shape: []int{3, 4}})...),
		c("AD028", "lora_bias_without_bias", map[string]any{"lora_bias": true}, append(pair("y"), tensor{name: "y.lora_B.bias", shape: []int{4}, bits: one})...),
		c("AD027", "lora_bias_shape", map[string]any{"lora_bias": true}, append(pair("x"), tensor{name: "x.lora_B.bias", shape: []int{3}})...),
		c("unsupported", "integers_of_base", nil, pair("i")...),
		c("error", "replaced_and_updated", map[string]any{"modules_to_save": []string{"x"}}, append(pair("x"), tensor{name: "x.weight", shape: []int{4, 3}})...),
		c("AD045", "overflow", nil, factors("x", []int{2, 3}, []int{4, 2}, math.Float32bits(0x1p100))...),
		c("AD045", "overflow_by_alpha", map[string]any{"lora_alpha": 1e300}, pair("x")...),
		c("AD045", "overflow_of_f16", map[string]any{"lora_alpha": 65520}, pair("h")...),
		c("accept", "largest_of_f16", map[string]any{"lora_alpha": 65504}, pair("h")...),
		c("accept", "subnormal_factors", nil, factors("x", []int{2, 3}, []int{4, 2}, 1)...),
	}
}

// bigAdapterCases cost a careless reader its memory or its time.
func bigAdapterCases() []Case {
	weights := string(encode(prefixed(pair("x"))))
	many := func(field, key string, n int) string {
		var b strings.Builder
		fmt.Fprintf(&b, `{"peft_type":"LORA","r":2,"lora_alpha":4,%q:{`, field)
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `"`+key+`":3`, i)
		}
		return b.String() + `}}`
	}
	c := func(want, name, config string) Case {
		return adapterCase(want, name, adapterFiles(map[string]string{configName: config, weightsName: weights}))
	}
	modules := func(n int, patterns string) func(string) (string, error) {
		return func(dir string) (string, error) {
			var tensors []tensor
			for i := range n {
				tensors = append(tensors, pair(fmt.Sprintf("layers.%d.x", i))...)
			}
			return adapterFiles(map[string]string{configName: patterns, weightsName: string(encode(prefixed(tensors)))})(dir)
		}
	}
	return []Case{
		adapterCase("AD002", "sparse_config", func(dir string) (string, error) {
			path, err := adapterFiles(map[string]string{configName: "{", weightsName: weights})(dir)
			if err != nil {
				return "", err
			}
			return path, os.Truncate(filepath.Join(path, configName), 64<<30)
		}),
		adapterCase("AD002", "config_is_a_device", func(dir string) (string, error) {
			path, err := adapterFiles(map[string]string{weightsName: weights})(dir)
			if err != nil {
				return "", err
			}
			return path, os.Symlink("/dev/zero", filepath.Join(path, configName))
		}),
		adapterCase("AD002", "config_is_a_folder", func(dir string) (string, error) {
			path, err := adapterFiles(map[string]string{weightsName: weights})(dir)
			if err != nil {
				return "", err
			}
			return path, os.Mkdir(filepath.Join(path, configName), 0o777)
		}),
		adapterCase("AD002", "config_is_a_pipe", func(dir string) (string, error) {
			path, err := adapterFiles(map[string]string{weightsName: weights})(dir)
			if err != nil {
				return "", err
			}
			pipe, err := fifo(path)
			if err != nil {
				return "", err
			}
			return path, os.Rename(pipe, filepath.Join(path, configName))
		}),
		c("AD002", "config_of_9_million_bytes", config(map[string]any{"x": strings.Repeat("x", 9_000_000)})),
		c("AD002", "patterns_300_000", many("rank_pattern", "y%d", 300_000)),
		c("accept", "patterns_of_names", many("rank_pattern", "y.%d.q_proj", 200_000)),
		c("accept", "patterns_of_choices", many("rank_pattern", "y.(a|b|c)%d", 5_000)),
		c("unsupported", "patterns_of_repeats", many("rank_pattern", "y%d((a{50}){10}){2}", 100_000)),
		c("unsupported", "pattern_of_repeats", config(map[string]any{"rank_pattern": map[string]int{"(((((((y{10}){10}){10}){10}){10}){10}){10}){10}": 2}})),
		{Name: "unsupported_patterns_times_modules", Want: "unsupported", Make: modules(20_000, many("alpha_pattern", "y.*%d", 20_000))},
		{Name: "ad028_modules_40_000", Want: "AD028", Big: true, Make: modules(40_000, config(nil))},
	}
}
