// Package format is the front door: Open says what a path holds, why it
// thinks so, and opens it.
package format

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/rule"
)

// An Error reports that an input breaks a rule of the specification.
type Error = rule.Error

// ErrUnsupported is wrapped by errors about valid input that is not handled.
var ErrUnsupported = rule.ErrUnsupported

// A Kind is what a path holds.
type Kind string

const (
	Adapter    Kind = "adapter"
	Checkpoint Kind = "checkpoint"
	Tensors    Kind = "tensors" // a safetensors file that is neither for sure
)

// An Opened path has one of Adapter and Base set, by its Kind; Base also
// serves for Tensors.
type Opened struct {
	Path    string
	Kind    Kind
	Why     string // how the kind was found, for people
	Adapter *dialect.File
	Base    *checkpoint.Checkpoint
}

// Close closes what was opened.
func (o *Opened) Close() error {
	var errs []error
	if o.Adapter != nil {
		errs = append(errs, o.Adapter.Close())
	}
	if o.Base != nil {
		errs = append(errs, o.Base.Close())
	}
	return errors.Join(errs...)
}

// Open opens an adapter, a base or any safetensors file: a folder, a file, or
// the id of a repository in the local Hugging Face cache.
func Open(path string, o checkpoint.Options) (*Opened, error) {
	found, err := checkpoint.Locate(path, o)
	if err != nil {
		return nil, err
	}
	if dialect.IsTrained(found) {
		a, err := dialect.OpenTrained(found)
		if err != nil {
			return nil, err
		}
		return &Opened{Path: path, Kind: Adapter, Why: "it has " + dialect.TrainedConfigName + " with method " + a.Type, Adapter: a}, nil
	}
	if config := configOf(found); config != "" {
		a, err := dialect.OpenPEFT(found)
		if err != nil {
			return nil, err
		}
		return &Opened{Path: path, Kind: Adapter, Why: "it has " + dialect.ConfigName + " with peft_type " + a.Type, Adapter: a}, nil
	}
	base, err := openTensors(found, o)
	if err != nil {
		return nil, err
	}
	opened := &Opened{Path: path, Kind: Checkpoint, Base: base}
	switch style := loraStyle(base.Names()); {
	case style != "":
		opened.Kind, opened.Why = Tensors, "its tensors are named as in "+style+", but there is no "+dialect.ConfigName
	case base.Dir() == "":
		opened.Why = "it is a safetensors file without LoRA tensors"
	case base.Index() != nil:
		opened.Why = "it has the index " + base.Index().Name
	default:
		opened.Why = "it is a folder with safetensors weights"
	}
	return opened, nil
}

// openTensors opens a base, or the one weights file of a folder that is none.
func openTensors(path string, o checkpoint.Options) (*checkpoint.Checkpoint, error) {
	base, err := checkpoint.Open(path, o)
	if err == nil {
		return base, nil
	}
	files, _ := filepath.Glob(filepath.Join(escapeGlob(path), "*.safetensors"))
	if len(files) != 1 {
		return nil, err
	}
	return checkpoint.Open(files[0], o)
}

// escapeGlob makes a path stand for itself in filepath.Glob.
func escapeGlob(path string) string {
	return strings.NewReplacer("*", "[*]", "?", "[?]", "[", "[[]").Replace(path)
}

// configOf returns the adapter config that belongs to a folder or to an
// adapter's weights file, or "".
func configOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	dir := path
	if !info.IsDir() {
		if filepath.Base(path) != dialect.WeightsName {
			return ""
		}
		dir = filepath.Dir(path)
	}
	config := filepath.Join(dir, dialect.ConfigName)
	if _, err := os.Stat(config); err != nil {
		return ""
	}
	return config
}

// loraStyle names the convention that LoRA tensors follow, "" if there are
// none.
func loraStyle(names []string) string {
	for _, n := range names {
		switch {
		case strings.Contains(n, ".lora_A.") || strings.Contains(n, ".lora_embedding_A"):
			return "a PEFT adapter"
		case strings.Contains(n, "_lora.down.weight"):
			return "an old diffusers LoRA (attention processors)"
		case strings.HasPrefix(n, "lora_") && strings.Contains(n, ".lora_down."):
			return "a kohya LoRA"
		case strings.Contains(n, ".lora_down.") || strings.Contains(n, ".lora.down."):
			return "a diffusers or ComfyUI LoRA"
		case strings.Contains(n, ".lora_a") && !strings.Contains(n, ".lora_A"):
			return "an MLX adapter"
		}
	}
	return ""
}
