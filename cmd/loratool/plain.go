package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/merge/compose"
)

type plainOptions struct {
	composedFlags
	rules rulesFlag
	names adapter.Rules // that rules holds
	init  string
	base  string
}

func newPlainCmd() *cobra.Command {
	var o plainOptions
	cmd := &cobra.Command{
		Use:        "plain ADAPTER",
		Short:      "Make a PiSSA, OLoRA, CorDA or LoRA-GA adapter a plain LoRA for the unchanged base",
		SuggestFor: []string{"convert", "to-lora", "pissa", "olora", "corda", "lora-ga"},
		Long: `Some initialisations move a part of the base into the adapter before training, so
that the adapter means nothing on the base as it was published. plain writes the
difference that training made,

  ΔW = scaling·B·A − scaling·B₀·A₀,

as a LoRA for that base, at the least rank that is exact: at most twice the
adapter's. B₀ and A₀ are read from --init, the adapter as it was saved before
training, or, for PiSSA and OLoRA, computed again from --base: PiSSA's are the
leading singular vectors of the weights, OLoRA's a part of their QR. The random
variants of PiSSA (pissa_niter_…), CorDA and LoRA-GA need --init. rsLoRA and
patterns of ranks and alphas are handled.

` + rankHelp + `

` + exitHelp,
		Example: `  loratool plain ./pissa-adapter --init ./pissa-adapter-init -o ./plain
  loratool plain ./olora-adapter --base ./Llama-3.2-1B -o ./plain --rank 16`,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPlain(cmd.Context(), args[0], o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	o.add(f, "`rank` of the result (default: the least that is exact)")
	f.StringVar(&o.init, "init", "", "`adapter` as it was before training")
	f.StringVar(&o.base, "base", "", "`base` that the adapter was made for, unchanged: a file, folder or repository id")
	o.rules.add(cmd)
	return cmd
}

func runPlain(ctx context.Context, path string, o plainOptions, stdout, stderr io.Writer) error {
	if (o.init == "") == (o.base == "") {
		return usagef("give one of --init, the adapter before training, and --base, the base that it was made for")
	}
	options, err := o.parse()
	if err != nil {
		return err
	}
	if o.names, err = o.rules.readFor(o.base); err != nil {
		return err
	}
	from, origin, closeOrigin, err := o.origin()
	if err != nil {
		return err
	}
	defer closeOrigin()
	return o.work("plain", path, dialect.WriteOptions{PlainInit: true, Inputs: []string{origin}}, options, stdout, stderr,
		func(a *adapter.Adapter, options compose.Options) (*adapter.Adapter, *compose.Report, error) {
			return compose.Plain(ctx, a, from, options)
		})
}

// origin opens what --init or --base names, and says where it lies.
func (o plainOptions) origin() (from compose.Origin, path string, closeIt func() error, err error) {
	if o.init != "" {
		a, err := openAdapter(o.init)
		if err != nil {
			return from, "", nil, err
		}
		return compose.Origin{Init: a.Adapter}, a.Source, a.Close, nil
	}
	if path, err = checkpoint.Locate(o.base, openOptions()); err != nil {
		return from, "", nil, err
	}
	base, err := checkpoint.Open(path, openOptions())
	if err != nil {
		return from, "", nil, err
	}
	return compose.Origin{Base: base, Names: o.names}, path, base.Close, nil
}
