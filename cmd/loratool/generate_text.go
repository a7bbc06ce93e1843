package main

import (
	"io"
	"strings"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/train"
	"github.com/loratool/loratool/train/corpus"
)

// loadModel opens a base, maybe an adapter, and the base's tokenizer. What it
// opened is closed by closeAll, on an error too.
func loadModel(args []string, workers int) (m *train.Model, t *corpus.Text, closeAll func(), err error) {
	var open []io.Closer
	closeAll = func() {
		for _, c := range open {
			c.Close()
		}
	}
	base, err := checkpoint.Open(args[0], openOptions())
	if err != nil {
		return nil, nil, closeAll, err
	}
	open = append(open, base)
	var a *dialect.File
	if len(args) > 1 {
		found, err := checkpoint.Locate(args[1], openOptions())
		if err != nil {
			return nil, nil, closeAll, err
		}
		if a, err = dialect.Open(found); err != nil {
			return nil, nil, closeAll, err
		}
		open = append(open, a)
	}
	if t, err = corpus.Open(base.Dir()); err != nil {
		return nil, nil, closeAll, err
	}
	m, err = train.Load(base, a, workers)
	return m, t, closeAll, err
}

// A continuation prints a text as it grows.
type continuation struct {
	t     *corpus.Text
	ids   []int32
	shown int // bytes of the decoded text that are printed
	w     io.Writer
}

// add prints what a token adds to the text. Bytes that may be the beginning
// of a character wait for the rest of it.
func (c *continuation) add(id int32) error {
	c.ids = append(c.ids, id)
	whole := c.t.Decode(c.ids, true)
	if strings.HasSuffix(whole, "\uFFFD") || len(whole) < c.shown {
		return nil
	}
	_, err := io.WriteString(c.w, terminalSafe(whole[c.shown:]))
	c.shown = len(whole)
	return err
}

// end prints what is left and ends the line.
func (c *continuation) end() error {
	whole := c.t.Decode(c.ids, true)
	_, err := io.WriteString(c.w, terminalSafe(whole[min(c.shown, len(whole)):])+"\n")
	return err
}

// terminalSafe leaves out control characters, which a model can write too.
func terminalSafe(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7F && r < 0xA0 || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069 {
			return -1
		}
		return r
	}, s)
}
