package dialect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/publish"
	"github.com/loratool/loratool/internal/strictjson"
)

// Names of the two files of what `loratool train` writes for methods other
// than LoRA. They are not PEFT's, so that no program takes one for the other.
const (
	TrainedConfigName  = "trained_config.json"
	TrainedWeightsName = "trained_weights.safetensors"
)

// A Trained is the outcome of a method other than LoRA: "ft" and "bitfit" hold
// tensors of the base with new values, the others what no base has.
type Trained struct {
	Method   string
	Base     string         // name of the base it was made for, or ""
	Settings map[string]int // sizes that the method needs
	Tied     string         // the tensor that is the head too, or ""
	Tensors  []adapter.Tensor
}

// tiedHead is the name of the head that another tensor stands for.
const tiedHead = "lm_head.weight"

// trainedMethods says of each method why its tensors can take the place of
// the base's, or "" and why not.
var trainedMethods = map[string]struct{ reason, refusal string }{
	"ft":       {reason: "fine-tuned"},
	"bitfit":   {reason: "bias"},
	"preembed": {refusal: "merging a prefix of trained embeddings (method preembed)"},
	"prelayer": {refusal: "merging a prefix of trained activations (method prelayer)"},
	"adapterh": {refusal: "merging bottleneck adapters (method adapterh)"},
}

// IsTrained reports whether path is a folder that WriteTrained wrote.
func IsTrained(path string) bool {
	info, err := os.Stat(filepath.Join(path, TrainedConfigName))
	return err == nil && info.Mode().IsRegular()
}

// WriteTrained writes t as a folder that appears complete or not at all.
func WriteTrained(path string, t *Trained, o WriteOptions) error {
	if _, ok := trainedMethods[t.Method]; !ok {
		return fmt.Errorf("method %q has no form of its own", t.Method)
	}
	if err := publish.Alias(path, o.Inputs...); err != nil {
		return err
	}
	d, err := publish.CreateDir(path, o.Force)
	if err != nil {
		return err
	}
	defer d.Abort()
	var list []safetensors.NamedData
	for _, x := range t.Tensors {
		list = append(list, safetensors.NamedData{Name: x.Name, DType: x.DType, Shape: x.Shape, Data: x.Bytes})
	}
	if err := writeMember(d, TrainedWeightsName, func(w io.Writer) error { return safetensors.Write(w, list, o.Metadata) }); err != nil {
		return err
	}
	config := append(t.config().AppendIndent(nil, "  "), '\n')
	if err := writeMember(d, TrainedConfigName, func(w io.Writer) error { _, err := w.Write(config); return err }); err != nil {
		return err
	}
	return d.Commit()
}

func (t *Trained) config() strictjson.Value {
	v := strictjson.Value{Kind: strictjson.Object}
	setField(&v, "loratool_trained", jsonNumber(1))
	setField(&v, "method", jsonString(t.Method))
	setField(&v, "base_model_name_or_path", jsonString(t.Base))
	if t.Tied != "" {
		setField(&v, "tied", jsonString(t.Tied))
	}
	for _, name := range slices.Sorted(maps.Keys(t.Settings)) {
		setField(&v, name, jsonNumber(float64(t.Settings[name])))
	}
	return v
}

// OpenTrained opens a folder that WriteTrained wrote. What cannot be merged
// has a refusal; Trained of the file has all of it.
func OpenTrained(path string) (*File, error) {
	name := filepath.Join(path, TrainedConfigName)
	config, err := readRegular(name)
	if err != nil {
		return nil, err
	}
	t, err := parseTrained(name, config)
	if err != nil {
		return nil, err
	}
	weights, err := safetensors.Open(filepath.Join(path, TrainedWeightsName))
	if err != nil {
		return nil, err
	}
	a := &adapter.Adapter{Source: path, Dialect: "loratool", Type: t.Method, Base: t.Base, Files: []*safetensors.File{weights}}
	kind := trainedMethods[t.Method]
	for _, x := range weights.Header().Tensors() {
		v := adapter.Tensor{Name: x.Name, DType: x.DType, Shape: x.Shape, Bytes: weights.Bytes(x)}
		t.Tensors = append(t.Tensors, v)
		if kind.reason != "" {
			a.Replacements = append(a.Replacements, adapter.Replacement{Name: x.Name, Reason: kind.reason, Value: v})
			if x.Name == t.Tied {
				a.Replacements = append(a.Replacements, adapter.Replacement{Name: tiedHead, Reason: kind.reason, Value: v})
			}
		}
	}
	if kind.refusal != "" {
		a.Refusals = append(a.Refusals, &rule.Unsupported{File: path, What: kind.refusal, Hint: "it works beside the base only: loratool generate BASE ADAPTER"})
	}
	return &File{Adapter: a, Weights: weights, Config: config, Trained: t}, nil
}

// maxTrainedConfig bounds the config, which has some five members.
const maxTrainedConfig = 1 << 16

func readRegular(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > maxTrainedConfig:
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a small regular file")}
	}
	return os.ReadFile(name)
}

func parseTrained(name string, config []byte) (*Trained, error) {
	v, err := strictjson.Decode(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", rule.Printable(name), err)
	}
	t := &Trained{Settings: map[string]int{}}
	for _, m := range v.Members {
		switch {
		case m.Name == "loratool_trained":
			if m.Value.Text != "1" {
				return nil, &rule.Unsupported{File: name, What: "version " + strconv.QuoteToASCII(m.Value.Text) + " of loratool_trained"}
			}
		case m.Name == "method":
			t.Method = m.Value.Text
		case m.Name == "tied":
			t.Tied = m.Value.Text
		case m.Name == "base_model_name_or_path":
			t.Base = m.Value.Text
		case m.Value.Kind == strictjson.Number:
			n, err := strconv.Atoi(m.Value.Text)
			if err != nil || n < 0 || n > 1<<20 {
				return nil, fmt.Errorf("%s: %s is %s", rule.Printable(name), strconv.QuoteToASCII(m.Name), strconv.QuoteToASCII(m.Value.Text))
			}
			t.Settings[m.Name] = n
		}
	}
	if _, ok := trainedMethods[t.Method]; !ok {
		return nil, &rule.Unsupported{File: name, What: "method " + strconv.QuoteToASCII(t.Method)}
	}
	return t, nil
}

// Open opens an adapter of any dialect that is read.
func Open(path string) (*File, error) {
	if IsTrained(path) {
		return OpenTrained(path)
	}
	return OpenPEFT(path)
}
