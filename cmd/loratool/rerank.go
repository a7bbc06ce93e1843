package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/merge/compose"
)

func newRerankCmd() *cobra.Command {
	var o composedFlags
	cmd := &cobra.Command{
		Use:        "rerank ADAPTER",
		Short:      "Lower the rank of an adapter, with the least possible error",
		SuggestFor: []string{"resize", "compress", "truncate", "svd"},
		Long: `rerank writes the best approximation of each module's delta at a lower rank. It
works on the factors (QR and the singular values of a matrix as small as the
rank), so the result is that of a full SVD of the delta, thousands of times
faster. The scaling of every module stays, alpha follows the rank; biases of B,
modules to save and trained tokens are carried along. A DoRA module keeps its
magnitude: its outputs keep their norms, their directions have the error of the
delta. The error reported is that of the factors as they are written.

` + rankHelp + `

A module never gets a higher rank than it had; one that has its rank already
stays as it is, byte for byte.

` + exitHelp,
		Example: `  loratool rerank ./my-adapter -o ./smaller --rank 8
  loratool rerank ./my-adapter -o ./smaller --rank energy=0.99 --rank-for '*.down_proj=16'`,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runRerank(cmd.Context(), args[0], o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.add(cmd.Flags(), "`rank` of the result: a number, auto, energy=, error=, ratio= or budget=")
	return cmd
}

func runRerank(ctx context.Context, path string, o composedFlags, stdout, stderr io.Writer) error {
	if o.rank == "" && len(o.For) == 0 {
		return usagef("no rank: --rank N, auto, energy=, error=, ratio= or budget=")
	}
	options, err := o.parse()
	if err != nil {
		return err
	}
	return o.work("rerank", path, dialect.WriteOptions{}, options, stdout, stderr,
		func(a *adapter.Adapter, options compose.Options) (*adapter.Adapter, *compose.Report, error) {
			return compose.Rerank(ctx, a, *options.Rank, options)
		})
}
