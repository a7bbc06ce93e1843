//go:build fault

package fault

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// tempName matches the names that a killed merge may leave.
var tempName = regexp.MustCompile(`^\.loratool-[0-9]+-[0-9a-f]{16}\.(tmp|old-out)$`)

// The base is a small Llama of 4 layers in bfloat16, 111 MB, which takes long
// enough to merge that random moments hit every stage.
const (
	layers = 4
	dim    = 1024
	inner  = 2816
	vocab  = 4096
	rank   = 8
)

// A tensor is a name, a shape and, by the file it is in, a dtype.
type tensor struct {
	name  string
	shape [2]int
}

var modules = []tensor{
	{"self_attn.q_proj", [2]int{dim, dim}},
	{"self_attn.k_proj", [2]int{dim, dim}},
	{"self_attn.v_proj", [2]int{dim, dim}},
	{"self_attn.o_proj", [2]int{dim, dim}},
	{"mlp.gate_proj", [2]int{inner, dim}},
	{"mlp.up_proj", [2]int{inner, dim}},
	{"mlp.down_proj", [2]int{dim, inner}},
}

// targets are the modules that the adapter changes.
var targets = []string{"q_proj", "v_proj", "down_proj"}

// writeInputs writes base.safetensors, the sharded folder base and the folder
// adapter.
func writeInputs(t *testing.T, root string) {
	t.Helper()
	embed := []tensor{{"model.embed_tokens.weight", [2]int{vocab, dim}}}
	shards := [][]tensor{embed, nil, nil}
	var factors []tensor
	for i := range layers {
		for _, m := range modules {
			path := fmt.Sprintf("model.layers.%d.%s", i, m.name)
			shards[1+i%2] = append(shards[1+i%2], tensor{path + ".weight", m.shape})
			if _, short, _ := strings.Cut(m.name, "."); slices.Contains(targets, short) {
				factors = append(factors,
					tensor{"base_model.model." + path + ".lora_A.weight", [2]int{rank, m.shape[1]}},
					tensor{"base_model.model." + path + ".lora_B.weight", [2]int{m.shape[0], rank}})
			}
		}
	}
	base, adapter := filepath.Join(root, "base"), filepath.Join(root, "adapter")
	must(t, os.Mkdir(base, 0o777), os.Mkdir(adapter, 0o777))
	var all []tensor
	weightMap := map[string]string{}
	for i, shard := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		writeSafetensors(t, filepath.Join(base, name), "BF16", shard)
		for _, s := range shard {
			weightMap[s.name] = name
		}
		all = append(all, shard...)
	}
	writeSafetensors(t, filepath.Join(root, "base.safetensors"), "BF16", all)
	writeJSON(t, filepath.Join(base, "model.safetensors.index.json"), map[string]any{
		"metadata": map[string]any{"total_size": byteSize("BF16", all)}, "weight_map": weightMap,
	})
	writeJSON(t, filepath.Join(base, "config.json"), map[string]any{
		"model_type": "llama", "architectures": []string{"LlamaForCausalLM"}, "torch_dtype": "bfloat16",
		"hidden_size": dim, "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": vocab,
		"num_attention_heads": 8, "num_key_value_heads": 8, "tie_word_embeddings": true,
	})
	writeSafetensors(t, filepath.Join(adapter, "adapter_model.safetensors"), "F32", factors)
	writeJSON(t, filepath.Join(adapter, "adapter_config.json"), map[string]any{
		"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "base", "r": rank,
		"lora_alpha": 16, "target_modules": targets, "bias": "none", "fan_in_fan_out": false,
	})
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func writeJSON(t *testing.T, path string, v any) {
	t.Helper()
	data, err := json.MarshalIndent(v, "", "  ")
	must(t, err, os.WriteFile(path, data, 0o666))
}

// bytesPer is the size of an element.
var bytesPer = map[string]int{"BF16": 2, "F32": 4}

func byteSize(dtype string, tensors []tensor) (n int) {
	for _, s := range tensors {
		n += s.shape[0] * s.shape[1] * bytesPer[dtype]
	}
	return n
}

// writeSafetensors writes a file by hand: length, header, values of small
// magnitude and random sign and mantissa.
func writeSafetensors(t *testing.T, path, dtype string, tensors []tensor) {
	t.Helper()
	var header bytes.Buffer
	header.WriteString(`{"__metadata__":{"format":"pt"}`)
	at := 0
	for _, s := range tensors {
		end := at + byteSize(dtype, []tensor{s})
		fmt.Fprintf(&header, `,%q:{"dtype":%q,"shape":[%d,%d],"data_offsets":[%d,%d]}`, s.name, dtype, s.shape[0], s.shape[1], at, end)
		at = end
	}
	header.WriteByte('}')
	for header.Len()%8 != 0 {
		header.WriteByte(' ')
	}
	data := binary.LittleEndian.AppendUint64(nil, uint64(header.Len()))
	data = append(data, header.Bytes()...)
	// BF16: exponents of 2^-7 and 2^-6; F32: those of 2^-5 and 2^-4.
	keep, set := uint64(0x80FF80FF80FF80FF), uint64(0x3C003C003C003C00)
	if dtype == "F32" {
		keep, set = 0x80FFFFFF80FFFFFF, 0x3D0000003D000000
	}
	rng := rand.New(rand.NewPCG(uint64(at), 7))
	for range at / 8 {
		data = binary.LittleEndian.AppendUint64(data, rng.Uint64()&keep|set)
	}
	must(t, os.WriteFile(path, data, 0o666))
}

// digest returns the sha256 of a file, or of the names and files of a folder,
// or nothing if nothing is there.
func digest(t *testing.T, path string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(path, func(p string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q\n", rel)
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(h, f)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	must(t, err)
	return hex.EncodeToString(h.Sum(nil))
}

// names lists a folder.
func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}
