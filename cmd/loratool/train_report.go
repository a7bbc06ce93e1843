package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/train"
)

// A trainReport says what a run did; --json prints it.
type trainReport struct {
	Output    string       `json:"output,omitempty"` // nothing of a run that stopped before its end
	Method    train.Method `json:"method"`
	Steps     int          `json:"steps"`
	Tokens    int64        `json:"tokens"`
	First     float64      `json:"first_loss"`
	Last      float64      `json:"last_loss"`
	Held      *float64     `json:"eval_loss,omitempty"`
	PerSecond float64      `json:"tokens_per_second"`
	Seconds   float64      `json:"seconds"`
	Proof     []proof      `json:"proof"`
	State     string       `json:"state,omitempty"` // from which a run that stopped goes on

	started time.Time
	before  int64 // tokens of the steps before this run
	seen    bool
}

func (r *trainReport) add(e train.Event) {
	if !r.seen {
		r.seen, r.First = true, e.Loss
		r.before = e.Tokens - int64(e.PerSec*e.Millis/1000+0.5)
	}
	r.Steps, r.Tokens, r.Last = e.Step, e.Tokens, e.Loss
	if e.Held != nil {
		r.Held = e.Held
	}
	r.Seconds = time.Since(r.started).Seconds()
	r.PerSecond = float64(r.Tokens-r.before) / r.Seconds
}

func (r *trainReport) print(w io.Writer) {
	fmt.Fprintf(w, "trained %s with method %s: %s of %s tokens, loss %.4f to %.4f", text.Quote(r.Output), r.Method,
		count(r.Steps, "step"), text.Count(r.Tokens), r.First, r.Last)
	if r.Held != nil {
		fmt.Fprintf(w, ", held-out %.4f", *r.Held)
	}
	fmt.Fprintf(w, "; %s tokens/s\n", text.Count(int64(r.PerSecond)))
	for _, p := range r.Proof {
		fmt.Fprintf(w, "  %-10s %s\n", p.Step, p.Found)
	}
}

// printEstimate prints what --dry-run finds.
func (o *trainOptions) printEstimate(w io.Writer) error {
	folder, err := checkpoint.Locate(o.base, openOptions())
	if err != nil {
		return err
	}
	config := folder
	if info, err := os.Stat(folder); err == nil && info.IsDir() {
		config = filepath.Join(folder, "config.json")
	}
	e, err := train.EstimateConfig(config, o.Options)
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(w, e)
	}
	fmt.Fprintf(w, "%s, %s parameters; method %s trains %d (%s)\n", text.Quote(e.Family), text.Count(e.Parameters), e.Method,
		e.Trainable, text.Percent(float64(e.Trainable)/float64(e.Parameters)))
	for _, row := range []struct {
		name  string
		bytes int64
		note  string
	}{
		{"base", e.Weights, "mapped, in its own dtype"},
		{"optimizer", e.Optimizer, "values, gradients and two moments in float32"},
		{"activations", e.Activation, fmt.Sprintf("of %d tokens at a time", e.Rows)},
		{"memory", e.Memory(), "all of these"},
		{"output", e.Output, "on disk"},
		{"state", e.State, "on disk, while it runs"},
	} {
		fmt.Fprintf(w, "  %-12s %10s  %s\n", row.name, text.Bytes(row.bytes), row.note)
	}
	return nil
}
