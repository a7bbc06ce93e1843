package main

import (
	"context"
	"errors"
	"io"
	"math"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/diff"
	"github.com/loratool/loratool/format"
	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/safetensors"
)

type inspectOptions struct {
	json     bool
	tensors  bool
	spectrum bool
	base     string
	rules    rulesFlag
	names    adapter.Rules // that rules holds
}

func newInspectCmd() *cobra.Command {
	var o inspectOptions
	cmd := &cobra.Command{
		Use:        "inspect PATH...",
		Short:      "Say what an adapter, a base or any safetensors file is and holds",
		SuggestFor: []string{"info", "show", "ls", "stat"},
		Long: `inspect says what a path holds and why it thinks so: for an adapter its type,
ranks, alphas, scalings, targets, size, the norm and stable rank of its deltas
(from the factors; no [out, in] matrix is formed), values that are NaN,
infinite or all zero, and a picture of layers × modules; for a base its shards,
dtypes and parameters. Only headers are read of a base. With --base it also says
where on that base each adapter's modules would go.

` + exitHelp,
		Example: `  loratool inspect ./my-adapter
  loratool inspect ./base ./my-adapter --json
  loratool inspect ./my-adapter --base ./base`,
		Args: args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInspect(cmd.Context(), args, o, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON: one object for each path, in a list")
	cmd.Flags().BoolVar(&o.tensors, "tensors", false, "list every tensor")
	cmd.Flags().BoolVar(&o.spectrum, "spectrum", false, "singular values of every module")
	cmd.Flags().StringVar(&o.base, "base", "", "say where the modules of adapters are in this `base`")
	o.rules.add(cmd)
	return cmd
}

func runInspect(ctx context.Context, paths []string, o inspectOptions, stdout io.Writer) error {
	reports := []inspectReport{}
	var failed, err error
	if o.names, err = o.rules.readFor(o.base); err != nil {
		return err
	}
	for _, path := range paths {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r, err := inspectPath(ctx, path, o)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if reports = append(reports, r); o.json {
			continue
		}
		if len(reports) > 1 {
			io.WriteString(stdout, "\n")
		}
		r.print(stdout, o)
	}
	if o.json {
		if err := printJSON(stdout, reports); err != nil {
			return err
		}
	}
	return failed
}

// An inspectReport is what inspect knows of one path.
type inspectReport struct {
	Path     string         `json:"path"`
	Kind     format.Kind    `json:"kind"`
	Why      string         `json:"why"`
	Adapter  *adapterReport `json:"adapter,omitempty"`
	Base     *baseReport    `json:"base,omitempty"`
	OnBase   *onBaseReport  `json:"on_base,omitempty"`
	Tensors  []tensorReport `json:"tensors,omitempty"`
	Warnings []string       `json:"warnings,omitempty"`
}

type tensorReport struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
	Bytes int64  `json:"bytes"`
	File  string `json:"file,omitempty"`
}

// shapeOf is the shape of a tensor, [] and not null for a scalar.
func shapeOf(t safetensors.Tensor) []int { return append([]int{}, t.Shape...) }

// placeOnBase finds the modules of an adapter in the base of --base.
func (r *inspectReport) placeOnBase(f *dialect.File, o inspectOptions) error {
	if o.base == "" {
		return nil
	}
	placed, err := placeAdapter(f.Adapter, o.base, o.names)
	r.OnBase = placed
	return err
}

func inspectPath(ctx context.Context, path string, o inspectOptions) (inspectReport, error) {
	opened, err := format.Open(path, openOptions())
	if err != nil {
		return inspectReport{}, err
	}
	defer opened.Close()
	r := inspectReport{Path: path, Kind: opened.Kind, Why: opened.Why}
	if opened.Adapter != nil {
		err = errors.Join(r.readAdapter(ctx, opened.Adapter, o), r.placeOnBase(opened.Adapter, o))
	} else {
		err = r.readBase(opened.Base, o)
	}
	return r, err
}

// jsonNumber is a float64 that JSON can hold: NaN and infinities are null.
type jsonNumber float64

func (n jsonNumber) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return jsonFloat(float64(n)), nil
}

func measureOptions(o inspectOptions) diff.Options { return diff.Options{Spectrum: o.spectrum} }
