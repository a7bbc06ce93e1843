// Command logits writes the logits of a base, with an adapter or without, for
// check_train.py: it reads a JSON list of token ids from stdin and writes
// len(ids)×vocabulary float32 values to stdout, little-endian.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/train"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "logits:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	base, err := checkpoint.Open(args[0], checkpoint.Options{})
	if err != nil {
		return err
	}
	defer base.Close()
	var a *dialect.File
	if len(args) > 1 {
		if a, err = dialect.Open(args[1]); err != nil {
			return err
		}
		defer a.Close()
	}
	m, err := train.Load(base, a, 2)
	if err != nil {
		return err
	}
	var ids []int32
	if err := json.NewDecoder(os.Stdin).Decode(&ids); err != nil {
		return err
	}
	logits, err := m.Logits(ids)
	if err != nil {
		return err
	}
	out := make([]byte, 4*len(logits))
	dtype.F32.Encode32(out, logits)
	_, err = os.Stdout.Write(out)
	return err
}
