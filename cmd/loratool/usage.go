package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/loratool/loratool/internal/text"
)

// args checks the number of arguments; a mistake is a usage error.
func args(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		takes := strings.TrimSpace(strings.TrimPrefix(cmd.Use, cmd.Name()))
		if takes == "" {
			takes = "no argument, found " + text.Quote(args[0])
		}
		return usagef("%s takes %s; see %s --help", cmd.Name(), takes, cmd.CommandPath())
	}
}

// unknownCommand refuses the arguments of the root command, naming what the
// user may have meant.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usagef("unknown command %q%s; see %s --help", args[0], didYouMean(cmd.SuggestionsFor(args[0])), cmd.CommandPath())
}

func didYouMean(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return ": did you mean " + strings.Join(names, " or ") + "?"
}

// flagError says in our words what is wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
		name := strings.TrimPrefix(e.Error(), "unknown ")
		return usagef("unknown %s%s; see %s --help", name, didYouMean(similar("--"+e.GetSpecifiedName(), known)), cmd.CommandPath())
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return usagef("--%s %q: expected %s", e.GetFlag().Name, e.GetValue(), typeName(e.GetFlag().Value.Type()))
	}
	return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
}

// similar returns the flag most like a name if it is like it at all.
func similar(name string, known []string) []string {
	nearest := text.Nearest(name, known, 1)
	if len(nearest) == 0 || len(name) < 5 || !strings.HasPrefix(nearest[0], name[:4]) {
		return nil
	}
	return nearest
}

// typeName says what a value of a flag's type looks like.
func typeName(t string) string {
	switch {
	case strings.HasPrefix(t, "uint"):
		return "a whole number, 0 or more"
	case strings.HasPrefix(t, "int"):
		return "a whole number"
	case strings.HasPrefix(t, "float"):
		return "a number"
	case t == "bool":
		return "true or false"
	}
	return "a " + t
}

// newHelpCmd is cobra's help, but an unknown topic is a mistake.
func newHelpCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(cmd.Root(), args)
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		},
	}
}

func newVersionCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version and the kernels that this processor gets",
		Example: "  loratool version",
		Args:    args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "loratool version %s\n", version())
			return err
		},
	}
}
