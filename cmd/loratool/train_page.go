package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/loratool/loratool/internal/publish"
	pages "github.com/loratool/loratool/internal/report"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/train"
)

// writePage draws the curves of the whole run, resumed or not, from its
// metrics.
func (o *trainOptions) writePage(r *trainReport) error {
	events, err := readEvents(o.metrics())
	if err != nil || len(events) == 0 {
		return err
	}
	p := pages.New("Training of "+o.output, fmt.Sprintf("Method %s on %s, %s", r.Method, o.base, count(r.Steps, "step")))
	facts := []pages.Fact{
		{Name: "first loss", Value: fmt.Sprintf("%.4f", events[0].Loss)},
		{Name: "last loss", Value: fmt.Sprintf("%.4f", r.Last)},
		{Name: "tokens", Value: text.Count(r.Tokens)},
		{Name: "tokens a second", Value: text.Count(int64(r.PerSecond))},
	}
	if r.Held != nil {
		facts = append(facts, pages.Fact{Name: "held-out loss", Value: fmt.Sprintf("%.4f", *r.Held)})
	}
	p.Facts(facts...)
	p.Section("Loss", "of the tokens that are learned, in nats")
	p.Curves(pages.Axes{X: "step", Y: "loss"}, losses(events))
	p.Section("Learning rate", "")
	p.Curves(pages.Axes{X: "step", Y: "rate", FromZero: true}, []pages.Series{curve("learning rate", events, func(e train.Event) float64 { return e.LR })})
	p.Section("Norm of the gradient", "before it is clipped")
	p.Curves(pages.Axes{X: "step", Y: "norm", FromZero: true}, []pages.Series{curve("gradient", events, func(e train.Event) float64 { return e.GradNorm })})
	p.Section("Proof", "the output was read again and held against the model in memory")
	var lines []string
	for _, x := range r.Proof {
		lines = append(lines, x.Step+": "+x.Found)
	}
	p.List(lines)
	f, err := publish.CreateFile(o.page(), true)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Handle().Write(p.Bytes()); err != nil {
		return publish.Explain(err, filepath.Dir(o.page()), -1)
	}
	return f.Commit()
}

func readEvents(path string) (events []train.Event, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(data) {
		var e train.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("%s: %w", text.Quote(path), err)
		}
		events = append(events, e)
	}
	return events, nil
}

func curve(name string, events []train.Event, value func(train.Event) float64) pages.Series {
	s := pages.Series{Name: name, Group: name}
	for _, e := range events {
		s.X, s.Y = append(s.X, float64(e.Step)), append(s.Y, value(e))
	}
	return s
}

// losses returns the curves of the training loss and of the held-out one.
func losses(events []train.Event) []pages.Series {
	held := pages.Series{Name: "held-out", Group: "held-out"}
	for _, e := range events {
		if e.Held != nil {
			held.X, held.Y = append(held.X, float64(e.Step)), append(held.Y, *e.Held)
		}
	}
	list := []pages.Series{curve("training", events, func(e train.Event) float64 { return e.Loss })}
	if len(held.X) > 0 {
		list = append(list, held)
	}
	return list
}
