package dialect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/mmap"
	"github.com/loratool/loratool/internal/publish"
	"github.com/loratool/loratool/internal/strictjson"
)

// WriteOptions say how WritePEFT writes. The zero value writes an adapter that
// has no config yet.
type WriteOptions struct {
	// Config is an adapter_config.json to start from. Its fields are kept, known
	// or not, except those that would contradict the adapter: ranks, alphas and
	// switches are kept where they give every module the values it has.
	Config []byte
	// KeepTargets keeps target_modules and the fields that narrow it as Config
	// has them: for an adapter that has the modules of Config's, all of them.
	KeepTargets bool
	// Others names parameters of the base, as they are in memory, that have no
	// factors: no short name in target_modules or target_parameters means one.
	Others []string
	// PlainInit says that the adapter is relative to the base as it is, whatever
	// initialisation Config has.
	PlainInit bool
	// NewRanks writes r, lora_alpha and their patterns anew, so that the patterns
	// have no key where all modules have one rank and alpha.
	NewRanks bool
	// From is the adapter that is rewritten, if one is: what its header and its
	// folder hold beside the factors is kept.
	From *File
	// Metadata goes into the header of the weights, beside PEFT's "format".
	Metadata map[string]string
	// Same, if set, is the open adapter that the adapter still is: its two files
	// are written as they are, and what lies beside them.
	Same *File
	// Inputs are files and folders that the output must not touch.
	Inputs []string
	Force  bool // replace an adapter that exists
}

// WritePEFT writes a as a PEFT adapter: a folder with adapter_config.json and
// adapter_model.safetensors that appears complete or not at all. What PEFT's
// config cannot say, such as a magnitude for some modules only, is a
// *rule.Unsupported.
func WritePEFT(path string, a *adapter.Adapter, o WriteOptions) error {
	if o.Same != nil {
		return writeFolder(path, o, o.Same.Adapter, o.Same.Config, func(w io.Writer) error { _, err := w.Write(o.Same.Weights.Mapped()); return err })
	}
	config, err := peftConfigFor(a, o)
	if err != nil {
		return err
	}
	tensors, err := peftTensors(a)
	if err != nil {
		return err
	}
	metadata := map[string]string{}
	if o.From != nil {
		metadata = kept(o.From)
	}
	metadata["format"] = "pt"
	maps.Copy(metadata, o.Metadata)
	text := append(config.AppendIndent(nil, "  "), '\n')
	return writeFolder(path, o, a, text, func(w io.Writer) error { return safetensors.Write(w, tensors, metadata) })
}

// writeFolder writes the two files of an adapter.
func writeFolder(path string, o WriteOptions, a *adapter.Adapter, config []byte, weights func(io.Writer) error) error {
	if err := publish.Alias(path, o.Inputs...); err != nil {
		return err
	}
	d, err := publish.CreateDir(path, o.Force)
	if err != nil {
		return err
	}
	defer d.Abort()
	if from := cmp.Or(o.From, o.Same); from != nil {
		folder, name := filepath.Split(from.Weights.Path())
		if err := CopyBeside(context.Background(), d, filepath.Clean(folder), name, WeightsName, ConfigName); err != nil {
			return err
		}
	}
	if err := writeMember(d, WeightsName, weights); err != nil {
		return err
	}
	if err := writeMember(d, ConfigName, func(w io.Writer) error { _, err := w.Write(config); return err }); err != nil {
		return err
	}
	if err := a.Unchanged(); err != nil {
		return err
	}
	return d.Commit()
}

// writeMember writes one file of a folder.
func writeMember(d *publish.Dir, name string, write func(io.Writer) error) error {
	f, err := d.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	n := counter{f: f}
	guard := mmap.Guard(func() { err = write(&n) }) // tensors are views of mapped files
	if err := errors.Join(guard, err); err != nil {
		return err
	}
	d.Expect(name, n.bytes)
	return f.Close()
}

// A counter counts what it writes, for the check of the length on disk.
type counter struct {
	f     *os.File
	bytes int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.f.Write(b)
	c.bytes += int64(n)
	return n, err
}

// peftTensors gives every tensor of the adapter the name that PEFT's
// save_pretrained gives it (src/peft/utils/save_and_load.py).
func peftTensors(a *adapter.Adapter) (out []safetensors.NamedData, err error) {
	add := func(name string, t adapter.Tensor) {
		out = append(out, safetensors.NamedData{Name: peftPrefix + name, DType: t.DType, Shape: t.Shape, Data: t.Bytes})
	}
	adapted := map[string]bool{}
	for _, m := range a.Modules {
		adapted[m.Path] = true
		key, A, B := peftModuleKey(m), "lora_A.weight", "lora_B.weight"
		if m.Kind == adapter.Embedding {
			A, B = "lora_embedding_A", "lora_embedding_B"
		}
		add(key+"."+A, m.A)
		add(key+"."+B, m.B)
		if m.Magnitude != nil {
			add(key+".lora_magnitude_vector", *m.Magnitude)
		}
		if m.Bias != nil {
			add(key+".lora_B.bias", *m.Bias)
		}
	}
	for _, r := range a.Replacements {
		name := r.Name
		if path, ok := strings.CutSuffix(name, ".bias"); ok && r.Reason == "bias" && adapted[path] {
			name = path + ".base_layer.bias"
		}
		add(name, r.Value)
	}
	for _, t := range a.Tokens {
		add(t.Path+".token_adapter.trainable_tokens_delta", t.Rows)
	}
	return out, peftDistinct(a, out)
}

// peftDistinct refuses two tensors of one name, such as two parameters of one
// module whose nesting is not said.
func peftDistinct(a *adapter.Adapter, tensors []safetensors.NamedData) error {
	seen := map[string]bool{}
	for _, t := range tensors {
		if seen[t.Name] {
			return fault(a, "AD023", t.Name, "two parts of the adapter have this name")
		}
		seen[t.Name] = true
	}
	return nil
}

// peftModuleKey is the path under which PEFT stores the factors of a module:
// its wrappers of parameters nest, and those of torch's MultiheadAttention
// hold out_proj in their base layer.
func peftModuleKey(m *adapter.Module) string {
	if path, ok := strings.CutSuffix(m.Path, ".out_proj"); ok && m.Multiplicity == 2 {
		return path + ".base_layer.out_proj"
	}
	return m.Path + strings.Repeat(".base_layer", m.Depth)
}

func unsupported(a *adapter.Adapter, hint, format string, args ...any) error {
	return &rule.Unsupported{File: a.Source, What: fmt.Sprintf(format, args...), Hint: hint}
}

// setField sets a member of an object, in its place if it is there.
func setField(v *strictjson.Value, name string, x strictjson.Value) {
	for i := range v.Members {
		if v.Members[i].Name == name {
			v.Members[i].Value = x
			return
		}
	}
	v.Members = append(v.Members, strictjson.Member{Name: name, Value: x})
}
