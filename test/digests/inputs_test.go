//go:build digests

package digests

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
)

// A merging is one command line: a base, adapters and flags.
type merging struct {
	out, base string
	adapters  []string
	flags     []string
	undo      bool // with a record, and unmerged again
}

func (m merging) arguments(in, out string) []string {
	args := []string{"merge", filepath.Join(in, m.base)}
	for _, a := range m.adapters {
		args = append(args, filepath.Join(in, a))
	}
	args = append(append(args, "-o", filepath.Join(out, m.out)), m.flags...)
	if m.undo {
		args = append(args, "--record", filepath.Join(out, m.out+".rec"))
	}
	return args
}

// restored is where undo restores the base.
func (m merging) restored(out string) string { return filepath.Join(out, "base-of-"+m.out) }

// undoing are the arguments that take the adapters out again.
func (m merging) undoing(in, out string) []string {
	args := []string{"unmerge", filepath.Join(out, m.out)}
	for _, a := range m.adapters {
		args = append(args, filepath.Join(in, a))
	}
	return append(args, "-o", m.restored(out), "--record", filepath.Join(out, m.out+".rec"))
}

// inputs makes random tensors.
type inputs struct {
	t *testing.T
	r *rand.Rand
}

func (in inputs) tensor(name string, d dtype.DType, scale float64, shape ...int) safetensors.NamedData {
	n := 1
	for _, s := range shape {
		n *= s
	}
	x, data := make([]float64, n), make([]byte, n*d.Bits()/8)
	for i := range x {
		x[i] = in.r.NormFloat64() * scale
	}
	d.Encode64(data, x)
	return safetensors.NamedData{Name: name, DType: d, Shape: shape, Data: data}
}

func (in inputs) write(path string, tensors []safetensors.NamedData) {
	in.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		in.t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		in.t.Fatal(err)
	}
	defer f.Close()
	if err := safetensors.Write(f, tensors, map[string]string{"format": "pt"}); err != nil {
		in.t.Fatal(err)
	}
}

func (in inputs) adapter(dir string, config map[string]any, tensors []safetensors.NamedData) {
	in.t.Helper()
	for i := range tensors {
		tensors[i].Name = "base_model.model." + tensors[i].Name
	}
	in.write(filepath.Join(dir, "adapter_model.safetensors"), tensors)
	config["peft_type"], config["peft_version"] = "LORA", "0.21.2"
	data, err := json.Marshal(config)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "adapter_config.json"), data, 0o666)
	}
	if err != nil {
		in.t.Fatal(err)
	}
}

// linears are the matrices of the base: every dtype, sizes that are no
// multiple of a kernel's tile, and one that is cut into several chunks.
var linears = []struct {
	name    string
	d       dtype.DType
	out, in int
}{
	{"bf16", dtype.BF16, 1500, 2311}, {"f16", dtype.F16, 517, 1031}, {"f32", dtype.F32, 1201, 1003}, {"f64", dtype.F64, 131, 257},
	{"e4m3", dtype.F8_E4M3, 300, 515}, {"e5m2", dtype.F8_E5M2, 123, 700}, {"thin", dtype.BF16, 1, 4099}, {"tall", dtype.BF16, 4099, 1},
}

// writeInputs writes a base of every kind of layer and dtype and adapters for
// it, and says which merges to run.
func writeInputs(t *testing.T, dir string) []merging {
	t.Helper()
	in := inputs{t, rand.New(rand.NewPCG(1, 2))}
	var base []safetensors.NamedData
	for _, l := range linears {
		base = append(base, in.tensor("l."+l.name+".weight", l.d, 0.05, l.out, l.in))
	}
	base = append(base,
		in.tensor("tokens.weight", dtype.BF16, 0.05, 701, 97), in.tensor("conv.weight", dtype.F16, 0.1, 65, 33, 3, 3),
		in.tensor("x.down_proj", dtype.BF16, 0.05, 5, 96, 211), in.tensor("x.gate_up_proj", dtype.F32, 0.05, 5, 130, 96))
	in.write(filepath.Join(dir, "base", "model.safetensors"), base)

	in.adapter(filepath.Join(dir, "plain"), map[string]any{"r": 16, "lora_alpha": 23, "target_parameters": []string{"x.down_proj", "x.gate_up_proj"}}, in.everything(16, dtype.F32))
	in.adapter(filepath.Join(dir, "rs"), map[string]any{"r": 33, "lora_alpha": 5, "use_rslora": true}, in.factors(33, dtype.BF16))
	dora := in.factors(7, dtype.F32)
	for _, l := range linears {
		m := in.tensor("l."+l.name+".lora_magnitude_vector", dtype.F32, 0.1, l.out)
		for i := range m.Data {
			if i%4 == 3 {
				m.Data[i] &= 0x7f // a magnitude is a norm
			}
		}
		dora = append(dora, m)
	}
	in.adapter(filepath.Join(dir, "dora"), map[string]any{"r": 7, "lora_alpha": 14, "use_dora": true}, dora)
	return []merging{
		{"plain", "base", []string{"plain"}, nil, true},
		{"two", "base", []string{"plain=0.7", "rs=-1.3"}, []string{"--max-shard-size", "3MB"}, false},
		{"dora", "base", []string{"dora"}, nil, false},
		{"stochastic", "base", []string{"plain", "rs=0.01"}, []string{"--rounding", "stochastic", "--seed", "7"}, true},
		{"dora-stochastic", "base", []string{"dora"}, []string{"--rounding", "stochastic"}, false},
		{"narrow", "base", []string{"rs"}, []string{"--dtype", "bf16"}, false},
		{"wide.safetensors", "base/model.safetensors", []string{"rs"}, []string{"--dtype", "f32"}, false},
	}
}

// adapterCommands make adapters of adapters.
var adapterCommands = []adapterCommand{
	{"reranked", "rerank", []string{"plain"}, []string{"--rank", "5"}},
	{"reranked-energy", "rerank", []string{"rs"}, []string{"--rank", "energy=0.8", "--dtype", "f32"}},
	{"reranked-auto", "rerank", []string{"plain"}, []string{"--rank", "auto", "--dtype", "bf16"}},
	{"sum", "compose", []string{"plain=0.7", "rs=-1.3"}, nil},
	{"svd", "compose", []string{"plain=0.7", "rs=-1.3"}, []string{"--method", "svd", "--rank", "12"}},
	{"ties", "compose", []string{"plain=0.7", "rs=-1.3"}, []string{"--method", "ties", "--density", "0.3", "--rank", "8", "--skip", "l.bf16", "--skip", "l.f32"}},
	{"dare", "compose", []string{"plain=0.7", "rs=-1.3"}, []string{"--method", "dare_ties", "--dialect", "mergekit", "--density", "0.5", "--rank", "8", "--skip", "l.bf16", "--skip", "l.f32"}},
	{"knots", "compose", []string{"plain=0.7", "rs=-1.3"}, []string{"--method", "knots", "--density", "0.3"}},
	{"core", "compose", []string{"plain=0.7", "rs=-1.3"}, []string{"--method", "core-ties", "--density", "0.3"}},
}

// An adapterCommand is one command line whose arguments are adapters.
type adapterCommand struct {
	out, command string
	adapters     []string
	flags        []string
}

func (c adapterCommand) arguments(in, out string) []string {
	args := []string{c.command}
	for _, a := range c.adapters {
		args = append(args, filepath.Join(in, a))
	}
	return append(append(args, "-o", filepath.Join(out, c.out)), c.flags...)
}

// factors makes A and B of every linear.
func (in inputs) factors(rank int, d dtype.DType) (tensors []safetensors.NamedData) {
	for _, l := range linears {
		tensors = append(tensors, in.tensor("l."+l.name+".lora_A.weight", d, 0.05, rank, l.in), in.tensor("l."+l.name+".lora_B.weight", d, 0.05, l.out, rank))
	}
	return tensors
}

// everything adds the embedding, the convolution and the experts.
func (in inputs) everything(rank int, d dtype.DType) []safetensors.NamedData {
	return append(in.factors(rank, d),
		in.tensor("tokens.lora_embedding_A", d, 0.1, rank, 701), in.tensor("tokens.lora_embedding_B", d, 0.1, 97, rank),
		in.tensor("conv.lora_A.weight", d, 0.1, rank, 33, 3, 3), in.tensor("conv.lora_B.weight", d, 0.1, 65, rank, 1, 1),
		in.tensor("x.base_layer.lora_A.weight", d, 0.1, 5*rank, 211), in.tensor("x.base_layer.lora_B.weight", d, 0.1, 96, 5*rank),
		in.tensor("x.lora_A.weight", d, 0.1, 5*rank, 96), in.tensor("x.lora_B.weight", d, 0.1, 130, 5*rank))
}
