package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/text"
)

type baseReport struct {
	ModelType     string         `json:"model_type,omitempty"`
	Architectures []string       `json:"architectures,omitempty"`
	Quantization  string         `json:"quantization,omitempty"`
	Tied          *bool          `json:"tie_word_embeddings,omitempty"`
	Tensors       int            `json:"tensors"`
	Parameters    int64          `json:"parameters"`
	Bytes         int64          `json:"bytes"`
	DTypes        map[string]int `json:"dtypes"`
	Shards        []shardReport  `json:"shards"`
}

type shardReport struct {
	Name    string `json:"name"`
	Tensors int    `json:"tensors"`
	Bytes   int64  `json:"bytes"`
}

func (r *inspectReport) readBase(c *checkpoint.Checkpoint, o inspectOptions) error {
	b := &baseReport{DTypes: map[string]int{}}
	r.Base = b
	config, err := c.Config()
	if err != nil {
		return err
	}
	if config != nil {
		b.ModelType, b.Architectures = config.ModelType(), config.Architectures()
		if tied, present := config.TieWordEmbeddings(); present {
			b.Tied = &tied
		}
		if q := config.Quantization(); q != nil {
			b.Quantization = q.Method
		}
	}
	shards := slices.SortedFunc(slices.Values(c.Shards()), func(x, y checkpoint.Shard) int { return strings.Compare(x.Name, y.Name) })
	for _, s := range shards {
		tensors := s.File.Header().Tensors()
		b.Shards = append(b.Shards, shardReport{s.Name, len(tensors), s.File.Size()})
		b.Tensors += len(tensors)
		b.Bytes += s.File.Size()
		for _, t := range tensors {
			b.DTypes[t.DType.String()]++
			b.Parameters += int64(t.Elements())
			if o.tensors {
				r.Tensors = append(r.Tensors, tensorReport{t.Name, t.DType.String(), shapeOf(t), t.End - t.Begin, s.Name})
			}
		}
	}
	for _, w := range c.Warnings() {
		r.Warnings = append(r.Warnings, w.Error())
	}
	return nil
}

func (r *inspectReport) print(w io.Writer, o inspectOptions) {
	fmt.Fprintf(w, "%s: %s (%s)\n", text.Quote(r.Path), r.Kind, text.Quote(r.Why))
	if r.Adapter != nil {
		r.Adapter.print(w, o)
	} else {
		r.Base.print(w)
	}
	if r.OnBase != nil {
		r.OnBase.print(w)
	}
	if o.tensors {
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, t := range r.Tensors {
			fmt.Fprintf(tw, "  %s\t%v\t%s\t%s\n", t.DType, t.Shape, text.Bytes(t.Bytes), text.Quote(t.Name))
		}
		tw.Flush()
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "  warning: %s\n", oneLine(warning))
	}
}

func (b *baseReport) print(w io.Writer) {
	if b.ModelType != "" {
		fmt.Fprintf(w, "  model       %s%s\n", text.Quote(b.ModelType), prefixed(", ", firstQuoted(b.Architectures)))
	}
	fmt.Fprintf(w, "  parameters  %s in %s, %s, %s\n", text.Count(b.Parameters), count(b.Tensors, "tensor"), text.Bytes(b.Bytes), dtypeList(b.DTypes))
	if b.Quantization != "" {
		fmt.Fprintf(w, "  quantized   %s\n", text.Quote(b.Quantization))
	}
	if b.Tied != nil && *b.Tied {
		fmt.Fprintln(w, "  tied        the head shares the input embedding's values")
	}
	for _, s := range b.Shards {
		fmt.Fprintf(w, "  %s: %s, %s\n", text.Quote(s.Name), count(s.Tensors, "tensor"), text.Bytes(s.Bytes))
	}
}

func firstQuoted(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return text.Quote(names[0])
}

// jsonFloat writes a finite number as encoding/json does.
func jsonFloat(x float64) []byte {
	b, _ := json.Marshal(x)
	return b
}
