package main

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/loratool/loratool/internal/text"
)

// results is where commands print, and the first error of it: results that
// were lost, on a full disk for one, are a failure of whatever command.
type results struct {
	io.Writer
	err error
}

func (r *results) Write(b []byte) (int, error) {
	n, err := r.Writer.Write(b)
	if r.err == nil {
		r.err = err
	}
	return n, err
}

// printJSON writes v as JSON that a terminal can print.
func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(text.EscapeJSON(b.Bytes()))
	return err
}
