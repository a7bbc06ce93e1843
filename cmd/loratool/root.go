package main

import (
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/internal/linalg"
)

func newRootCmd(stdout, stderr io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "loratool",
		Short: "Merge, inspect and check LoRA adapters, exactly and at the speed of the disk",
		Long: `loratool works on LoRA (low-rank adaptation) adapters and the checkpoints they
were trained for: safetensors files, folders of shards, and entries of the
local Hugging Face cache. It needs no Python, no GPU and constant memory.

` + exitHelp,
		SilenceUsage:  true,
		SilenceErrors: true,

		SuggestionsMinimumDistance: 2,
		Version:                    version(),
		Args:                       unknownCommand,
		RunE:                       func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	cmd.SetFlagErrorFunc(flagError)
	cmd.SetHelpCommand(newHelpCmd())
	cmd.AddCommand(
		newBindCmd(),
		newComposeCmd(),
		newDemoCmd(),
		newDiffCmd(),
		newExtractCmd(),
		newGenerateCmd(),
		newInspectCmd(),
		newMergeCmd(),
		newNamesCmd(),
		newNormalizeCmd(),
		newPlainCmd(),
		newRerankCmd(),
		newRulesCmd(),
		newSwapCmd(),
		newTokenizeCmd(),
		newTrainCmd(),
		newUnmergeCmd(),
		newValidateCmd(),
		newVerifyMergeCmd(),
		newVersionCmd(),
	)
	cmd.AddCommand(deviceCommands()...)
	return cmd
}

// version is the module's version as the build recorded it, and the kernels
// that this processor gets.
func version() string {
	v := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		v = info.Main.Version
	}
	return v + ", kernels " + linalg.KernelBF16()
}
