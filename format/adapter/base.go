package adapter

import (
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dtype"
)

// A Checkpoint is a checkpoint and its config as a Base.
type Checkpoint struct {
	*checkpoint.Checkpoint
	Settings *checkpoint.Config // of no fields if there is no config.json
}

// NewCheckpoint reads the config of c.
func NewCheckpoint(c *checkpoint.Checkpoint) (Checkpoint, error) {
	config, err := c.Config()
	if config == nil {
		config = &checkpoint.Config{}
	}
	return Checkpoint{c, config}, err
}

// ModelType implements Base.
func (b Checkpoint) ModelType() string { return b.Settings.ModelType() }

// Architectures implements Base.
func (b Checkpoint) Architectures() []string { return b.Settings.Architectures() }

// Setting implements Base.
func (b Checkpoint) Setting(path ...string) (string, bool) { return b.Settings.Setting(path...) }

// TieWordEmbeddings implements Base.
func (b Checkpoint) TieWordEmbeddings() (tied, present bool) { return b.Settings.TieWordEmbeddings() }

// Shape implements Base.
func (b Checkpoint) Shape(name string) ([]int, dtype.DType, bool) {
	_, t, ok := b.Lookup(name)
	return t.Shape, t.DType, ok
}
