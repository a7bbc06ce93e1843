//go:build cuda

package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/train"
)

// hasCUDA says that this binary is loratool-cuda.
const hasCUDA = true

// deviceCommands returns the commands that need a GPU.
func deviceCommands() []*cobra.Command { return []*cobra.Command{newSelftestCmd()} }

type selftestOptions struct {
	deviceOptions
	quick bool
	json  bool
}

func newSelftestCmd() *cobra.Command {
	o := selftestOptions{}
	cmd := &cobra.Command{
		Use:   "selftest",
		Short: "Hold the GPU against the CPU and say how fast it is, on one page",
		Long: `selftest runs every operation of the CUDA backend on the GPU and on the CPU
and compares them, then times products and training steps of a model of the
shape of SmolLM2-135M with random weights. It fails if anything differs by more
than the tolerance that stands beside it.

` + exitHelp,
		Example: `  loratool-cuda selftest
  loratool-cuda selftest --precision bf16 --json`,
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runSelftest(o, cmd.Flags().Changed, cmd.OutOrStdout())
		},
	}
	o.addFlags(cmd.Flags())
	cmd.Flags().Lookup("device").Hidden = true
	cmd.Flags().BoolVar(&o.quick, "quick", false, "compare only")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON: one object")
	return cmd
}

func runSelftest(o selftestOptions, set func(string) bool, stdout io.Writer) error {
	o.device = "cuda"
	d, err := o.parse(set)
	if err != nil {
		return err
	}
	r, err := train.SelfTest(d, o.quick)
	if err != nil {
		return err
	}
	if o.json {
		err = printJSON(stdout, r)
	} else {
		printSelftest(stdout, r)
	}
	if err == nil && !r.OK {
		err = fmt.Errorf("the GPU does not agree with the CPU")
	}
	return err
}

func printSelftest(w io.Writer, r *train.SelfTestReport) {
	fmt.Fprintf(w, "GPU      %s, compute capability %d.%d, %s, driver for CUDA %d.%d\ncuBLAS   %s\n\n", text.Quote(r.Name), r.Major, r.Minor,
		text.Bytes(r.Memory), r.DriverVersion/1000, r.DriverVersion%1000/10, text.Quote(r.BLAS))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range r.Checks {
		verdict := "ok"
		if !c.OK {
			verdict = "DIFFERS"
		}
		fmt.Fprintf(t, "%s\tapart %.2g\tallowed %.2g\t%s\n", c.Name, c.Apart, c.Allowed, verdict)
	}
	t.Flush()
	for _, s := range r.Speeds {
		fmt.Fprintf(w, "\n%s: %.4g %s", s.Name, s.Value, s.Unit)
	}
	if len(r.Speeds) > 0 {
		io.WriteString(w, "\n")
	}
}
