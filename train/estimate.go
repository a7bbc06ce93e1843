package train

import (
	"fmt"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/strictjson"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/train/internal/model"
)

// An Estimate says what a run takes, from the config alone.
type Estimate struct {
	Family     string `json:"family"`
	Method     Method `json:"method"`
	Parameters int64  `json:"parameters"` // of the base
	Trainable  int64  `json:"trainable_parameters"`
	Weights    int64  `json:"base_bytes"`
	Optimizer  int64  `json:"optimizer_bytes"` // values, gradients and moments
	Activation int64  `json:"activation_bytes"`
	Output     int64  `json:"output_bytes"`
	State      int64  `json:"state_bytes"`
	Rows       int    `json:"tokens_per_micro_batch"`
}

// Memory returns the sum of what must be in memory.
func (e *Estimate) Memory() int64 { return e.Weights + e.Optimizer + e.Activation }

// maxConfig bounds a config.json that is read without its weights.
const maxConfig = 8 << 20

// EstimateConfig says what a run takes on a model of which there is a
// config.json, in the dtype that it names.
func EstimateConfig(path string, o Options) (*Estimate, error) {
	data, err := safetensors.ReadRegular(path, maxConfig)
	if err != nil {
		return nil, err
	}
	config, err := strictjson.Limits{NonFinite: true}.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text.Quote(path), err)
	}
	d, err := model.Describe(config)
	if err != nil {
		return nil, err
	}
	return estimate(d, bytesEach(config)*d.Parameters(), o)
}

// bytesEach is the size of a value of the dtype that a config names; that is
// float32 if it names none.
func bytesEach(config strictjson.Value) int64 {
	for _, name := range []string{"dtype", "torch_dtype"} {
		if v, ok := config.Lookup(name); ok && (v.Text == "bfloat16" || v.Text == "float16") {
			return 2
		}
	}
	return 4
}

func estimate(d *model.Desc, weights int64, o Options) (*Estimate, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	m, err := model.Shell(d)
	if err != nil {
		return nil, err
	}
	if err := prepare(m, &o); err != nil {
		return nil, err
	}
	e := &Estimate{Family: d.Family, Method: o.Method, Parameters: d.Parameters(), Weights: weights}
	for _, p := range m.Params() {
		e.Trainable += p.Elements()
	}
	e.Rows = o.Batch * min(o.MaxLen, d.Context)
	if o.Method == PreEmbed || o.Method == PreLayer {
		e.Rows += o.Batch * (o.Prefix + o.Infix)
	}
	const float = 4
	e.Optimizer, e.State, e.Output = 4*float*e.Trainable, 3*float*e.Trainable, float*e.Trainable
	if o.Method == LoRA && o.Init == "pissa" {
		e.Output *= 2
	}
	e.Activation = m.TrainingBytes(e.Rows)
	return e, nil
}

// enoughMemory refuses a run that the memory that is free cannot hold. The
// base is mapped and may be dropped from memory, so it does not count.
func enoughMemory(d *model.Desc, o *Options, base *checkpoint.Checkpoint) error {
	free, ok := freeMemory()
	if !ok {
		return nil
	}
	e, err := estimate(d, base.Size(), *o)
	if err != nil {
		return err
	}
	if need := e.Optimizer + e.Activation; need > free {
		return fmt.Errorf("training needs %s of memory besides the base's %s, and %s are free: a smaller batch or max-len takes less",
			text.Bytes(need), text.Bytes(e.Weights), text.Bytes(free))
	}
	return nil
}
