package adapter

import (
	"github.com/loratool/loratool/format/adapter/names"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
)

// Tensors is what must be known of the tensors of a base to find modules among
// them: a checkpoint knows it, or what was recorded of one.
type Tensors interface {
	Lookup(name string) (shard int, t safetensors.Tensor, ok bool)
	Names() []string
	Dir() string // "" for a single file
}

// A View is tensors and a config as a Base. It belongs to one goroutine.
type View struct {
	Tensors
	Config *checkpoint.Config // of no fields if there is no config.json
	shared *shared            // nil: every resolution makes its own map
}

// shared is what several resolutions on one view need once.
type shared struct{ names *names.Map }

// NewView reads the config of c.
func NewView(c *checkpoint.Checkpoint) (View, error) {
	config, err := c.Config()
	if config == nil {
		config = &checkpoint.Config{}
	}
	return View{c, config, new(shared)}, err
}

// ModelType implements Base.
func (v View) ModelType() string { return v.Config.ModelType() }

// Architectures implements Base.
func (v View) Architectures() []string { return v.Config.Architectures() }

// Setting implements Base.
func (v View) Setting(path ...string) (string, bool) { return v.Config.Setting(path...) }

// TieWordEmbeddings implements Base.
func (v View) TieWordEmbeddings() (tied, present bool) { return v.Config.TieWordEmbeddings() }

// Shape implements Base.
func (v View) Shape(name string) ([]int, dtype.DType, bool) {
	_, t, ok := v.Lookup(name)
	return t.Shape, t.DType, ok
}
