package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/loratool/loratool/format/binding"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/progress"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/train"
	"github.com/loratool/loratool/train/corpus"
)

// samples reads a file of samples with the tokenizer of the base, if it has
// one.
func (o *trainOptions) samples(ctx context.Context, base *checkpoint.Checkpoint, path string) (*corpus.Samples, error) {
	var t *corpus.Text
	if _, err := os.Stat(filepath.Join(base.Dir(), "tokenizer.json")); !errors.Is(err, fs.ErrNotExist) {
		if t, err = corpus.Open(base.Dir()); err != nil {
			return nil, err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return t.Read(stopping{ctx, f}, path)
}

// stopping reads until its context ends.
type stopping struct {
	ctx context.Context
	r   io.Reader
}

func (s stopping) Read(p []byte) (int, error) {
	if err := context.Cause(s.ctx); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// prepare makes the trainer and says what was done to the samples.
func (o *trainOptions) prepare(ctx context.Context, base *checkpoint.Checkpoint, stderr io.Writer) (*train.Trainer, error) {
	samples, err := o.samples(ctx, base, o.data)
	if err != nil {
		return nil, err
	}
	var held train.Source
	if o.eval != "" {
		if held, err = o.samples(ctx, base, o.eval); err != nil {
			return nil, err
		}
	}
	t, err := train.New(base, samples, held, o.Options)
	if err != nil {
		return nil, err
	}
	c := t.Cut()
	if long := samples.Longer(t.MaxLen()); len(long) > 0 {
		fmt.Fprintf(stderr, "loratool: warning: %d of %s are longer than %d tokens and were cut; the first is line %d of %s with %d\n",
			c.Shortened, count(c.Samples, "sample"), t.MaxLen(), long[0].Line, text.Quote(o.data), long[0].Tokens)
	}
	if c.Dropped > 0 {
		fmt.Fprintf(stderr, "loratool: warning: %d of %s have nothing to learn and were left out\n", c.Dropped, count(c.Samples, "sample"))
	}
	switch {
	case o.resume:
		err = t.Resume(o.state())
	case o.Init == "adapter":
		err = o.begin(ctx, base, t)
	}
	return t, err
}

// begin starts from the values of an adapter, which may be bound to a base.
func (o *trainOptions) begin(ctx context.Context, base *checkpoint.Checkpoint, t *train.Trainer) error {
	a, err := openAdapter(o.init)
	if err != nil {
		return err
	}
	defer a.Close()
	if err := binding.Check(ctx, a.Adapter, base, binding.Options{}); err != nil {
		return err
	}
	return t.Begin(a)
}

// A stopped error reports a run that was interrupted and can go on.
type stopped struct {
	error
	state string
	step  int
	steps int
}

// run trains with a live line and metrics in a file.
func (o *trainOptions) run(ctx context.Context, t *train.Trainer, stderr io.Writer) (*trainReport, error) {
	done, _ := t.Steps()
	metrics, err := openMetrics(o.metrics(), done)
	if err != nil {
		return nil, err
	}
	defer metrics.Close()
	mode, _ := progress.ParseMode(o.progress) // checked by parse
	line := progress.New(stderr, mode)
	defer line.Done()
	line.Start("train")
	r := &trainReport{Output: o.output, Method: o.Method, started: time.Now()}
	saved := 0
	err = t.Run(ctx, train.Hooks{
		Event: func(e train.Event) error {
			r.add(e)
			line.Show(func(elapsed time.Duration) string { return trainLine(e, done, elapsed) })
			return metrics.write(e)
		},
		Save: func() error {
			saved, _ = t.Steps()
			return t.SaveState(o.state())
		},
	})
	if ctx.Err() != nil && saved > 0 {
		_, steps := t.Steps()
		return nil, stopped{err, o.state(), saved, steps}
	}
	if errors.Is(err, train.ErrDiverged) && saved > 0 {
		return nil, fmt.Errorf("%w; %s holds the state after step %d", err, text.Quote(o.state()), saved)
	}
	return r, err
}

// trainLine is the live line of a step.
func trainLine(e train.Event, first int, elapsed time.Duration) string {
	parts := []string{
		fmt.Sprintf("step %d of %d", e.Step, e.Steps), fmt.Sprintf("loss %.4f", e.Loss),
		fmt.Sprintf("%s tokens/s", text.Count(int64(e.PerSec))),
	}
	if e.Held != nil {
		parts = append(parts, fmt.Sprintf("held-out %.4f", *e.Held))
	}
	if left := progress.Left(int64(e.Step-first), int64(e.Steps-first), elapsed); left != "" {
		parts = append(parts, left)
	}
	return strings.Join(parts, "  ")
}
