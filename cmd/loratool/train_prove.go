package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/validate"
	"github.com/loratool/loratool/internal/publish"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/merge"
	"github.com/loratool/loratool/train"
)

// A proof is one check of the outcome of a run.
type proof struct {
	Step      string          `json:"step"`
	Found     string          `json:"found"`
	Agreement train.Agreement `json:"agreement,omitzero"`
}

// mergedTolerance bounds the logits of the merged model, in float32, against
// those of base and adapter apart, relative to the largest: two orders of the
// same sums of some thousand terms, each off by 2⁻²⁴, through the layers.
const mergedTolerance = 1e-4

// roundedTolerance is that of a model trained with activations rounded to the
// 8 bits of BF16, held against float32.
const roundedTolerance = 5e-2

// tolerances bound the logits of the reloaded and of the merged model, which
// run on the CPU: the reloaded one's are equal if the trained one's do too.
func (o *trainOptions) tolerances() (reloaded, merged float64) {
	switch {
	case o.Device.TensorCores:
		return roundedTolerance, roundedTolerance
	case o.Device.CUDA:
		return mergedTolerance, mergedTolerance
	}
	return 0, mergedTolerance
}

// prove reads the output again and merges it into a copy of the base, and
// holds the logits against those of the trained model in memory.
func (o *trainOptions) prove(ctx context.Context, t *train.Trainer, base *checkpoint.Checkpoint) ([]proof, error) {
	valid, err := o.proveValid(ctx, base)
	if err != nil {
		return nil, err
	}
	a, err := dialect.Open(o.output)
	if err != nil {
		return nil, fmt.Errorf("read the output again: %w", err)
	}
	defer a.Close()
	reloaded, err := train.Load(base, a, o.Workers)
	if err != nil {
		return nil, fmt.Errorf("read the output again: %w", err)
	}
	tolerance, _ := o.tolerances()
	first, err := compare(t, reloaded, "reloaded", tolerance)
	if err != nil || a.Mergeable() != nil {
		return append(valid, first), err
	}
	second, err := o.proveMerge(ctx, t, base, a)
	return append(valid, first, second), err
}

// proveValid holds an adapter against the specification; the other methods
// have forms of their own.
func (o *trainOptions) proveValid(ctx context.Context, base *checkpoint.Checkpoint) ([]proof, error) {
	if o.Method != train.LoRA {
		return nil, nil
	}
	r, err := validate.Run(ctx, []string{o.output}, validate.Options{Base: base, Deep: true, Open: openOptions()})
	if err != nil {
		return nil, err
	}
	if err := outcome(r, false); err != nil {
		return nil, fmt.Errorf("the adapter is not valid: %w", err)
	}
	return []proof{{Step: "valid", Found: "all rules of the specification hold for this base"}}, nil
}

// proveMerge merges into a copy that is removed again.
func (o *trainOptions) proveMerge(ctx context.Context, t *train.Trainer, base *checkpoint.Checkpoint, a *dialect.File) (proof, error) {
	scratch, err := publish.CreateScratch(filepath.Dir(o.output))
	if err != nil {
		return proof{}, err
	}
	defer scratch.Remove()
	out := filepath.Join(scratch.Path(), "merged")
	if _, err := merge.Apply(ctx, out, base, []merge.Weighted{{Adapter: a.Adapter, Weight: 1}}, merge.Options{DType: dtype.F32}); err != nil {
		return proof{}, fmt.Errorf("merge into a copy: %w", err)
	}
	merged, err := checkpoint.Open(out, checkpoint.Options{})
	if err != nil {
		return proof{}, err
	}
	defer merged.Close()
	m, err := train.Load(merged, nil, o.Workers)
	if err != nil {
		return proof{}, err
	}
	_, tolerance := o.tolerances()
	return compare(t, m, "merged", tolerance)
}

// compare fails if a model is further from the trained one than a tolerance.
func compare(t *train.Trainer, m *train.Model, step string, tolerance float64) (proof, error) {
	a, err := t.Compare(m)
	if err != nil {
		return proof{}, err
	}
	p := proof{step, fmt.Sprintf("logits of %d tokens within %s of the largest", a.Tokens, text.Ratio(a.Relative())), a}
	if a.Largest == 0 {
		p.Found = fmt.Sprintf("logits of %d tokens equal", a.Tokens)
	}
	if !(a.Relative() <= tolerance) {
		return p, fmt.Errorf("the %s model is not the trained one: logits differ by %s of the largest, more than %s",
			step, text.Ratio(a.Relative()), text.Ratio(tolerance))
	}
	return p, nil
}
