package train

import (
	"encoding/json"
	"maps"
	"strconv"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/train/internal/model"
)

// WriteOptions say how the outcome of a run is written.
type WriteOptions struct {
	Base   string // name of the base, for the config
	Force  bool
	Inputs []string // files and folders that the output must not touch
	// Notes returns what else the header of an adapter is to say, such as its
	// binding to the base. May be nil.
	Notes func(*adapter.Adapter) (map[string]string, error)
}

// Write writes what was trained: LoRA as a PEFT adapter, the other methods as
// a folder of their own kind (see dialect.WriteTrained).
func (t *Trainer) Write(path string, o WriteOptions) error {
	settings, err := json.Marshal(t.identity.Options)
	if err != nil {
		return err
	}
	meta := map[string]string{
		"loratool_training": string(settings), "loratool_base": t.identity.Base, "loratool_data": t.identity.Data,
		"loratool_steps": strconv.Itoa(t.step),
	}
	if t.o.Method == LoRA {
		a := t.adapter(o.Base)
		if o.Notes != nil {
			notes, err := o.Notes(a)
			if err != nil {
				return err
			}
			maps.Copy(meta, notes)
		}
		return dialect.WritePEFT(path, a, dialect.WriteOptions{Metadata: meta, Inputs: o.Inputs, Force: o.Force})
	}
	return dialect.WriteTrained(path, t.trained(o.Base), dialect.WriteOptions{Metadata: meta, Inputs: o.Inputs, Force: o.Force})
}

// adapter returns the low-rank updates as an adapter.
func (t *Trainer) adapter(base string) *adapter.Adapter {
	a := &adapter.Adapter{Dialect: "peft", Type: "LORA", Base: base, FanInFanOut: t.m.Fused}
	for _, u := range t.m.LoRAs() {
		a.Modules = append(a.Modules, t.module(u))
	}
	return a
}

// module returns one update. Frozen rows of A and B belong to it: with them
// the rank is twice as large, and alpha grows so that the scaling stays.
func (t *Trainer) module(u *model.LoRA) *adapter.Module {
	va, vb := t.m.Factors(u)
	rank := u.A.Rows
	m := &adapter.Module{
		Path: u.Path, Rank: rank, Alpha: u.Alpha, Multiplicity: 1,
		A: adapter.NewTensor(dtype.F32, []int{rank, u.Linear.In}, va),
		B: adapter.NewTensor(dtype.F32, []int{u.Linear.Out, rank}, vb),
	}
	if t.o.RsLoRA {
		m.Rule = adapter.AlphaOverRootRank
	}
	if rank != u.Rank {
		m.Alpha, m.Rule = t.o.scaling()*float64(rank), adapter.AlphaOverRank
	}
	if !u.Magnitude.Empty() {
		values := make([]float32, u.Magnitude.Cols)
		t.m.Backend().Read(values, u.Magnitude)
		v := adapter.NewTensor(dtype.F32, []int{len(values)}, values)
		m.Magnitude = &v
	}
	return m
}

// trained returns the parameters of the other methods.
func (t *Trainer) trained(base string) *dialect.Trained {
	r := &dialect.Trained{Method: string(t.o.Method), Base: base}
	if t.o.Method == PreEmbed || t.o.Method == PreLayer {
		r.Settings = map[string]int{"prefix": t.o.Prefix, "infix": t.o.Infix}
	}
	if t.m.Tied && t.o.Method == Full {
		r.Tied = t.m.EmbeddingName()
	}
	if t.o.Method == AdapterH {
		r.Settings = map[string]int{"bottleneck": t.o.Bottleneck}
	}
	for _, p := range t.m.Params() {
		values := make([]float32, p.Elements())
		t.m.Backend().Read(values, p.Value)
		shape := []int{p.Value.Rows, p.Value.Cols}
		if p.Vector {
			shape = shape[1:]
		}
		x := adapter.NewTensor(dtype.F32, shape, values)
		x.Name = p.Name
		r.Tensors = append(r.Tensors, x)
	}
	return r
}
