package checkpoint

import "github.com/loratool/loratool/format/dtype"

// A View is a checkpoint together with what its config.json says, as those see
// it who look for the tensors of an adapter (it is an adapter.Base).
type View struct {
	*Checkpoint
	Settings *Config // of no fields if there is no config.json
}

// View reads the config.
func (c *Checkpoint) View() (View, error) {
	config, err := c.Config()
	if config == nil {
		config = &Config{}
	}
	return View{c, config}, err
}

// ModelType returns model_type, or "".
func (v View) ModelType() string { return v.Settings.ModelType() }

// Architectures returns the strings of architectures.
func (v View) Architectures() []string { return v.Settings.Architectures() }

// Setting returns a string, number or boolean as text, by its path.
func (v View) Setting(path ...string) (string, bool) { return v.Settings.Setting(path...) }

// TieWordEmbeddings returns tie_word_embeddings, and whether it is there.
func (v View) TieWordEmbeddings() (tied, present bool) { return v.Settings.TieWordEmbeddings() }

// Shape returns the shape and dtype of a tensor.
func (v View) Shape(name string) ([]int, dtype.DType, bool) {
	_, t, ok := v.Lookup(name)
	return t.Shape, t.DType, ok
}
