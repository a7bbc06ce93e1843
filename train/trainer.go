package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/train/internal/backend"
	"github.com/loratool/loratool/train/internal/data"
	"github.com/loratool/loratool/train/internal/model"
)

// A Trainer is a run at some step. It is used by one caller at a time; the
// base must stay open.
type Trainer struct {
	o        Options
	base     *checkpoint.Checkpoint
	m        *model.Model
	opt      *adamW
	samples  data.Sequences
	held     data.Sequences
	cut      Cut
	identity identity
	steps    int // of the whole run
	step     int // done
	tokens   int64
}

// New prepares a run on samples, and on held-out samples if there are any.
func New(base *checkpoint.Checkpoint, samples, held Source, o Options) (*Trainer, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	d, err := describe(base)
	if err != nil {
		return nil, err
	}
	t := &Trainer{o: o, base: base}
	room := d.Context
	if o.Method == PreEmbed || o.Method == PreLayer {
		room -= o.Prefix + o.Infix
	}
	if t.o.MaxLen = min(o.MaxLen, room); t.o.MaxLen < 2 {
		return nil, fmt.Errorf("the base's context of %d tokens has no room for text", d.Context)
	}
	if t.samples, t.cut, err = fit(samples, t.o.MaxLen, d.Vocab); err != nil {
		return nil, err
	}
	if held != nil {
		if t.held, _, err = fit(held, t.o.MaxLen, d.Vocab); err != nil {
			return nil, fmt.Errorf("held-out data: %w", err)
		}
	}
	device, err := o.Device.open(d, &t.o, base)
	if err != nil {
		return nil, err
	}
	if t.m, err = model.Open(device, d, weights{base}); err != nil {
		return nil, err
	}
	if err := guarded(t.prepare); err != nil {
		return nil, err
	}
	t.steps, err = t.allSteps()
	return t, err
}

// prepare makes what is trained, and reads the base to identify it.
func (t *Trainer) prepare() (err error) {
	if err := prepare(t.m, &t.o); err != nil {
		return err
	}
	if t.opt, err = newAdamW(t.m, &t.o.Optimizer); err != nil {
		return err
	}
	t.identity = identify(t)
	return nil
}

// Cut says what was done to the samples.
func (t *Trainer) Cut() Cut { return t.cut }

// MaxLen returns the tokens of the longest sample.
func (t *Trainer) MaxLen() int { return t.o.MaxLen }

// Steps returns how many steps are done, and of how many.
func (t *Trainer) Steps() (done, all int) { return t.step, t.steps }

// An Event reports a step, or an evaluation after it.
type Event struct {
	Step     int      `json:"step"`
	Steps    int      `json:"steps"`
	Epoch    float64  `json:"epoch"`
	Loss     float64  `json:"loss"`
	LR       float64  `json:"lr"`
	GradNorm float64  `json:"grad_norm"`
	Tokens   int64    `json:"tokens"` // of the run so far
	Learned  int      `json:"target_tokens"`
	PerSec   float64  `json:"tokens_per_second"`
	Millis   float64  `json:"step_ms"`
	Held     *float64 `json:"eval_loss,omitempty"`
}

// Hooks are called between steps. Either may be nil.
type Hooks struct {
	Event func(Event) error
	// Save writes the state, every SaveEvery steps and when the run stops
	// early.
	Save func() error
}

// ErrDiverged reports a loss or gradient that is not finite.
var ErrDiverged = errors.New("training diverged")

// Run trains until the end, StopAt, or the end of ctx; in the last two cases
// the state is saved and the run can be resumed. A step is done whole or not
// at all.
func (t *Trainer) Run(ctx context.Context, h Hooks) error {
	for epoch, first := 0, 0; t.step < t.steps; epoch++ {
		s := stretch{epoch, first, min(t.stepsOf(epoch), t.steps-first)}
		if first += s.steps; t.step >= first {
			continue
		}
		groups := t.microBatches(s.epoch)
		for t.step < first {
			if err := ctx.Err(); err != nil {
				return errors.Join(t.save(h), context.Cause(ctx))
			}
			if t.o.StopAt > 0 && t.step >= t.o.StopAt {
				return t.save(h)
			}
			from := (t.step - s.first) * t.o.Accumulate
			if err := t.update(groups[from:min(from+t.o.Accumulate, len(groups))], s, len(groups), h); err != nil {
				return err
			}
			if t.o.SaveEvery > 0 && t.step%t.o.SaveEvery == 0 && t.step < t.steps {
				if err := t.save(h); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Done reports whether all steps are done.
func (t *Trainer) Done() bool { return t.step >= t.steps }

func (t *Trainer) save(h Hooks) error {
	if h.Save == nil {
		return nil
	}
	return h.Save()
}

// update does one step on its micro-batches and reports it.
func (t *Trainer) update(groups [][]int, s stretch, perEpoch int, h Hooks) error {
	start := time.Now()
	loss, err := t.gradients(groups)
	if err != nil {
		return err
	}
	norm := t.opt.norm()
	if !finite(loss.Sum) || !finite(norm) {
		return t.diverged(loss.Sum, norm, h)
	}
	lr := t.o.rate(t.step, t.steps)
	t.opt.step(lr, norm)
	if err := t.m.Backend().Err(); err != nil {
		return err
	}
	t.step++
	t.tokens += int64(loss.Tokens)
	took := time.Since(start)
	e := Event{
		Step: t.step, Steps: t.steps, Loss: loss.Sum / float64(loss.Count), LR: lr, GradNorm: norm, Tokens: t.tokens, Learned: loss.Count,
		Epoch:  float64(s.epoch) + min(1, float64((t.step-s.first)*t.o.Accumulate)/float64(perEpoch)),
		PerSec: float64(loss.Tokens) / took.Seconds(), Millis: float64(took.Microseconds()) / 1000,
	}
	if t.held != nil && (t.step == t.steps || t.o.EvalEvery > 0 && t.step%t.o.EvalEvery == 0) {
		held, err := t.Evaluate()
		if err != nil {
			return err
		}
		e.Held = &held
	}
	if h.Event == nil {
		return nil
	}
	return h.Event(e)
}

// gradients adds up the gradients of micro-batches, each position that is
// learned counting the same.
func (t *Trainer) gradients(groups [][]int) (total model.Loss, err error) {
	var list []*data.Batch
	learned := 0
	for _, g := range groups {
		b := batch(t.samples, g)
		list = append(list, b)
		learned += b.Learned()
	}
	for i, b := range list {
		key := backend.Key{Seed: t.o.Seed, Step: uint32(t.step*t.o.Accumulate + i)}
		var l model.Loss
		err := guarded(func() (err error) { l, err = t.m.Step(b, 1/float32(learned), float32(t.o.Smoothing), key); return err })
		if err != nil {
			return total, err
		}
		total.Sum, total.Count, total.Tokens = total.Sum+l.Sum, total.Count+l.Count, total.Tokens+l.Tokens
	}
	return total, nil
}

// diverged saves the state before the step that went wrong.
func (t *Trainer) diverged(loss, norm float64, h Hooks) error {
	what := fmt.Sprintf("loss is %g", loss)
	if finite(loss) {
		what = fmt.Sprintf("norm of the gradient is %g", norm)
	}
	err := fmt.Errorf("step %d: %s: %w", t.step+1, what, ErrDiverged)
	if t.step == 0 {
		return err
	}
	return errors.Join(err, t.save(h))
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// Evaluate returns the mean loss of the held-out samples.
func (t *Trainer) Evaluate() (float64, error) {
	if t.held == nil {
		return 0, errors.New("no held-out samples")
	}
	var sum float64
	count := 0
	for from := 0; from < len(t.held); from += t.o.Batch {
		l, err := evaluate(t.m, data.NewBatch(t.held[from:min(from+t.o.Batch, len(t.held))]...))
		if err != nil {
			return 0, err
		}
		sum, count = sum+l.Sum, count+l.Count
	}
	return sum / float64(count), nil
}
