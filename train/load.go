package train

import (
	"fmt"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/train/internal/backend/cpu"
	"github.com/loratool/loratool/train/internal/data"
	"github.com/loratool/loratool/train/internal/model"
)

// A Model is a base, with an adapter or without, that predicts tokens. It is
// used by one caller at a time; base and adapter must stay open.
type Model struct{ m *model.Model }

// Load makes a model of a base and, if it is not nil, an adapter, that computes
// in float32.
func Load(base *checkpoint.Checkpoint, a *dialect.File, workers int) (*Model, error) {
	d, err := describe(base)
	if err != nil {
		return nil, err
	}
	device := cpu.New(workers)
	device.SetExact(true)
	m, err := model.Open(device, d, weights{base})
	if err != nil {
		return nil, err
	}
	if a != nil {
		if err := guarded(func() error { return apply(m, a) }); err != nil {
			return nil, err
		}
	}
	return &Model{m}, nil
}

// Vocab returns the number of tokens.
func (m *Model) Vocab() int { return m.m.Vocab }

// Context returns the number of tokens of the longest text.
func (m *Model) Context() int { return m.m.Context }

// Logits returns the logits after each token of a text, Vocab of them each.
func (m *Model) Logits(tokens []int32) ([]float32, error) {
	return logits(m.m, data.NewBatch(data.Sequence{Tokens: tokens, Learn: make([]bool, len(tokens))}))
}

func logits(m *model.Model, b *data.Batch) (values []float32, err error) {
	err = guarded(func() error { values, err = m.Logits(b); return err })
	return values, err
}

func evaluate(m *model.Model, b *data.Batch) (l model.Loss, err error) {
	err = guarded(func() error { l, err = m.Evaluate(b); return err })
	return l, err
}

// Loss returns the sum of the losses of the tokens of a sample that are
// learned, and their number.
func (m *Model) Loss(s Sequence) (sum float64, n int, err error) {
	l, err := evaluate(m.m, data.NewBatch(s))
	return l.Sum, l.Count, err
}

// A Session continues one text.
type Session = model.Session

// NewSession returns a session with room for so many tokens.
func (m *Model) NewSession(tokens int) (*Session, error) { return m.m.NewSession(tokens) }

// apply puts an adapter into a model.
func apply(m *model.Model, a *dialect.File) error {
	if a.Trained != nil {
		return applyTrained(m, a.Trained)
	}
	if err := a.Mergeable(); err != nil {
		return err
	}
	if len(a.Replacements)+len(a.Tokens) > 0 {
		return &rule.Unsupported{File: a.Source, What: "running an adapter that replaces tensors of the base", Hint: "merge it first: loratool merge"}
	}
	byPath := map[string]*model.Linear{}
	for _, l := range m.AllLinears() {
		byPath[l.Path] = l
	}
	for _, x := range a.Modules {
		l := byPath[strings.TrimPrefix(x.Path, m.Desc.Prefix())]
		if l == nil || x.Kind != adapter.Linear || x.Param != "" || x.Bias != nil {
			return &rule.Unsupported{File: a.Source, What: fmt.Sprintf("running module %s (%s)", text.Quote(x.Name()), x.Kind), Hint: "merge it first: loratool merge"}
		}
		if err := applyModule(m, l, x); err != nil {
			return err
		}
	}
	return nil
}

// Begin sets the updates to those of an adapter with the same modules, rank
// and scaling, from which the training goes on. Options.Init must say so.
func (t *Trainer) Begin(a *dialect.File) error {
	return guarded(func() error { return t.begin(a) })
}

func (t *Trainer) begin(a *dialect.File) error {
	if t.o.Method != LoRA || t.o.Init != "adapter" {
		return fmt.Errorf("method %s with init %s does not begin with an adapter", t.o.Method, t.o.Init)
	}
	byPath := map[string]*adapter.Module{}
	for _, x := range a.Modules {
		byPath[x.Path] = x
	}
	for _, u := range t.m.LoRAs() {
		x := byPath[u.Path]
		switch {
		case x == nil:
			return fmt.Errorf("adapter has no module %s", text.Quote(u.Path))
		case x.Rank != u.Rank || float32(x.Scaling()) != u.Scaling || (x.Magnitude != nil) != t.o.DoRA:
			return fmt.Errorf("module %s of the adapter has rank %d and scaling %g, the run %d and %g, or DoRA in one only",
				text.Quote(x.Path), x.Rank, x.Scaling(), u.Rank, u.Scaling)
		case x.A.Elements() != u.A.Rows*u.A.Cols || x.B.Elements() != u.Bt.Rows*u.Bt.Cols:
			return fmt.Errorf("module %s: factors of shape %v and %v do not fit the base", text.Quote(x.Path), x.A.Shape, x.B.Shape)
		}
		t.m.SetFactors(u, decode(x.A), decode(x.B))
		if x.Magnitude != nil {
			t.m.SetMagnitude(u, decode(*x.Magnitude))
		}
		delete(byPath, u.Path)
	}
	for path := range byPath {
		return fmt.Errorf("module %s of the adapter is not trained by this run", text.Quote(path))
	}
	return nil
}

func applyModule(m *model.Model, l *model.Linear, x *adapter.Module) error {
	if len(x.A.Shape) != 2 || len(x.B.Shape) != 2 || x.A.Shape[1] != l.In || x.B.Shape[0] != l.Out || x.A.Shape[0] != x.B.Shape[1] {
		return fmt.Errorf("module %s: factors of shape %v and %v for a linear of %d to %d", text.Quote(x.Path), x.A.Shape, x.B.Shape, l.In, l.Out)
	}
	u, err := m.AddLoRA(l, model.LoRAOptions{Rank: x.A.Shape[0], Alpha: x.Alpha, Scaling: x.Scaling(), DoRA: x.Magnitude != nil})
	if err != nil {
		return err
	}
	m.SetFactors(u, decode(x.A), decode(x.B))
	if x.Magnitude != nil {
		v := decode(*x.Magnitude)
		if len(v) != l.Out {
			return fmt.Errorf("module %s: magnitude of %d values for %d outputs", text.Quote(x.Path), len(v), l.Out)
		}
		m.SetMagnitude(u, v)
	}
	return nil
}

func decode(t adapter.Tensor) []float32 {
	x := make([]float32, t.Elements())
	t.DType.Decode32(x, t.Bytes)
	return x
}

// applyTrained sets the parameters of a method other than LoRA.
func applyTrained(m *model.Model, t *dialect.Trained) error {
	o := Defaults()
	o.Method, o.Prefix, o.Infix, o.Bottleneck = Method(t.Method), t.Settings["prefix"], t.Settings["infix"], t.Settings["bottleneck"]
	if err := prepare(m, &o); err != nil {
		return err
	}
	byName := map[string]adapter.Tensor{}
	for _, x := range t.Tensors {
		byName[x.Name] = x
	}
	for _, p := range m.Params() {
		x, ok := byName[p.Name]
		if !ok || int64(x.Elements()) != p.Elements() || !x.DType.Float() {
			return fmt.Errorf("no tensor %q of %d values among what method %s trained", p.Name, p.Elements(), t.Method)
		}
		m.Backend().Write(p.Value, decode(x))
		delete(byName, p.Name)
	}
	for name := range byName {
		return fmt.Errorf("tensor %q has no place in this base", name)
	}
	return nil
}
